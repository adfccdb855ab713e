// SPDX-License-Identifier: Apache-2.0
//
// A cursor over documents that are all there already.
#pragma once

#include <memory>
#include <vector>

#include "commands/cursor_registry.h"

namespace tessera::commands {
std::unique_ptr<CursorSource> make_list_source(std::vector<bson::Document> documents);
}  // namespace tessera::commands
