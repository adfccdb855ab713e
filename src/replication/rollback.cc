// SPDX-License-Identifier: Apache-2.0
//
// Rollback: entries nobody else has are taken back. The data return to the stable timestamp, which
// no rollback passes, and the log is applied again from there up to the common point
// (reference/protocol.md 1.13).
#include "base/log.h"
#include "replication/driver.h"
#include "replication/limits.h"

namespace tessera::replication {

using consensus::MemberState;

async::Task<Status> Replication::Driver::roll_back(Source& source) {
    if (const auto entered = core_->set_follower_mode(MemberState::rollback, now()); !entered) {
        pump();  // A primary-elect: its catch-up has ended by this.
        co_return Status();
    }
    pump();
    log::info(log::Component::rollback,
              21593,
              "Transition to ROLLBACK",
              {{"syncSource", source.host.to_string()}});
    auto common = co_await find_common_point(source);
    if (is_stopping_) co_return Status();
    Status status = common ? Status() : Status(common.error());
    if (common && *common < core_->commit_point().optime)
        status =
            Error(ErrorCode::unrecoverable_rollback_error,
                  "the common point " + common->to_string() + " is before what is committed, " +
                      core_->commit_point().optime.to_string());
    // Only after an initial sync that ended beyond what was committed then.
    else if (common && common->timestamp < env_.engine.stable())
        status = Error(ErrorCode::unrecoverable_rollback_error,
                       "the common point " + common->to_string() +
                           " is before the end of the initial sync, where these data begin");
    if (!status) {
        // Nothing was touched: another source may know better.
        (void)core_->set_follower_mode(follower_mode(), now());
        if (status.error().code() == ErrorCode::unrecoverable_rollback_error ||
            status.error().code() == ErrorCode::no_matching_document)
            set_misfit("cannot roll back: " + status.error().reason());
        pump();
        co_return status;
    }
    const OpTime before = oplog_->visible();
    rollback_id_.fetch_add(1);
    status = local_.save_rollback_id(rollback_id_.load());
    for (RoleObserver* const observer : observers)
        observer->on_rollback();
    pause_builds(true);
    end_builds(Error(ErrorCode::interrupted_due_to_repl_state_change, "rolling back"));
    if (status) status = truncate_after(*common);
    if (status) status = co_await flushed();
    if (status) status = co_await recover_engine();
    if (status) status = env_.catalog.reload();
    if (status) adopt_oplog_collection();
    if (status) {
        async::resume_on there(env_.workers);
        co_await there;
        status = replay(env_.engine.stable(), *common, ApplyMode::exact);
        async::resume_on back(env_.control);
        co_await back;
    }
    if (!status) {
        fatal(status.error());
        co_return status;
    }
    oplog_->set_visible(*common);
    core_->reset_log({*common, applier_.last_wall()}, now());
    (void)core_->set_follower_mode(follower_mode(), now());
    pump();
    pause_builds(false);
    tasks_.spawn(resume_builds());
    log::info(log::Component::rollback,
              21607,
              "Rollback complete",
              {{"commonPoint", common->to_string()}, {"before", before.to_string()}});
    co_return Status();
}

// The newest entry of our oplog with a timestamp up to `at`.
Result<std::optional<OpTime>> Replication::Driver::local_entry_at_or_before(Timestamp at) {
    TRY(const auto transaction, env_.engine.begin());
    const auto cursor = transaction->open_cursor(oplog_->table(), storage::Direction::backward);
    TRY(const bool found, cursor->seek(Oplog::key_of(at)));
    if (!found) return std::optional<OpTime>();
    const bson::View entry(cursor->value().data());
    OpTime optime{Oplog::timestamp_of(cursor->key()), term_uninitialized};
    if (entry["t"].is_number()) optime.term = entry["t"].to_int64();
    return std::optional(optime);
}

// Walks the source's oplog from its end to the first entry that we have too.
async::Task<Result<OpTime>> Replication::Driver::find_common_point(Source& source) {
    std::size_t seen = 0;
    std::int64_t cursor = 0;
    CO_TRY(auto mine, local_entry_at_or_before(oplog_->visible().timestamp));
    while (mine && seen < limits::rollback_entries_max) {
        bson::Builder command;
        if (seen == 0) {
            command.append("find", "oplog.rs");
            command.object("filter").object("ts").append("$lte", mine->timestamp);
            command.object("sort").append("$natural", -1);
            command.object("projection").append("ts", 1).append("t", 1);
        } else {
            command.append("getMore", cursor).append("collection", "oplog.rs");
        }
        command.append("batchSize", limits::rollback_batch).append("$db", "local");
        bson::Document document = std::move(command).finish();
        CO_TRY(const bson::Document reply,
               co_await ask(source, std::move(document), limits::probe_timeout));
        const bson::View answer = reply["cursor"].as_view();
        cursor = answer["id"].to_int64();
        const bson::Value batch =
            answer.has("firstBatch") ? answer["firstBatch"] : answer["nextBatch"];
        for (const bson::Element& each : batch.as_view()) {
            ++seen;
            const bson::View entry = each.value.as_view();
            const OpTime theirs{entry["ts"].as_timestamp(), entry["t"].to_int64()};
            while (mine && mine->timestamp > theirs.timestamp) {
                CO_TRY(mine,
                       local_entry_at_or_before(Timestamp::unpack(mine->timestamp.packed() - 1)));
            }
            if (!mine) break;
            if (*mine == theirs) co_return theirs;
        }
        if (cursor == 0) break;
    }
    co_return Error(ErrorCode::no_matching_document,
                    "the oplogs have no entry in common; this member needs an initial sync");
}

Status Replication::Driver::truncate_after(OpTime common) {
    const std::string first = Oplog::key_of(Timestamp::unpack(common.timestamp.packed() + 1));
    std::int64_t count = 0;
    std::int64_t bytes = 0;
    TRY(const auto transaction, env_.engine.begin());
    {
        const auto cursor = transaction->open_cursor(oplog_->table());
        TRY(bool found, cursor->seek(first));
        while (found) {
            ++count;
            bytes += static_cast<std::int64_t>(cursor->value().size());
            TRY(found, cursor->next());
        }
    }
    TRY_OK(transaction->truncate(oplog_->table(), first, {}));
    transaction->add(oplog_collection_->tally(), -count, -bytes);
    return transaction->commit();
}

// Readers were told to go; the engine says when the last has.
async::Task<Status> Replication::Driver::recover_engine() {
    for (int attempt = 1;; ++attempt) {
        const auto status = env_.engine.recover_to_stable();
        if (status || status.error().code() != ErrorCode::lock_busy || is_stopping_ ||
            attempt == limits::recover_attempts_max)
            co_return status;
        co_await async::sleep_until(env_.clock, now() + limits::recover_retry);
    }
}

}  // namespace tessera::replication
