// SPDX-License-Identifier: Apache-2.0
//
// What is left of an operation when it has ended: its document in <db>.system.profile, a capped
// collection of this member alone, and its line in the log.
#pragma once

#include <string>
#include <string_view>

#include "commands/command.h"

namespace tessera::commands {

extern const Command profile_command;

/// An operation that has ended, or one statement of it.
struct ProfileEntry {
    const Operation& operation;
    OperationStats stats;
    std::string_view op;  // "query", "insert", ..., "command".
    std::string_view db;
    std::string ns;
    bson::Document command;
    std::string plan_summary;
    std::string_view protocol = "op_msg";
    std::int64_t response_bytes = OperationStats::uncounted;
    Duration taken{};
    const Error* error = nullptr;
    bool has_awaited_data = false;  // What waited for data to come was not slow.
    bool is_logged_apart = false;    // A statement: its command has the line in the log.
};

/// Keeps and tells of an operation as the profiler's settings ask. `member`: null on a router,
/// which has no profile. Nothing fails: a document that cannot be written now is not.
void record_profile(Node& node, Member* member, const ProfileEntry& entry);

/// The command as others are shown it: without a bulk's documents, and not all of a long one.
bson::Document shown_command(const Request& request);

/// A document to show, or the beginning of its text when it is long.
bson::Document shortened(bson::Document document, std::string_view comment = {});

/// Makes the database's profile unless it is there. Fails with InvalidOptions where an ordinary
/// collection has its name, with NotPrimaryOrSecondary while this member serves no reads.
Status ensure_profile(Member& member, std::string_view db);

}  // namespace tessera::commands
