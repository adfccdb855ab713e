// SPDX-License-Identifier: Apache-2.0
//
// ShardRegistry: the replica sets of the cluster (config.shards and the config servers) and how to
// reach the right member of each. Knows hosts and roles from hello answers it asks for itself, and
// learns from errors. Every message carries the cluster time, both ways: what one process did for
// another, that one's later writes come after. One per process that routes: routers, shards, config
// servers.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/clock.h"
#include "async/transport.h"
#include "base/host_and_port.h"
#include "bson/view.h"
#include "replication/logical_clock.h"
#include "routing/versions.h"

namespace tessera::sharding {

using routing::ShardName;
/// The config servers' set, as a "shard" to send to.
inline const ShardName config_shard = "config";

enum class ReadMode { primary, primary_preferred, secondary, secondary_preferred, nearest };

struct CallOptions {
    Instant deadline = async::no_deadline;
    ReadMode read_mode = ReadMode::primary;
    bson::Document tag_sets;  // An array of read preference tags, as the client gave them.
    /// Whether the command may be sent again after an error that leaves open whether it ran: reads,
    /// and writes that carry a txnNumber.
    bool is_retryable = false;
    async::Cancellation cancellation = async::Cancellation::none();
    /// Set to the member that answered, for cursors that must stay there.
    HostAndPort* answered_by = nullptr;
};

/// One replica set as config.shards.host writes it: "rs/h1:1,h2:2".
struct SetAddress {
    std::string set_name;
    std::vector<HostAndPort> hosts;
    static Result<SetAddress> parse(std::string_view text);
    std::string to_string() const;
};

/// The data-bearing members a set's hello names, also those that can never be primary.
std::vector<HostAndPort> members_of_hello(bson::View reply);

/// The Error a reply with ok: 0 stands for; its extra fields become the details.
Error error_of(bson::View reply);
/// The reply, or its Error when it is not ok.
Result<bson::Document> checked(Result<bson::Document> reply);

class ShardRegistry {
public:
    /// `config_servers` may be empty: known later, by set_config_servers().
    ShardRegistry(async::Clock& clock,
                  async::Transport& transport,
                  replication::LogicalClock& logical_clock,
                  SetAddress config_servers);
    ~ShardRegistry();

    void set_config_servers(SetAddress config_servers);
    /// Ends calls without a cancellation of their own, also later ones, with ShutdownInProgress
    /// (91): what this process does in the background waits for nobody when it goes.
    void shut_down();
    bool is_shut_down() const { return stopping_.is_cancelled(); }

    /// Sends a command (a whole OP_MSG body, $db included; $clusterTime is added) to a member of
    /// the set and returns its reply, whatever its ok. Finds the primary, goes after it when it
    /// moves (not-primary errors), waits for an election up to the deadline, at most
    /// limits::discovery. Fails with ShardNotFound, FailedToSatisfyReadPreference (133),
    /// HostUnreachable, MaxTimeMSExpired.
    async::Task<Result<bson::Document>> call(ShardName shard,
                                             bson::Document command,
                                             CallOptions options);
    /// As call(), with ok: 0 turned into its Error (extra fields in its details).
    async::Task<Result<bson::Document>> call_ok(ShardName shard,
                                                bson::Document command,
                                                CallOptions options);
    /// For commands whose effect must outlive any change of primary: a writeConcernError, beside
    /// ok: 1 or ok: 0, becomes the Error. When it came of the primary's end and the command is
    /// retryable, the next primary is asked.
    async::Task<Result<bson::Document>> call_settled(ShardName shard,
                                                     bson::Document command,
                                                     CallOptions options);

    /// Reads config.shards anew (majority).
    async::Task<Status> refresh(
        Instant deadline, async::Cancellation cancellation = async::Cancellation::none());
    /// Adds or replaces one set, e.g. before config.shards has it.
    void put(const ShardName& shard, SetAddress address);
    /// In order of their names, without the config servers.
    std::vector<ShardName> shards() const;
    std::optional<SetAddress> address(const ShardName& shard) const;
    /// The member last seen as primary, for cursors that must stay where they were opened.
    std::optional<HostAndPort> primary(const ShardName& shard) const;
    /// As call() to one member, once.
    async::Task<Result<bson::Document>> call_host(HostAndPort host,
                                                  bson::Document command,
                                                  CallOptions options);
    /// Reads all documents of a find: the first batch and what follows.
    async::Task<Result<std::vector<bson::Document>>> find_all(ShardName shard,
                                                              bson::Document find,
                                                              CallOptions options);

private:
    struct Set;
    std::shared_ptr<Set> set_of(const ShardName& shard) const;
    async::Task<Result<std::shared_ptr<Set>>> find_set(ShardName shard, Instant deadline);
    async::Task<void> discover(std::shared_ptr<Set> set,
                               Instant deadline,
                               async::Cancellation cancellation);
    async::Task<void> ask(std::shared_ptr<Set> set,
                          HostAndPort host,
                          Instant deadline,
                          async::Cancellation cancellation);
    async::Task<Result<bson::Document>> send(HostAndPort host,
                                             bson::Document command,
                                             CallOptions options);
    async::Task<Status> check_is_shard(ShardName shard, const CallOptions& options);
    async::Task<Result<HostAndPort>> choose(std::shared_ptr<Set> set, const CallOptions& options);

    bson::Document with_cluster_time(bson::Document command) const;
    void note_cluster_time(bson::View reply);

    async::Clock& clock_;
    async::Transport& transport_;
    replication::LogicalClock& logical_clock_;
    async::Cancellation stopping_;
    // Guards the map; a Set guards itself.
    mutable std::mutex mutex_;
    std::map<ShardName, std::shared_ptr<Set>> sets_;  // Owners: this and running calls.
};

}  // namespace tessera::sharding
