// SPDX-License-Identifier: Apache-2.0
#include "commands/router_cursor.h"

#include <utility>

#include "async/block_on.h"
#include "commands/router_pipeline.h"

namespace tessera::commands {
namespace {

// How long a cursor nobody wants any more is tried to be closed.
constexpr Duration close_patience = 5s;

async::Task<void> kill_remote(Router& router, HostAndPort host, bson::Document command) {
    sharding::CallOptions options;
    options.deadline = router.clock.now() + close_patience;
    // A cursor that cannot be closed goes by itself after its idle time.
    [[maybe_unused]] const auto reply =
        co_await router.shards.call_host(std::move(host), std::move(command), std::move(options));
}

}  // namespace

bool is_unreachable(ErrorCode code) {
    return code == ErrorCode::host_unreachable || code == ErrorCode::host_not_found ||
           code == ErrorCode::network_timeout ||
           code == ErrorCode::network_interface_exceeded_time_limit ||
           code == ErrorCode::failed_to_satisfy_read_preference;
}

Result<RemoteCursor> RemoteCursor::open(Router& router,
                                        const Request& request,
                                        routing::ShardName shard,
                                        HostAndPort host,
                                        bson::Document reply) {
    RemoteCursor result(router);
    result.shard_ = std::move(shard);
    result.host_ = std::move(host);
    result.reply_ = std::move(reply);
    const bson::Value cursor = result.reply_["cursor"];
    if (!cursor.is_object())
        return Error(ErrorCode::internal_error, "a shard answered without a cursor");
    const bson::View fields = cursor.as_view();
    if (const bson::Value batch = fields["firstBatch"]; batch.is_array())
        result.batch_ = batch.as_view();
    result.id_ = fields["id"].to_int64();
    if (result.id_ == 0) return result;
    const bson::Value ns = fields["ns"];
    const Namespace named = Namespace::split(ns.is_string() ? ns.as_string() : std::string_view());
    result.db_ = named.db;
    result.collection_ = named.collection;
    if (const bson::Value lsid = request.body["lsid"]; lsid.is_object())
        result.lsid_ = bson::Document(lsid.as_view());
    return result;
}

RemoteCursor::RemoteCursor(RemoteCursor&& other) noexcept
    : router_(other.router_),
      shard_(std::move(other.shard_)),
      host_(std::move(other.host_)),
      id_(std::exchange(other.id_, 0)),
      db_(std::move(other.db_)),
      collection_(std::move(other.collection_)),
      lsid_(std::move(other.lsid_)) {
    // A small string moves its bytes: the view is found again.
    const std::ptrdiff_t offset = other.batch_.data() - other.reply_.bytes().data();
    const bool is_within = !other.batch_.is_empty();
    reply_ = std::move(other.reply_);
    if (is_within) batch_ = bson::View(reply_.bytes().data() + offset);
    other.batch_ = bson::View();
    other.reply_ = bson::Document();
}

RemoteCursor& RemoteCursor::operator=(RemoteCursor&& other) noexcept {
    if (this != &other) {
        this->~RemoteCursor();
        new (this) RemoteCursor(std::move(other));
    }
    return *this;
}

RemoteCursor::~RemoteCursor() {
    close();
}

void RemoteCursor::close() {
    if (id_ == 0) return;
    bson::Builder command;
    command.append("killCursors", collection_);
    {
        auto ids = command.array("cursors");
        ids.append(std::exchange(id_, 0));
    }
    if (!lsid_.is_empty()) command.append("lsid", lsid_);
    command.append("$db", db_);
    async::spawn(router_->control, kill_remote(*router_, host_, std::move(command).finish()));
}

async::Task<Status> RemoteCursor::fetch(Fetch how) {
    bson::Builder command;
    command.append("getMore", id_).append("collection", collection_);
    if (how.batch_size > 0) command.append("batchSize", how.batch_size);
    if (how.time_max > Duration::zero())
        command.append_integer("maxTimeMS", to_milliseconds(how.time_max));
    if (!lsid_.is_empty()) command.append("lsid", lsid_);
    command.append("$db", db_);
    sharding::CallOptions options;
    options.deadline = how.deadline;
    options.cancellation = how.cancellation;
    auto reply = sharding::checked(
        co_await router_->shards.call_host(host_, std::move(command).finish(), std::move(options)));
    if (!reply) {
        // It is gone there, or nobody knows: not asked again, but closed if it still lives.
        if (reply.error().code() == ErrorCode::cursor_not_found) id_ = 0;
        close();
        co_return std::move(reply).error();
    }
    reply_ = std::move(*reply);
    batch_ = bson::View();
    const bson::Value cursor = reply_["cursor"];
    if (!cursor.is_object())
        co_return Error(ErrorCode::internal_error, "a shard answered getMore without a cursor");
    if (const bson::Value batch = cursor.as_view()["nextBatch"]; batch.is_array())
        batch_ = batch.as_view();
    id_ = cursor.as_view()["id"].to_int64();
    co_return Status();
}

async::Task<Result<std::vector<RemoteCursor>>> open_cursors(Router& router,
                                                            Invocation& invocation,
                                                            std::vector<ShardCommand> commands,
                                                            OpenOptions options) {
    auto answers = co_await call_shards(router, invocation, std::move(commands), options.call);
    std::vector<RemoteCursor> cursors;
    std::optional<Error> failure;
    for (ShardAnswer& answer : answers) {
        if (!answer.reply) {
            const Error& error = answer.reply.error();
            if (options.skips_unreachable && is_unreachable(error.code())) {
                if (options.is_partial != nullptr) *options.is_partial = true;
                continue;
            }
            if (!failure || routing::needs_new_routing(error.code())) failure = error;
            continue;
        }
        auto cursor = RemoteCursor::open(router,
                                         invocation.request,
                                         std::move(answer.shard),
                                         std::move(answer.host),
                                         std::move(*answer.reply));
        if (cursor)
            cursors.push_back(std::move(*cursor));
        else if (!failure)
            failure = cursor.error();
    }
    if (failure) co_return *failure;
    co_return cursors;
}

namespace {

RemoteCursor::Fetch fetch_for(const Operation& operation, std::int64_t batch_size) {
    RemoteCursor::Fetch fetch;
    fetch.batch_size = batch_size;
    fetch.deadline = operation.deadline;
    fetch.cancellation = operation.cancellation;
    return fetch;
}

std::int64_t batch_size_of(const Request& request) {
    const bson::Value size = request.body["batchSize"];
    return size.is_number() ? size.to_int64() : 0;
}

class SingleSource : public CursorSource {
public:
    SingleSource(Router& router, RemoteCursor cursor)
        : router_(router), cursor_(std::move(cursor)) {
        restart();
    }

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        if (pass(batch) || batch.count() > 0 || !has_answered_) {
            has_answered_ = true;
            co_return next_ == end_ && !cursor_.is_open();
        }
        if (!cursor_.is_open()) co_return true;
        RemoteCursor::Fetch fetch = fetch_for(operation, batch_size_);
        fetch.time_max = time_max_;
        auto fetched = co_await cursor_.fetch(std::move(fetch));
        if (!fetched) co_return call_error(router_, operation, std::move(fetched).error());
        restart();
        pass(batch);
        co_return next_ == end_ && !cursor_.is_open();
    }
    void on_get_more(const Request& request) override {
        batch_size_ = batch_size_of(request);
        time_max_ = request.time_max;
        has_answered_ = true;
    }
    void append_cursor_fields(bson::Builder& out) const override {
        const bson::View cursor = cursor_.cursor();
        out.append("postBatchResumeToken", cursor["postBatchResumeToken"]);
        out.append("partialResultsReturned", cursor["partialResultsReturned"]);
    }

private:
    void restart() {
        next_ = cursor_.batch().begin();
        end_ = cursor_.batch().end();
    }
    // Hands documents on; true when some remain that find no room.
    bool pass(BatchWriter& batch) {
        for (; next_ != end_; ++next_) {
            const bson::View document = next_->value.as_view();
            if (!batch.has_room(document.size())) return true;
            batch.append(document);
        }
        return false;
    }

