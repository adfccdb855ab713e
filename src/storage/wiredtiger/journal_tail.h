// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera::storage::wiredtiger {

/// What to do about files that cannot be read.
inline constexpr std::string_view damaged_files_advice =
    ". A member of a replica set can be emptied and will copy the data from the others; otherwise "
    "restore a backup";

/// Cuts the last journal file in `directory` off after its last intact record, before the library
/// sees it. A power loss may tear what was written after the last sync: nothing in there was
/// acknowledged as durable, yet the library asks for a salvage when it meets such a tail. Damage in
/// an earlier file is no torn tail: the library would drop that file's end and go on, so it is
/// refused here (InternalError).
Status check_journal(const std::string& directory);

}  // namespace tessera::storage::wiredtiger
