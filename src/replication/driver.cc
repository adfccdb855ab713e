// SPDX-License-Identifier: Apache-2.0
#include "replication/driver.h"

#include <algorithm>

#include "base/log.h"
#include "replication/limits.h"
#include "replication/write_unit.h"

namespace tessera::replication {

using consensus::MemberState;
using consensus::RoleChange;

namespace {

constexpr Duration idle_flush_delay = 100ms;

std::string make_instance_id(Random& random) {
    return std::to_string(random.next()) + "-" + std::to_string(random.next());
}

}  // namespace

Replication::Driver::Driver(Replication& owner)
    : waiters(owner.environment_.clock),
      instance_id(make_instance_id(owner.environment_.random)),
      owner_(owner),
      env_(owner.environment_),
      options_(owner.options_),
      mailbox_(std::make_shared<Mailbox>(env_.control)),
      local_(env_.catalog, env_.engine, env_.random.split()),
      applier_(env_.catalog,
               env_.engine,
               [mailbox = mailbox_](const catalog::IndexBuildPtr& build) {
                   mailbox->control.post([mailbox, build] {
                       if (mailbox->driver != nullptr) mailbox->driver->drive(build);
                   });
               }),
      core_random_(env_.random.split()),
      tasks_(env_.control),
      uuid_random_(env_.random.split()) {
    mailbox_->driver = this;
}

Replication::Driver::~Driver() = default;

MemberView Replication::Driver::view() const {
    const std::lock_guard lock(mutex_);
    return view_;
}

OpTime Replication::Driver::commit_point() const {
    const std::lock_guard lock(mutex_);
    return view_.commit_point.optime;
}

const consensus::ElectionCounts Replication::Driver::election_counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
}

bson::Uuid Replication::Driver::make_uuid() {
    const std::lock_guard lock(mutex_);
    return bson::make_uuid(uuid_random_);
}

// ---- The loop ---------------------------------------------------------------------------------

void Replication::Driver::pump() {
    if (is_pumping_) {
        has_more_ = true;
        return;
    }
    is_pumping_ = true;
    do {
        has_more_ = false;
        carry_out(core_->take_output());
    } while (has_more_);
    is_pumping_ = false;
    arm_timer();
}

void Replication::Driver::carry_out(consensus::Output output) {
    if (output.save) save_ballot(*output.save);
    for (const consensus::Envelope& envelope : output.send)
        send(envelope);
    for (const RoleChange& change : output.roles)
        carry_out_role(change);
    sync_writability();
    if (output.install_config) tasks_.spawn(install(std::move(*output.install_config)));
    if (output.step_down_result) {
        step_down_result_ = std::move(output.step_down_result);
        step_down_ended_.notify();
    }
    if (output.commit_point && !is_sync_running_) {
        // The commit point never passes what is applied here, below which there are no holes.
        const Timestamp stable = oplog_->unit_boundary(output.commit_point->optime.timestamp);
        env_.engine.set_stable(stable);
        if (stable.seconds > limits::history_seconds)
            env_.engine.set_oldest({stable.seconds - limits::history_seconds, 0});
    }
    const bool has_commit = output.commit_point.has_value();
    publish(output.topology_changed, output.progress || has_commit);
    if (has_commit) {
        committed.notify();
        // Readers of our oplog wait for it too (lastKnownCommittedOpTime).
        if (oplog_) oplog_->grown().notify();
    }
    if (output.reconsider_sync_source || !output.roles.empty()) {
        const HostAndPort& source = core_->sync_source();
        // An initial sync goes on with whoever it began with, as long as that lives.
        if (fetching_ && !source.is_empty() &&
            (is_sync_running_ ? core_->is_source_lost(source)
                              : core_->should_abandon_source(source)))
            fetching_->cancel();
        pull_changed_.notify();
    }
}

