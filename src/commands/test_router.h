// SPDX-License-Identifier: Apache-2.0
//
// For tests: a router above a network of function calls, on one thread and a virtual clock. Config
// servers answer from the metadata a test sets up. Shards check the versions they are sent as real
// ones do, serve find and aggregate from documents a test gives them, insert whatever they get, and
// answer everything else from a script, which goes first. What they were asked is recorded. A
// command they have no answer to fails the test.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "async/manual.h"
#include "commands/dispatch.h"
#include "commands/router.h"

namespace tessera::commands::testing {

/// A document from JSON in which strings may stand in single quotes.
bson::Document json(std::string_view text);
/// As relaxed extended JSON, in single quotes.
std::string text(bson::View document);
/// A reply without what every reply has: ok: 1 and times.
std::string payload(bson::View reply);
/// The documents of a cursor reply's batch, "{...} {...}".
std::string batch(bson::View reply);
/// A cursor reply's "cursor" object; empty when there is none.
bson::View cursor(bson::View reply);
/// The payload(), or the code's name when the command failed.
std::string outcome(bson::View reply);
/// {ok: 0, code, errmsg} as a member sends it.
bson::Document failure(ErrorCode code, std::string_view message = "no");
/// lsid and txnNumber of a retryable write, to stand in a command's JSON.
inline constexpr std::string_view retryable =
    "'lsid':{'id':{'$binary':{'base64':'EREREREREREREREREREREQ==','subType':'04'}}},"
    "'txnNumber':{'$numberLong':'7'}";

/// The network's only loop; what a worker posts there is done before it goes on, since it blocks.
class TestLoop : public async::ManualExecutor {
public:
    TestLoop(async::VirtualClock& clock, async::Executor& workers)
        : clock_(clock), workers_(workers) {}
    void post(std::function<void()> work) override;

private:
    async::VirtualClock& clock_;
    async::Executor& workers_;
};

/// What a shard was asked.
struct Asked {
    std::string host;
    std::string shard;
    bson::Document command;
};

class TestRouter : public async::Transport {
public:
    /// Shards A, B and C with members X-1 (primary) and X-2; database "shop" is on A, and so are
    /// those that are made by writing.
    TestRouter();
    ~TestRouter() override;

    // ---- What the config servers say. The router does not know of changes before it asks.

    /// Makes a collection sharded; chunk i, up to splits[i], is on owners[i].
    void shard_collection(std::string_view key,
                          const std::vector<std::string>& splits,
                          const std::vector<std::string>& owners,
                          const std::string& ns = "shop.items");
    void move_chunk(std::size_t chunk, const std::string& to, const std::string& ns = "shop.items");
    /// As above, at a cluster time of which the chunk's history tells.
    void move_chunk_at(Timestamp when, std::size_t chunk, const std::string& to);
    /// Of "shop".
    void move_database(const std::string& to);
    routing::RoutingInfo placement(const std::string& ns = "shop.items") const;

    // ---- What shards do.

    /// Gives a shard documents, in the order in which it finds them. A find is answered with those
    /// that match, with $sortKey when it is asked for, an aggregate with all, both in batches.
    void holds(const std::string& shard, const std::vector<std::string>& documents);
    void holds_documents(const std::string& shard, std::vector<bson::Document> documents) {
        documents_[shard] = std::move(documents);
    }
    /// The next `command` the shard gets is answered so, once; "*" as the shard: any of them.
    void answers(const std::string& shard, const std::string& command, const bson::Document& reply);
    void answers(const std::string& shard, const std::string& command, std::string_view reply) {
        answers(shard, command, json(reply));
    }
    /// The next `command` is lost: nobody knows whether it ran.
    void loses(const std::string& shard, const std::string& command);
    /// The next `command` is never answered.
    void hangs(const std::string& shard, const std::string& command);
    /// The shard's other member is its primary now; the old one says so.
    void step_down(const std::string& shard);
    /// The shard is none of the cluster's any more, and nobody reaches it.
    void remove_shard(const std::string& shard) {
        removed_.insert(shard);
        take_down(shard);
    }
    /// Nobody reaches the shard's members.
    void take_down(const std::string& shard) { down_.insert(shard); }
    /// The StaleConfig by which a shard refuses what `ns` was sent with.
    bson::Document stale(const std::string& shard, const std::string& ns = "shop.items") const;

