// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>

#include "commands/command.h"

namespace tessera::commands {

/// What drop's arguments are on a member and on a router.
struct DropArguments {
    Namespace ns;
    std::optional<bson::Uuid> uuid;  // collectionUUID: of this collection or of none.
};
Result<DropArguments> parse_drop(const Request& request);
/// CollectionUUIDMismatch; `actual`: the name in that database of the one with the UUID, or "".
Error uuid_mismatch(const DropArguments& arguments, const std::string& actual);

extern const std::array<Command, 10> ddl_commands;

}  // namespace tessera::commands
