// SPDX-License-Identifier: Apache-2.0
//
// Waiting for write and read concerns (reference/protocol.md 1.12, 1.17).
#include "replication/driver.h"
#include "replication/oplog_entry.h"
#include "replication/replication.h"

namespace tessera::replication {

using Outcome = async::Notification::Outcome;

namespace {

Error failure_of(Outcome outcome) {
    if (outcome == Outcome::timed_out)
        return {ErrorCode::max_time_ms_expired, "operation exceeded time limit"};
    return {ErrorCode::interrupted, "operation was interrupted"};
}

struct JournalWait {
    Status status;
    async::Event done;
};

}  // namespace

WriteConcern Replication::default_write_concern() const {
    WriteConcern concern;
    concern.concern.w = 1;
    if (!is_replica_set()) return concern;
    const auto config = driver_->view().config;
    if (config == nullptr || config->is_default_write_concern_majority())
        concern.concern.w = std::string("majority");
    return concern;
}

async::Task<Status> Replication::await_write_concern(OpTime at,
                                                     WriteConcern concern,
                                                     Instant deadline,
                                                     async::Cancellation cancellation) {
    if (!is_replica_set()) {
        const auto* number = std::get_if<int>(&concern.concern.w);
        if (number != nullptr && *number > 1)
            co_return Error(ErrorCode::bad_value,
                            "cannot use 'w' > 1 when a host is not replicated");
        const bool waits = concern.concern.journal.value_or(concern.concern.is_majority());
        if (!waits) co_return Status();
        const auto wait = std::make_shared<JournalWait>();  // Shared with the flusher's callback.
        environment_.flusher.when_durable([wait](const Status& status) {
            wait->status = status;
            wait->done.set();
        });
        co_await wait->done.wait();
        co_return wait->status;
    }
    const auto* number = std::get_if<int>(&concern.concern.w);
    if (number != nullptr && *number <= 1 && !concern.concern.journal.value_or(false))
        co_return Status();
    const Term leading = writable_term_.load();
    if (at.term != leading && leading != term_uninitialized) {
        // Written in an earlier term: it must have outlived the change of primary.
        CO_TRY(const auto transaction, environment_.engine.begin());
        CO_TRY(const auto bytes, transaction->get(oplog()->table(), Oplog::key_of(at.timestamp)));
        if (!bytes || bson::View(bytes->data())["t"].to_int64() != at.term)
            co_return Error(ErrorCode::primary_stepped_down,
                            "Primary stepped down while waiting for replication");
    }
    std::function<void()> flush = [this] { driver_->request_flush(); };
    co_return co_await driver_->waiters.wait(
        at, std::move(concern), deadline, std::move(cancellation), std::move(flush));
}

async::Task<Result<Timestamp>> Replication::await_read_concern(ReadConcern concern,
                                                               Instant deadline,
                                                               async::Cancellation cancellation) {
    if (!is_replica_set()) {
        if (concern.level == ReadLevel::snapshot || !concern.after_cluster_time.is_null())
            co_return Error(ErrorCode::illegal_operation,
                            "Cannot specify a readConcern that needs a replica set on a "
                            "standalone");
        co_return Timestamp{};
    }
    if (concern.level == ReadLevel::linearizable && !is_writable_primary())
        co_return Error(ErrorCode::not_writable_primary,
                        "cannot satisfy linearizable read concern on non-primary node");
    Oplog* const log = oplog();
    if (log == nullptr)
        co_return Error(ErrorCode::not_yet_initialized, "no replset config has been received");
    Timestamp wanted = concern.after_cluster_time;
    if (concern.after_optime) wanted = std::max(wanted, concern.after_optime->timestamp);
    wanted = std::max(wanted, concern.at_cluster_time);
    if (wanted > logical_clock().now())
        co_return Error(ErrorCode::invalid_options,
                        "readConcern afterClusterTime value must not be greater than the current "
                        "clusterTime");
    // Nobody may write what would bring an idle log to that time, so it is done here.
    if (wanted > log->visible().timestamp && is_writable_primary()) {
        const bson::Document message = bson::make("msg", "Noop write for linearizable or causal");
        (void)write_noop(message);
    }
    const bool reads_committed =
        concern.level == ReadLevel::majority || concern.level == ReadLevel::snapshot;
    bool has_nudged = false;
    while (true) {
        async::Notification& changed = reads_committed ? driver_->committed : log->grown();
        const auto ticket = changed.ticket();
        const OpTime reached = reads_committed ? commit_point() : log->visible();
        if (!reached.is_null() && reached.timestamp >= wanted) {
            if (!reads_committed) co_return Timestamp{};
            co_return concern.at_cluster_time.is_null() ? reached.timestamp
                                                        : concern.at_cluster_time;
        }
        if (!std::exchange(has_nudged, true) && !is_writable_primary() && !wanted.is_null())
            async::spawn(environment_.control, driver_->nudge_primary(wanted));
        if (cancellation.is_cancelled()) co_return failure_of(Outcome::cancelled);
        const auto outcome =
            co_await changed.wait(environment_.clock, deadline, ticket, cancellation);
        if (outcome != Outcome::notified) co_return failure_of(outcome);
    }
}

// A secondary waits for a time the primary may have no reason to reach.
async::Task<void> Replication::Driver::nudge_primary(Timestamp wanted) {
    const auto primary = core_->primary_host();
    if (!primary || is_stopping_) co_return;
    bson::Builder command;
    command.append("appendOplogNote", 1);
    command.object("data").append("msg", "Noop write for causal consistency");
    command.object("$clusterTime").append("clusterTime", wanted);
    command.append("$db", "admin");
    bson::Document document = std::move(command).finish();
    (void)co_await call(*primary, std::move(document), 5s);
}

async::Task<Status> Replication::await_linearizable(Instant deadline,
                                                    async::Cancellation cancellation) {
    if (!is_replica_set()) co_return Status();
    const bson::Document message = bson::make("msg", "linearizable read");
    CO_TRY(const OpTime at, write_noop(message));
    WriteConcern majority;
    co_return co_await await_write_concern(
        at, std::move(majority), deadline, std::move(cancellation));
}

}  // namespace tessera::replication
