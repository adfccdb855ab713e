// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace tessera::storage::wiredtiger {

/// Cuts the last journal file in `directory` off after its last intact record, before the library
/// sees it. A power loss may tear what was written after the last sync: nothing in there was
/// acknowledged as durable, yet the library asks for a salvage when it meets such a tail. Damage in
/// an earlier file is no torn tail and is left for the library to refuse.
Status drop_damaged_tail(const std::string& directory);

}  // namespace tessera::storage::wiredtiger