    // ---- What a client does, and what became of it.

    /// Runs one command to its end; $db is "shop" unless it says. Returns the whole reply.
    bson::Document run(bson::View command);
    bson::Document run(std::string_view command) { return run(json(command)); }
    std::string outcome(std::string_view command) { return testing::outcome(run(command)); }
    /// getMore for the cursor of a reply, with these arguments ("'batchSize':2").
    bson::Document more(const bson::Document& reply, std::string_view arguments = "");
    /// Kills the client's operation that runs when a shard gets `command`.
    void kill_operation_at(const std::string& command) { kills_at_ = command; }

    /// Which shards got the command since the last forget(), in order: "A,B".
    std::string asked(std::string_view command) const;
    std::vector<Asked> calls(std::string_view command) const;
    /// One field of every such call: "A:2 B:2".
    std::string asked(std::string_view command, std::string_view field) const;
    /// The last of them.
    bson::Document last(std::string_view command) const;
    void forget() { asked_.clear(); }
    /// Cursors that are open on shards.
    std::size_t open_cursors() const { return cursors_.size(); }
    /// How often the config servers were read.
    int config_reads = 0;

    async::VirtualClock clock;
    async::ManualExecutor workers;
    TestLoop loop{clock, workers};
    Random random{11};
    std::unique_ptr<Router> router;

private:
    struct Script {
        enum class Kind { reply, lost, silence };
        Kind kind = Kind::reply;
        bson::Document reply;
    };
    struct Cursor {
        std::string host;
        std::deque<bson::Document> rest;
        bool is_limited = false;  // By the query: it ends with its last document.
    };

    async::Task<Result<std::string>> call(async::RemoteCall request,
                                          async::Cancellation cancellation) override;
    async::Task<Result<std::unique_ptr<async::Stream>>> open(HostAndPort,
                                                             Instant,
                                                             async::Cancellation) override;
    void drop_connections(const HostAndPort&) override {}

    bson::Document hello(const std::string& host, const std::string& shard) const;
    bson::Document ask_config(bson::View command);
    std::vector<bson::Document> config_documents(std::string_view collection) const;
    bson::Document ask_shard(const std::string& host, const std::string& shard, bson::View command);
    Status check_versions(const std::string& shard, bson::View command) const;
    bson::Document serve(const std::string& host, const std::string& shard, bson::View command);
    bson::Document open_cursor(const std::string& host,
                               const std::string& shard,
                               bson::View command);
    bson::Document get_more(const std::string& host, bson::View command);
    bson::Document kill_cursors(bson::View command);
    struct Batch {
        std::int64_t id;
        std::string_view name;
        std::int64_t size;
        std::string ns;
    };
    bson::Document next_batch(const Batch& wanted);
    Script* script_for(const std::string& shard, const std::string& command);
    void settle();

    void add_database(const std::string& name);

    std::map<std::string, routing::DatabaseEntry> databases_;
    std::map<std::string, routing::ChunkMap::Pointer> sharded_;
    std::map<std::string, std::vector<bson::Document>> documents_;  // By shard.
    std::map<std::pair<std::string, std::string>, std::deque<Script>> scripts_;
    std::map<std::string, int> primaries_;  // By shard: 1 or 2.
    std::set<std::string> down_;
    std::set<std::string> removed_;
    std::map<std::int64_t, Cursor> cursors_;
    std::int64_t last_cursor_ = 0;
    std::vector<Asked> asked_;
    std::string kills_at_;
    async::Notification never_;
    std::shared_ptr<ClientInfo> client_ = std::make_shared<ClientInfo>();
    std::unique_ptr<Dispatcher> dispatcher_;
};

}  // namespace tessera::commands::testing
