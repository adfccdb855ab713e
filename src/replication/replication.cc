// SPDX-License-Identifier: Apache-2.0
//
// The facade: what any thread may ask, answered from the driver's copy or taken to the control
// executor and back.
#include "replication/replication.h"

#include "base/log.h"
#include "bson/ids.h"
#include "replication/config_documents.h"
#include "replication/driver.h"
#include "replication/index_builds.h"
#include "replication/limits.h"
#include "replication/write_unit.h"

namespace tessera::replication {

using consensus::MemberState;

namespace {

Error not_writable(bool speaks_hello) {
    return {ErrorCode::not_writable_primary, speaks_hello ? "not primary" : "not master"};
}

}  // namespace

Replication::Replication(Environment environment, Options options)
    : environment_(environment),
      options_(std::move(options)),
      driver_(std::make_unique<Driver>(*this)) {}

Replication::~Replication() = default;

Status Replication::start() {
    if (!is_replica_set()) return {};
    return driver_->start();
}

void Replication::add_observer(RoleObserver& observer) {
    driver_->observers.push_back(&observer);
}

// ---- To the control executor and back ---------------------------------------------------------

namespace {

/// Remembers where a coroutine came from, so that it can end there.
class Visit {
public:
    explicit Visit(async::Executor& control)
        : home_(async::Executor::current()), control_(control) {}
    async::resume_on there() { return async::resume_on(control_); }
    async::resume_on back() { return async::resume_on(home_ != nullptr ? *home_ : control_); }

private:
    async::Executor* const home_;
    async::Executor& control_;
};

}  // namespace

async::Task<void> Replication::shutdown(Duration quiesce) {
    if (!is_replica_set()) co_return;
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    co_await driver_->shutdown(quiesce);
    auto back = visit.back();
    co_await back;
}

async::Task<Result<bson::Document>> Replication::initiate(bson::Document config) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = co_await driver_->initiate(std::move(config));
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::reconfig(bson::Document config,
                                                          bool force,
                                                          Instant deadline) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = co_await driver_->reconfig(std::move(config), force, deadline);
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::status() {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = driver_->status();
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Status> Replication::step_down(consensus::StepDownRequest request) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = co_await driver_->step_down(request);
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Status> Replication::step_up(bool skip_dry_run) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = driver_->step_up(skip_dry_run);
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::freeze(Duration period) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = driver_->freeze(period);
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::sync_from(HostAndPort source) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = driver_->sync_from(source);
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Status> Replication::set_maintenance(bool on) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = driver_->set_maintenance(on);
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<bool> Replication::hold_applying(Instant deadline) {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    const bool is_held = co_await driver_->hold_applying(deadline);
    auto back = visit.back();
    co_await back;
    co_return is_held;
}

async::Task<void> Replication::release_applying() {
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    driver_->release_applying();
    auto back = visit.back();
    co_await back;
}

async::Task<Result<bson::Document>> Replication::on_heartbeat(bson::Document request) {
    CO_TRY(consensus::HeartbeatRequest parsed, parse_heartbeat_request(request));
    if (request["checkEmpty"].is_truthy() && driver_->view().config != nullptr)
        co_return Error(ErrorCode::already_initialized,
                        options_.host.to_string() + " is already initialized");
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    HostAndPort from = parsed.from;
    consensus::Message message(std::move(parsed));
    auto result = co_await driver_->answer(std::move(from), std::move(message));
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::on_request_votes(bson::Document request) {
    CO_TRY(consensus::VoteRequest parsed, parse_vote_request(request));
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    consensus::Message message(std::move(parsed));
    HostAndPort nobody;
    auto result = co_await driver_->answer(std::move(nobody), std::move(message));
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::on_update_position(bson::Document request) {
    const auto config = driver_->view().config;
    CO_TRY(consensus::PositionUpdate parsed, parse_position_update(request, config.get()));
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    consensus::Message message(std::move(parsed));
    HostAndPort nobody;
    auto result = co_await driver_->answer(std::move(nobody), std::move(message));
    auto back = visit.back();
    co_await back;
    co_return result;
}

async::Task<Result<bson::Document>> Replication::on_vote_commit_build(bson::Document request) {
    const auto id = bson::uuid_of(request["voteCommitIndexBuild"]);
    const bson::Value host = request["hostAndPort"];
    if (!id || !host.is_string())
        co_return Error(ErrorCode::failed_to_parse,
                        "voteCommitIndexBuild needs a build's UUID and a hostAndPort");
    CO_TRY(HostAndPort from, HostAndPort::parse(host.as_string()));
    Visit visit(environment_.control);
    auto there = visit.there();
    co_await there;
    auto result = co_await driver_->take_build_vote(*id, std::move(from));
    auto back = visit.back();
    co_await back;
    co_return result;
}

// ---- Index builds -----------------------------------------------------------------------------

void Replication::drive_build(const catalog::IndexBuildPtr& build) {
    driver_->drive_soon(build);
}

Status Replication::abort_build(const catalog::IndexBuild& build, const Error& cause) {
    return driver_->abort_build(build, cause);
}

Status Replication::check_satisfiable(const CommitQuorum& quorum) const {
    const auto config = driver_->view().config;
    if (config == nullptr)
        return Error(ErrorCode::not_yet_initialized, "no replset config has been received");
    return quorum.check_satisfiable(*config);
}

async::Notification& Replication::builds_changed() {
    return driver_->builds_changed;
}

void Replication::set_build_check(std::function<Status()> check) {
    driver_->build_check = std::move(check);
}

// ---- Gates ------------------------------------------------------------------------------------

Status Replication::check_writable(const Namespace& ns, bool speaks_hello) const {
    if (!is_replica_set() || ns.db == "local" || is_writable_primary()) return {};
    return not_writable(speaks_hello);
}

Status Replication::check_readable(const Namespace& ns, const ReadAccess& access) const {
    if (!is_replica_set() || ns.db == "local" || is_writable_primary()) return {};
    const MemberState state = driver_->state();
    if (state != MemberState::primary && state != MemberState::secondary)
        return Error(ErrorCode::not_primary_or_secondary,
                     access.speaks_hello
                         ? "node is not in primary or recovering state"
                         : "not master or secondary; cannot currently read from this replSet "
                           "member");
    if (state == MemberState::primary || access.allows_secondary) return {};
    return Error(
        ErrorCode::not_primary_no_secondary_ok,
        access.speaks_hello ? "not primary and secondaryOk=false" : "not master and slaveOk=false");
}

MemberState Replication::state() const {
    return is_replica_set() ? driver_->state() : MemberState::primary;
}

// ---- The oplog --------------------------------------------------------------------------------

bson::Uuid Replication::make_uuid() {
    return driver_->make_uuid();
}

OpTime Replication::last_applied() const {
    Oplog* const log = oplog();
    return log != nullptr ? log->visible() : OpTime{};
}

OpTime Replication::newest_write() const {
    Oplog* const log = oplog();
    return log != nullptr ? log->newest_committed() : OpTime{};
}

OpTime Replication::commit_point() const {
    return driver_->commit_point();
}

AppliedCounts Replication::applied_counts() const {
    return driver_->applied_counts();
}

Result<OpTime> Replication::write_noop(bson::View object) {
    if (!is_writable_primary()) return not_writable(true);
    TRY(auto unit, WriteUnit::begin(*this, environment_.engine, environment_.clock));
    TRY_OK(unit.no_op("", std::nullopt, object, std::nullopt));
    return unit.commit();
}

// ---- Shown ------------------------------------------------------------------------------------

consensus::TopologyView Replication::topology() const {
    MemberView view = driver_->view();
    view.topology.last_write.optime = last_applied();
    view.topology.majority_write = view.commit_point;
    return std::move(view.topology);
}

async::Notification& Replication::topology_changed() {
    return driver_->topology_changed;
}

Result<bson::Document> Replication::config_document() const {
    const auto config = driver_->view().config;
    if (config == nullptr)
        return Error(ErrorCode::not_yet_initialized, "no replset config has been received");
    return config_to_bson(*config);
}

std::int32_t Replication::rollback_id() const {
    return driver_->rollback_id();
}

const std::string& Replication::instance_id() const {
    return driver_->instance_id;
}

void Replication::append_metadata(bson::Builder& reply,
                                  bool repl_data,
                                  bool oplog_query_data) const {
    if (!repl_data && !oplog_query_data) return;
    const MemberView view = driver_->view();
    if (repl_data) append_repl_data(view.metadata, view.config.get(), reply);
    if (!oplog_query_data) return;
    const consensus::OplogQueryMetadata query{view.commit_point,
                                              view.applied,
                                              rollback_id(),
                                              view.metadata.primary_id,
                                              view.metadata.sync_source_id};
    append_oplog_query_data(query, view.config.get(), reply);
}

void Replication::observe_term(Term term) {
    if (is_replica_set()) driver_->observe_term(term);
}

void Replication::append_metrics(bson::Builder& repl) const {
    const consensus::ElectionCounts counts = driver_->election_counts();
    const auto append = [&](const char* name, consensus::ElectionReason reason) {
        const auto found = counts.by_reason.find(reason);
        bson::Builder each = repl.object(name);
        each.append("called", found == counts.by_reason.end() ? 0 : found->second.called);
        each.append("successful", found == counts.by_reason.end() ? 0 : found->second.successful);
    };
    append("stepUpCmd", consensus::ElectionReason::step_up_command);
    append("priorityTakeover", consensus::ElectionReason::priority_takeover);
    append("catchUpTakeover", consensus::ElectionReason::catch_up_takeover);
    append("electionTimeout", consensus::ElectionReason::election_timeout);
    append("freezeTimeout", consensus::ElectionReason::single_node);
    repl.append("numStepDownsCausedByHigherTerm", counts.step_downs_by_higher_term);
    repl.append("numCatchUps", counts.catch_ups);
    repl.append("numCatchUpsAlreadyCaughtUp", counts.catch_ups_already_caught_up);
    repl.append("numCatchUpsSucceeded", counts.catch_ups_succeeded);
    repl.append("numCatchUpsTimedOut", counts.catch_ups_timed_out);
}

}  // namespace tessera::replication
