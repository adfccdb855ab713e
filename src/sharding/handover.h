// SPDX-License-Identifier: Apache-2.0
//
// What a donor does whatever it hands over, a range or a database: wait for the recipient, and ask
// those who must answer until they have.
#pragma once

#include <functional>

#include "sharding/migration.h"

namespace tessera::sharding {

/// Sends the command until it is answered; gives up when this member is primary no more (with the
/// reason), when there is no such shard (ShardNotFound, 70) or when this process ends. The command
/// may run more than once.
async::Task<Result<bson::Document>> ask_until_answered(MigrationEnvironment environment,
                                                       ShardName shard,
                                                       bson::Document command);

/// Reads placement anew until it shows what the config servers have committed: a config primary
/// that has just been elected, or does not know yet that it is none any more, may show less for a
/// while. Fails at limits::config_read.
async::Task<Status> refresh_until(MigrationEnvironment environment,
                                  std::string ns,
                                  std::function<bool()> is_shown);

/// How a recipient is asked how far it is.
struct RecipientWatch {
    /// Says of a status whether what is waited for is reached; fails when it never will be.
    using Judge = Result<bool> (*)(bson::View status);
    ShardName shard;
    bson::Document ask;
    Judge judge = nullptr;
    Instant until;
};
/// Fails with ExceededTimeLimit after `until`, and with what calls and `judge` fail with.
async::Task<Status> await_recipient(MigrationEnvironment environment, RecipientWatch watch);

}  // namespace tessera::sharding
