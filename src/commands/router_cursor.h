// SPDX-License-Identifier: Apache-2.0
//
// Cursors on shards, as a router holds them. RemoteCursor is one; a find over several shards merges
// them (make_merged_source), one over a single shard hands its batches through
// (make_single_source); pipelines pull them from worker threads (make_remote_documents).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "commands/cursor_registry.h"
#include "commands/router_calls.h"
#include "query/pipeline/services.h"
#include "routing/merge.h"

namespace tessera::commands {

class PipelineCall;  // commands/router_pipeline.h

/// A shard's open cursor and the batch it answered last. Destroying it closes the cursor there.
class RemoteCursor {
public:
    /// Takes a cursor reply apart: {cursor: {firstBatch, id, ns}}.
    static Result<RemoteCursor> open(Router& router,
                                     const Request& request,
                                     routing::ShardName shard,
                                     HostAndPort host,
                                     bson::Document reply);
    RemoteCursor(RemoteCursor&& other) noexcept;
    RemoteCursor& operator=(RemoteCursor&& other) noexcept;
    ~RemoteCursor();

    bool is_open() const { return id_ != 0; }
    const routing::ShardName& shard() const { return shard_; }
    const HostAndPort& host() const { return host_; }
    /// The documents of the last answer (an array); valid until the next fetch.
    bson::View batch() const { return batch_; }
    /// The "cursor" object of the last answer.
    bson::View cursor() const { return reply_["cursor"].as_view(); }

    struct Fetch {
        std::int64_t batch_size = 0;  // 0: as many as fit.
        Duration time_max{0};         // For tailable cursors; 0: none.
        Instant deadline = async::no_deadline;
        async::Cancellation cancellation = async::Cancellation::none();
    };
    /// Asks for the next batch. Requires: is_open().
    async::Task<Status> fetch(Fetch how);

private:
    explicit RemoteCursor(Router& router) : router_(&router) {}
    void close();

    Router* router_;
    routing::ShardName shard_;
    HostAndPort host_;
    std::int64_t id_ = 0;
    std::string db_;
    std::string collection_;
    bson::Document lsid_;
    bson::Document reply_;
    bson::View batch_;
};

/// Sends a cursor-opening command to every target and takes the cursors. On failure those that were
/// opened are closed. `skips_unreachable`: a shard that cannot be reached is left out, and
/// `is_partial` says so.
struct OpenOptions {
    sharding::CallOptions call;
    bool skips_unreachable = false;
    bool* is_partial = nullptr;
};
async::Task<Result<std::vector<RemoteCursor>>> open_cursors(Router& router,
                                                            Invocation& invocation,
                                                            std::vector<ShardCommand> commands,
                                                            OpenOptions options);

/// Whether an error says that a shard cannot be reached, which partial results leave out.
bool is_unreachable(ErrorCode code);

/// One shard's documents as they come.
std::unique_ptr<CursorSource> make_single_source(Router& router, RemoteCursor cursor);

struct MergeOptions {
    bson::Document sort;
    std::int64_t skip = 0;
    std::int64_t limit = 0;
    bool skips_unreachable = false;  // A shard that fails later is left out then.
    bool is_partial = false;
};
/// Several shards' documents, sorted by their $sortKey, with the query's skip and limit.
std::unique_ptr<CursorSource> make_merged_source(Router& router,
                                                 std::vector<RemoteCursor> cursors,
                                                 MergeOptions options);

/// One shard's documents for a pipeline on a worker thread. `call` outlives it; its operation, that
/// of the command or getMore that pulls, bounds how long it waits.
std::unique_ptr<query::DocumentCursor> make_remote_documents(Router& router,
                                                             RemoteCursor cursor,
                                                             PipelineCall& call);

}  // namespace tessera::commands
