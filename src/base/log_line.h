// SPDX-License-Identifier: Apache-2.0
//
// For log lines whose attributes are known only when they are written; see base/log.h.
#pragma once

#include <span>

#include "base/log.h"

namespace tessera::log {

void write_line(Severity severity,
                Component component,
                int id,
                std::string_view message,
                std::span<const Attribute> attributes);

}  // namespace tessera::log