    Router& router_;
    RemoteCursor cursor_;
    bson::View::Iterator next_;
    bson::View::Iterator end_;
    bool has_answered_ = false;  // The first batch goes out even when it is empty.
    std::int64_t batch_size_ = 0;
    Duration time_max_{0};
};

class MergedSource : public CursorSource {
public:
    MergedSource(Router& router, std::vector<RemoteCursor> cursors, MergeOptions options)
        : router_(router),
          cursors_(std::move(cursors)),
          sort_(std::move(options.sort)),
          merge_(sort_, cursors_.size()),
          rest_(options.skip, options.limit),
          skips_unreachable_(options.skips_unreachable),
          is_partial_(options.is_partial) {}

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        if (!is_started_) {
            is_started_ = true;
            for (std::size_t i = 0; i < cursors_.size(); ++i)
                CO_TRY_OK(take_batch(i));
        }
        while (true) {
            CO_TRY_OK(operation.check(router_.clock));
            if (pass(batch)) co_return is_done();
            if (is_done()) co_return true;
            if (batch.is_full()) co_return false;  // Shards are asked when there is room.
            CO_TRY_OK(co_await fetch_starved(operation));
        }
    }
    void on_get_more(const Request& request) override { batch_size_ = batch_size_of(request); }
    void append_cursor_fields(bson::Builder& out) const override {
        if (is_partial_) out.append("partialResultsReturned", true);
    }

private:
    bool is_done() const { return !held_ && (rest_.is_done() || merge_.is_exhausted()); }
    // Hands documents on; true when the batch is full.
    bool pass(BatchWriter& batch) {
        while (true) {
            if (!held_) {
                if (rest_.is_done()) close_all();
                if (rest_.is_done() || !merge_.is_ready()) return false;
                if (batch.is_full()) return true;
                bson::Document document = merge_.next();
                if (!rest_.takes()) continue;
                held_ = std::move(document);
            }
            if (!batch.has_room(held_->size())) return true;
            batch.append(*held_);
            held_.reset();
        }
    }
    Status take_batch(std::size_t i) {
        std::vector<bson::Document> documents;
        for (const bson::Element& each : cursors_[i].batch())
            documents.emplace_back(each.value.as_view());
        return merge_.add_batch(i, std::move(documents), !cursors_[i].is_open());
    }
    async::Task<void> fetch_into(std::size_t i, RemoteCursor::Fetch how, Status& status) {
        status = co_await cursors_[i].fetch(std::move(how));
    }
    async::Task<Status> fetch_starved(Operation& operation) {
        const std::vector<std::size_t> starved = merge_.starved();
        std::vector<Status> statuses(starved.size());
        std::vector<async::Task<void>> calls;
        for (std::size_t i = 0; i < starved.size(); ++i)
            calls.push_back(fetch_into(starved[i], fetch_for(operation, batch_size_), statuses[i]));
        co_await async::when_all(std::move(calls));
        CO_TRY_OK(operation.check(router_.clock));
        for (std::size_t i = 0; i < starved.size(); ++i) {
            if (statuses[i]) {
                CO_TRY_OK(take_batch(starved[i]));
            } else if (skips_unreachable_ && is_unreachable(statuses[i].error().code())) {
                merge_.close(starved[i]);
                is_partial_ = true;
            } else {
                co_return statuses[i];
            }
        }
        co_return Status();
    }
    void close_all() { cursors_.clear(); }

