// SPDX-License-Identifier: Apache-2.0
#include "roles/member.h"

#include "base/log.h"
#include "commands/index_commands.h"
#include "commands/placement.h"
#include "commands/sharding_member.h"
#include "commands/ttl.h"

namespace tessera::roles {
namespace {

constexpr Duration cursor_sweep_interval = 30s;
constexpr Duration count_save_interval = 60s;

// When a member stops being primary, what writes there must not go on: it would fail anyway, later
// and less clearly.
class OperationsKiller : public replication::RoleObserver {
public:
    explicit OperationsKiller(commands::Member& member) : member_(member) {}
    void on_step_up(Term) override {}
    void on_step_down() override {
        member_.operations.kill_all(
            ErrorCode::interrupted_due_to_repl_state_change,
            [](const commands::Operation&, const commands::Operation::Description& description) {
                return description.is_write;
            });
    }
    void on_rollback() override {
        member_.cursors.kill_all();
        member_.operations.kill_all(
            ErrorCode::interrupted_due_to_repl_state_change,
            [](const commands::Operation&, const commands::Operation::Description& description) {
                return !description.is_hidden && description.kind != "command";
            });
    }

private:
    commands::Member& member_;
};

}  // namespace

MemberRole::MemberRole(Surroundings surroundings, MemberOptions options)
    : surroundings_(std::move(surroundings)), options_(std::move(options)) {}

MemberRole::~MemberRole() = default;

Result<std::unique_ptr<MemberRole>> MemberRole::start(Surroundings surroundings,
                                                      MemberOptions options,
                                                      std::unique_ptr<storage::Engine> engine) {
    std::unique_ptr<MemberRole> role(new MemberRole(std::move(surroundings), std::move(options)));
    TRY_OK(role->open(std::move(engine)));
    return role;
}

Status MemberRole::open(std::unique_ptr<storage::Engine> engine) {
    const Surroundings& around = surroundings_;
    member_ = std::make_unique<commands::Member>(options_.process, around.clock, around.transport,
                                                 around.control, around.workers, around.random);
    commands::Member& member = *member_;
    member.request_shutdown = around.request_shutdown;
    member.connection_counts = around.connection_counts;
    member.engine = std::move(engine);
    member.flusher = std::make_unique<storage::DurabilityFlusher>(*member.engine);
    const bool is_standalone = options_.replication.set_name.empty();
    TRY(member.catalog, catalog::Catalog::open(*member.engine, is_standalone, around.random));
    member.replication = std::make_unique<replication::Replication>(
        replication::Replication::Environment{
            *member.engine, *member.catalog, *member.flusher, member.clock, member.transport,
            member.control, member.workers, member.logical_clock, around.random},
        options_.replication);
    member.sessions = std::make_unique<replication::SessionCatalog>(
        *member.replication, *member.catalog, *member.engine, member.clock);
    operations_killer_ = std::make_unique<OperationsKiller>(member);
    member.replication->add_observer(*operations_killer_);
    member.replication->add_observer(*member.sessions);
    commands::add_sharding(member, around.random);
    member.replication->set_build_check([&member] { return commands::check_build_disk(member); });
    TRY_OK(member.replication->start());
    dispatcher_ = std::make_unique<commands::Dispatcher>(member);
    background_ = std::make_unique<async::TaskGroup>(around.control);
    background_->spawn(expire_cursors());
    background_->spawn(expire_documents());
    background_->spawn(keep_counts());
    return {};
}

async::Task<void> MemberRole::expire_cursors() {
    while (!stopping_.is_cancelled()) {
        const auto ticket = stop_.ticket();
        co_await stop_.wait(surroundings_.clock, surroundings_.clock.now() + cursor_sweep_interval,
                            ticket, stopping_);
        member_->cursors.expire(
            std::chrono::milliseconds(member_->parameters.cursor_timeout_ms.load()));
    }
}

// The counts that were saved are right after a clean end whose data came back as they were;
// otherwise they are counted anew, beside everything else.
async::Task<void> MemberRole::keep_counts() {
    const replication::Replication& replication = *member_->replication;
    bool is_due = options_.was_unclean ||
                  (replication.is_replica_set() && replication.last_applied().timestamp !=
                                                       member_->engine->recovery_timestamp());
    std::int32_t rollbacks = replication.rollback_id();
    const auto check = [this, &replication]() -> Status {
        if (stopping_.is_cancelled())
            return Error(ErrorCode::interrupted_at_shutdown, "shutting down");
        if (replication.state() == consensus::MemberState::rollback)
            return Error(ErrorCode::interrupted_due_to_repl_state_change, "rolling back");
        return {};
    };
    while (!stopping_.is_cancelled()) {
        const auto ticket = stop_.ticket();
        const std::int32_t rollbacks_now = replication.rollback_id();
        is_due |= rollbacks_now != rollbacks;
        rollbacks = rollbacks_now;
        async::resume_on hop(surroundings_.workers);
        co_await hop;
        Status status;
        if (is_due && check()) {
            status = member_->catalog->recount(check);
            is_due = !status;
        }
        if (status && !member_->write_gate.is_closed()) status = member_->catalog->save_counts();
        async::resume_on back(surroundings_.control);
        co_await back;
        if (!status && !stopping_.is_cancelled())
            log::warning(log::Component::storage, 9000104, "Counts could not be kept",
                         {{"error", status.error()}});
        if (stopping_.is_cancelled()) break;
        co_await stop_.wait(surroundings_.clock, surroundings_.clock.now() + count_save_interval,
                            ticket, stopping_);
    }
}

async::Task<void> MemberRole::expire_documents() {
    while (!stopping_.is_cancelled()) {
        const auto ticket = stop_.ticket();
        const std::chrono::seconds pause(member_->parameters.ttl_monitor_sleep_seconds.load());
        co_await stop_.wait(surroundings_.clock, surroundings_.clock.now() + pause, ticket,
                            stopping_);
        if (stopping_.is_cancelled() || !member_->parameters.ttl_monitor_enabled) continue;
        async::resume_on hop(surroundings_.workers);
        co_await hop;
        const auto status = commands::run_ttl_pass(*member_);
        if (!status)
            log::warning(log::Component::index, 9000101, "A pass over TTL indexes failed",
                         {{"error", status.error()}});
        async::resume_on back(surroundings_.control);
        co_await back;
    }
}

async::Task<void> MemberRole::shut_down(Duration quiesce) {
    member_->is_shutting_down = true;
    stopping_.cancel();
    stop_.notify();
    co_await background_->join();
    if (member_->sharding) co_await member_->sharding->shut_down();
    co_await member_->replication->shutdown(quiesce);
    member_->operations.kill_all(
        ErrorCode::interrupted_at_shutdown,
        [](const commands::Operation&, const commands::Operation::Description& description) {
            return description.command_name != "shutdown";
        });
    member_->cursors.kill_all();
    const auto saved = member_->catalog->save_counts();
    if (!saved)
        log::warning(log::Component::storage, 9000102, "Counts could not be saved",
                     {{"error", saved.error()}});
}

}  // namespace tessera::roles