void Replication::Driver::publish(bool topology_moved, bool progress) {
    const auto& present = core_->config();
    const auto self = core_->self().value_or(consensus::no_member);
    bool has_new_config = false;
    if (present && (shared_config_ == nullptr || view_.self != self ||
                    shared_config_->config_version() != present->config_version())) {
        shared_config_ = std::make_shared<const consensus::ReplicaSetConfig>(*present);
        has_new_config = true;
    }
    const MemberState state = core_->state();
    const bool has_new_state = state_.exchange(state) != state;
    topology_moved |= shown_topology_ != core_->topology_version();
    {
        const std::lock_guard lock(mutex_);
        view_.state = state;
        view_.metadata = core_->metadata();
        view_.commit_point = core_->commit_point();
        view_.applied = core_->last_applied().optime;
        view_.config = shared_config_;
        view_.self = self;
        if (topology_moved || has_new_config) view_.topology = core_->topology();
        counts_ = core_->election_counts();
    }
    if (progress || has_new_config) {
        const auto known = core_->replication_progress();
        waiters.update({shared_config_, known.self, known.commit_point, known.positions});
    }
    if (has_new_config) committed.notify();
    if (has_new_state) {
        log::info(log::Component::replication,
                  21358,
                  "Replica set state transition",
                  {{"newState", consensus::to_string(state)}});
        pull_changed_.notify();
    }
    if (topology_moved) {
        shown_topology_ = core_->topology_version();
        owner_.topology_version_.store(shown_topology_);
        topology_changed.notify();
    }
}

// Writers may open slots exactly while the core says that clients may write.
void Replication::Driver::sync_writability() {
    const bool writable = core_->is_writable_primary();
    if (writable == is_writable_.load()) return;
    is_writable_.store(writable);
    if (writable) {
        // First of all: whoever writes may wait at once.
        waiters.set_leading(core_->term(), Error(ErrorCode::unknown_error, ""));
        oplog_->allow_writers(core_->term());
        owner_.writable_term_.store(core_->term());
    } else {
        owner_.writable_term_.store(term_uninitialized);
        oplog_->allow_writers(std::nullopt);
    }
}

void Replication::Driver::carry_out_role(const RoleChange& change) {
    switch (change.kind) {
        case RoleChange::Kind::elected:
            log::info(log::Component::election,
                      21450,
                      "Election succeeded, assuming primary role",
                      {{"term", change.term}});
            core_->note_election_timestamp(env_.logical_clock.make(1, wall()));
            return;
        case RoleChange::Kind::drain:
            draining_ = change.term;
            if (fetching_) fetching_->cancel();
            tasks_.spawn(drain(change.term));
            return;
        case RoleChange::Kind::write_new_term_entry:
            return write_new_term_entry(change.term);
        case RoleChange::Kind::writable:
            log::info(log::Component::replication,
                      21331,
                      "Transition to primary complete; database writes are now permitted",
                      {{"term", change.term}});
            sync_writability();
            for (RoleObserver* const observer : observers)
                observer->on_step_up(change.term);
            // What a former primary began is ours to finish.
            tasks_.spawn(resume_builds());
            builds_changed.notify();
            return;
        case RoleChange::Kind::step_down:
            log::info(log::Component::replication,
                      21340,
                      "Stepping down",
                      {{"term", change.term}, {"reason", change.reason}});
            draining_.reset();
            sync_writability();
            if (oplog_) oplog_->allow_writers(std::nullopt);
            waiters.set_leading(std::nullopt,
                                Error(ErrorCode::primary_stepped_down,
                                      "Primary stepped down while waiting for replication"));
            for (RoleObserver* const observer : observers)
                observer->on_step_down();
            return;
    }
}

async::Task<void> Replication::Driver::drain(Term term) {
    while (!is_stopping_ && draining_ == term) {
        const auto ticket = pull_changed_.ticket();
        if (!fetching_ && !has_buffered()) break;
        co_await pull_changed_.wait(env_.clock, async::no_deadline, ticket, stopping_);
    }
    if (is_stopping_ || draining_ != term) co_return;
    read_mail();
    // The core knows of all that was applied: it reached it by read_mail().
    if (core_->drained(term, now())) pump();
}

void Replication::Driver::write_new_term_entry(Term term) {
    // Our own times must be later than all in the log.
    oplog_->allow_writers(term);
    const bson::Document message = bson::make("msg", "new primary");
    const auto written = [&]() -> Result<OpTime> {
        TRY(auto unit, WriteUnit::begin(owner_, env_.engine, env_.clock));
        TRY_OK(unit.no_op("", std::nullopt, message, std::nullopt));
        return unit.commit();
    }();
    if (!written) {
        oplog_->allow_writers(std::nullopt);
        core_->relinquish("the first entry of the term could not be written", now());
        has_more_ = true;
        return;
    }
    const consensus::OpTimeAndWall first{*written, wall()};
    core_->applied(first, now());
    if (!core_->wrote_new_term_entry(first, now())) oplog_->allow_writers(std::nullopt);
    request_flush();
    has_more_ = true;
}

