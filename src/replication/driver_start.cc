// SPDX-License-Identifier: Apache-2.0
//
// Start: the data is as of the last checkpoint, the oplog as of the last sync of the journal. What
// the oplog has beyond the checkpoint is applied again, then the member joins its set.
#include <algorithm>

#include "base/log.h"
#include "replication/driver.h"
#include "replication/limits.h"
#include "replication/write_unit.h"

namespace tessera::replication {

using consensus::MemberState;

Status Replication::Driver::open_oplog() {
    TRY(oplog_collection_, local_.open_oplog(options_.oplog_bytes_max));
    oplog_ = std::make_unique<Oplog>(oplog_collection_->record_table(), env_.logical_clock);
    oplog_->count_in(oplog_collection_->tally());
    return {};
}

void Replication::Driver::adopt_oplog_collection() {
    if (auto collection = env_.catalog.find(oplog_ns)) {
        oplog_collection_ = std::move(collection);
        oplog_->count_in(oplog_collection_->tally());
    }
}

Status Replication::Driver::start() {
    TRY(const auto config, local_.config());
    if (config && config->set_name != options_.set_name)
        return Error(ErrorCode::inconsistent_replica_set_names,
                     "The data directory belongs to a member of the replica set '" +
                         config->set_name + "', but --replSet says '" + options_.set_name +
                         "'. Next step: start it with --replSet " + config->set_name +
                         ", or with another --dbpath");
    TRY(const consensus::Ballot ballot, local_.ballot());
    TRY(const std::int32_t rollbacks, local_.rollback_id());
    rollback_id_.store(rollbacks);
    consensus::Durable restored;
    restored.config = config;
    restored.ballot = ballot;
    if (config) restored.self = self_by_name(*config);
    if (config || env_.catalog.find(oplog_ns) != nullptr) {
        TRY_OK(open_oplog());
        TRY(const auto newest, oplog_->newest(env_.engine));
        TRY(const bool is_syncing, local_.is_syncing());
        if (newest && !is_syncing) {
            TRY(const ParsedEntry top, ParsedEntry::parse(*newest));
            TRY_OK(set_first_stable());
            TRY_OK(replay(env_.engine.stable(), top.optime, ApplyMode::exact));
            TRY_OK(env_.logical_clock.advance(top.optime.timestamp, wall()));
            restored.last = {top.optime, top.wall};
            oplog_->set_visible(top.optime);
        }
        owner_.oplog_ptr_.store(oplog_.get());
    }
    consensus::Options core_options;
    core_options.set_name = options_.set_name;
    core_options.host = options_.host;
    core_.emplace(core_options, restored, core_random_, now());
    publish(true, true);
    if (oplog_) oplog_->set_observer([this] { note_growth(); });
    env_.control.post([mailbox = mailbox_] {
        if (mailbox->driver != nullptr) mailbox->driver->begin();
    });
    return {};
}

// Before the first checkpoint nothing says what is stable, and an engine that does not know takes
// nothing back at a rollback. The data are then as of the first entry: a log loses no entry that no
// checkpoint holds.
Status Replication::Driver::set_first_stable() {
    if (!env_.engine.stable().is_null()) return {};
    TRY(const auto oldest, oplog_->oldest(env_.engine));
    if (oldest) env_.engine.set_stable((*oldest)["ts"].as_timestamp());
    return {};
}

Status Replication::Driver::replay(Timestamp after, OpTime upto, ApplyMode mode) {
    std::vector<bson::Document> batch;
    Timestamp next = Timestamp::unpack(after.packed() + 1);
    std::uint64_t count = 0;
    while (next <= upto.timestamp) {
        batch.clear();
        {
            TRY(const auto transaction, env_.engine.begin());
            const auto cursor = transaction->open_cursor(oplog_->table());
            TRY(bool found, cursor->seek(Oplog::key_of(next)));
            while (found && batch.size() < limits::apply_group_entries) {
                const Timestamp at = Oplog::timestamp_of(cursor->key());
                if (at > upto.timestamp) break;
                batch.push_back(bson::Document::adopt(std::string(cursor->value())));
                next = Timestamp::unpack(at.packed() + 1);
                TRY(found, cursor->next());
            }
        }
        if (batch.empty()) break;
        TRY_OK(applier_.apply(batch, mode, nullptr));
        count += batch.size();
    }
    if (count > 0)
        log::info(log::Component::recovery,
                  21536,
                  "Completed oplog application for recovery",
                  {{"numOpsApplied", count}, {"after", after.to_string()}});
    return {};
}

// The first thing on the control executor.
void Replication::Driver::begin() {
    if (core_->config()) {
        set_mode_by_data();
        if (!core_->self()) tasks_.spawn(install(*core_->config()));
    }
    pump();
    tasks_.spawn(pull());
    tasks_.spawn(write_periodic_noops());
    tasks_.spawn(truncate_periodically());
    tasks_.spawn(resume_builds());
}

// What this member may do follows from what it holds.
void Replication::Driver::set_mode_by_data() {
    const auto* const present = config();
    const auto* const me =
        present != nullptr && core_->self() ? present->find(*core_->self()) : nullptr;
    if (me != nullptr && me->arbiter_only) {
        (void)core_->set_follower_mode(MemberState::secondary, now());
        return;
    }
    const auto is_syncing = local_.is_syncing();
    const bool has_data = oplog_ && !oplog_->visible().is_null() && is_syncing && !*is_syncing;
    if (has_data) {
        (void)core_->set_follower_mode(follower_mode(), now());
        return;
    }
    (void)core_->set_follower_mode(MemberState::startup2, now());
    if (me != nullptr && !is_sync_running_) tasks_.spawn(synchronize());
}

MemberState Replication::Driver::follower_mode() const {
    const bool is_kept_back = is_broken_ || maintenance_ > 0 || !misfit_.empty();
    return is_kept_back ? MemberState::recovering : MemberState::secondary;
}

void Replication::Driver::set_misfit(std::string reason) {
    if (reason == misfit_) return;
    if (reason.empty())
        log::info(log::Component::replication, 9000226, "This member can follow again", {});
    else
        log::error(log::Component::replication,
                   9000225,
                   "This member cannot follow and stays in RECOVERING until a source can help or "
                   "it is synced anew (stop it, empty its data directory, start it)",
                   {{"reason", reason}});
    misfit_ = std::move(reason);
    const MemberState state = core_->state();
    if (state == MemberState::secondary || state == MemberState::recovering)
        (void)core_->set_follower_mode(follower_mode(), now());
    pump();
}

async::Task<void> Replication::Driver::write_periodic_noops() {
    OpTime before;
    while (!is_stopping_) {
        const auto ticket = stop_.ticket();
        co_await stop_.wait(env_.clock, now() + options_.periodic_noop_interval, ticket, stopping_);
        if (is_stopping_) break;
        const OpTime latest = oplog_ ? oplog_->visible() : OpTime{};
        if (owner_.is_writable_primary() && latest == before) {
            const bson::Document message = bson::make("msg", "periodic noop");
            (void)owner_.write_noop(message);
        }
        before = oplog_ ? oplog_->visible() : OpTime{};
    }
}

async::Task<void> Replication::Driver::truncate_periodically() {
    while (!is_stopping_) {
        const auto ticket = stop_.ticket();
        co_await stop_.wait(env_.clock, now() + limits::truncation_interval, ticket, stopping_);
        if (is_stopping_) break;
        // What an initial sync keeps is all still to be applied.
        if (is_sync_running_) continue;
        if (!oplog_ || oplog_collection_->data_size() <= options_.oplog_bytes_max) continue;
        async::resume_on there(env_.workers);
        co_await there;
        const auto status = truncate_oplog();
        async::resume_on back(env_.control);
        co_await back;
        if (!status)
            log::warning(log::Component::replication,
                         9000211,
                         "The oplog could not be shortened",
                         {{"error", status.error()}});
    }
}

// Removes the oldest entries, but none that a recovery would need. On a worker.
Status Replication::Driver::truncate_oplog() {
    const Timestamp needed =
        env_.engine.is_durable() ? env_.engine.last_checkpoint() : env_.engine.stable();
    std::int64_t excess = oplog_collection_->data_size() - options_.oplog_bytes_max;
    std::int64_t bytes = 0;
    std::int64_t count = 0;
    std::string end;
    {
        TRY(const auto transaction, env_.engine.begin());
        const auto cursor = transaction->open_cursor(oplog_->table());
        TRY(bool found, cursor->rewind());
        while (found && excess > bytes &&
               count < static_cast<std::int64_t>(limits::truncation_entries)) {
            if (Oplog::timestamp_of(cursor->key()) >= needed) break;
            bytes += static_cast<std::int64_t>(cursor->value().size());
            ++count;
            TRY(found, cursor->next());
            if (found) end = cursor->key();
        }
        if (!found) return {};  // Never the whole of it.
    }
    if (count == 0) return {};
    TRY(const auto transaction, env_.engine.begin());
    TRY_OK(transaction->truncate(oplog_->table(), {}, end));
    transaction->add(oplog_collection_->tally(), -count, -bytes);
    return transaction->commit();
}

async::Task<void> Replication::Driver::shutdown(Duration quiesce) {
    const auto& config = core_->config();
    const bool has_heir =  // Else nobody to hand over to: waiting would gain nothing.
        config && std::count_if(config->members.begin(),
                                config->members.end(),
                                [](const auto& member) { return member.is_electable(); }) > 1;
    if (core_->is_writable_primary() && has_heir && quiesce > Duration::zero()) {
        consensus::StepDownRequest request;
        request.period = std::chrono::seconds(60);
        request.catch_up_period = quiesce;
        (void)co_await step_down(request);
    }
    if (core_->is_primary()) {
        core_->relinquish("shutting down", now());
        pump();
    }
    is_stopping_ = true;
    end_builds(Error(ErrorCode::interrupted_at_shutdown, "interrupted at shutdown"));
    waiters.set_leading(std::nullopt,
                        Error(ErrorCode::interrupted_at_shutdown, "interrupted at shutdown"));
    stopping_.cancel();
    if (fetching_) fetching_->cancel();
    stop_.notify();
    pull_changed_.notify();
    step_down_ended_.notify();
    committed.notify();
    builds_changed.notify();
    topology_changed.notify();
    for (const auto& [id, inbound] : inbound_)
        inbound->arrived.notify();
    co_await tasks_.join();
    mailbox_->driver = nullptr;
    if (timer_due_ != Instant::max()) env_.clock.cancel_timer(timer_);
    timer_due_ = Instant::max();
    if (const auto status = co_await flushed(); !status)
        log::error(log::Component::replication,
                   9000212,
                   "The journal could not be synced",
                   {{"error", status.error()}});
}

}  // namespace tessera::replication