    Router& router_;
    std::vector<RemoteCursor> cursors_;
    const bson::Document sort_;
    routing::CursorMerge merge_;
    routing::SkipLimit rest_;
    std::optional<bson::Document> held_;  // Found no room in the batch before.
    const bool skips_unreachable_;
    bool is_partial_;
    bool is_started_ = false;
    std::int64_t batch_size_ = 0;
};

class RemoteDocuments : public query::DocumentCursor {
public:
    RemoteDocuments(Router& router, RemoteCursor cursor, PipelineCall& call)
        : router_(router), cursor_(std::move(cursor)), call_(call) {}

    Result<query::Batch> next() override {
        if (std::exchange(is_started_, true)) {
            if (!cursor_.is_open()) {
                query::Batch nothing;
                nothing.is_last = true;
                return nothing;
            }
            const Operation& operation = *call_.invocation().operation;
            auto fetched =
                async::block_on(router_.control, cursor_.fetch(fetch_for(operation, 0)));
            if (!fetched) return call_error(router_, operation, std::move(fetched).error());
        }
        query::Batch batch;
        for (const bson::Element& each : cursor_.batch())
            batch.append(each.value.as_view());
        batch.is_last = !cursor_.is_open();
        return batch;
    }

private:
    Router& router_;
    RemoteCursor cursor_;
    PipelineCall& call_;
    bool is_started_ = false;
};

}  // namespace

std::unique_ptr<CursorSource> make_single_source(Router& router, RemoteCursor cursor) {
    return std::make_unique<SingleSource>(router, std::move(cursor));
}

std::unique_ptr<CursorSource> make_merged_source(Router& router,
                                                 std::vector<RemoteCursor> cursors,
                                                 MergeOptions options) {
    return std::make_unique<MergedSource>(router, std::move(cursors), std::move(options));
}

std::unique_ptr<query::DocumentCursor> make_remote_documents(Router& router,
                                                             RemoteCursor cursor,
                                                             PipelineCall& call) {
    return std::make_unique<RemoteDocuments>(router, std::move(cursor), call);
}

}  // namespace tessera::commands