void Replication::Driver::arm_timer() {
    const Instant due = core_->next_deadline();
    if (due == timer_due_ || is_stopping_) return;
    if (timer_due_ != Instant::max()) env_.clock.cancel_timer(timer_);
    timer_due_ = due;
    if (due == Instant::max()) return;
    timer_ = env_.clock.call_at(due, env_.control, [mailbox = mailbox_] {
        Driver* const driver = mailbox->driver;
        if (driver == nullptr) return;
        driver->timer_due_ = Instant::max();
        driver->core_->tick(driver->now());
        driver->pump();
    });
}

// ---- Growth and durability --------------------------------------------------------------------

// Any thread.
void Replication::Driver::post_mail(const std::shared_ptr<Mailbox>& mailbox) {
    mailbox->control.post([mailbox] {
        if (mailbox->driver != nullptr) mailbox->driver->read_mail();
    });
}

// Any thread: the oplog's visible end moved.
void Replication::Driver::note_growth() {
    bool posts = false;
    {
        const std::lock_guard lock(mailbox_->mutex);
        posts = !std::exchange(mailbox_->is_posted, true);
    }
    if (posts) post_mail(mailbox_);
    // Whoever counts our copy waits for its durability.
    if (!is_writable_.load()) request_flush();
}

// Any thread: when the newest entry was written.
WallTime Replication::Driver::last_wall() const {
    return is_writable_.load() ? wall() : applier_.last_wall();
}

void Replication::Driver::request_flush() {
    Oplog* const oplog = owner_.oplog();
    if (oplog == nullptr) return;
    const OpTime at = oplog->visible();
    if (at.is_null()) return;
    const consensus::OpTimeAndWall durable{at, last_wall()};
    env_.flusher.when_durable([mailbox = mailbox_, durable](const Status& status) {
        if (!status) return;
        bool posts = false;
        {
            const std::lock_guard lock(mailbox->mutex);
            if (!mailbox->durable || mailbox->durable->optime < durable.optime)
                mailbox->durable = durable;
            posts = !std::exchange(mailbox->is_posted, true);
        }
        if (posts) post_mail(mailbox);
    });
}

void Replication::Driver::read_mail() {
    std::optional<consensus::OpTimeAndWall> durable;
    {
        const std::lock_guard lock(mailbox_->mutex);
        durable = std::exchange(mailbox_->durable, std::nullopt);
        mailbox_->is_posted = false;
    }
    if (durable) is_flushing_ = false;
    if (is_sync_running_ || core_->state() == MemberState::rollback) return;
    // Looked at here, not told by those who let it grow: the last to tell need not know the newest.
    if (oplog_) core_->applied({oplog_->visible(), last_wall()}, now());
    if (durable) core_->durable(*durable, now());
    pump();
    if (core_->last_durable().optime < core_->last_applied().optime) {
        // Waiters asked for a flush when they came; what they wait for may have become visible
        // only after it.
        if (waiters.is_empty()) return flush_soon();
        if (!std::exchange(is_flushing_, true)) request_flush();
    }
}

void Replication::Driver::flush_soon() {
    if (std::exchange(is_flush_armed_, true)) return;
    env_.clock.call_at(now() + idle_flush_delay, env_.control, [mailbox = mailbox_] {
        if (mailbox->driver == nullptr) return;
        mailbox->driver->is_flush_armed_ = false;
        mailbox->driver->request_flush();
    });
}

async::Task<Status> Replication::Driver::flushed() {
    struct Wait {
        Status status;
        async::Event done;
    };
    const auto wait = std::make_shared<Wait>();  // Shared with the flusher's callback.
    env_.flusher.when_durable([wait](const Status& status) {
        wait->status = status;
        wait->done.set();
    });
    co_await wait->done.wait();
    co_return wait->status;
}

void Replication::Driver::save_ballot(const consensus::Ballot& ballot) {
    if (const auto saved = local_.save_ballot(ballot, wall()); !saved) return fatal(saved.error());
    env_.flusher.when_durable([mailbox = mailbox_, ballot](const Status& status) {
        if (!status) return;
        mailbox->control.post([mailbox, ballot] {
            Driver* const driver = mailbox->driver;
            if (driver == nullptr) return;
            driver->core_->ballot_saved(ballot, driver->now());
            driver->pump();
        });
    });
}

// What was agreed upon cannot be done here. Others go on without this member.
void Replication::Driver::fatal(const Error& error) {
    log::error(log::Component::replication,
               9000210,
               "Replication cannot go on here; this member stays in RECOVERING",
               {{"error", error}});
    is_broken_ = true;
    if (core_->is_primary()) core_->relinquish(error.reason(), now());
    (void)core_->set_follower_mode(MemberState::recovering, now());
    pump();
}

}  // namespace tessera::replication
