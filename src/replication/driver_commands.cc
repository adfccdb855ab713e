// SPDX-License-Identifier: Apache-2.0
//
// What operators ask of a member: to make a set, to change it, to lead or not to lead.
#include "base/log.h"
#include "replication/config_documents.h"
#include "replication/driver.h"
#include "replication/limits.h"
#include "replication/status_document.h"
#include "replication/write_unit.h"

namespace tessera::replication {

using consensus::MemberState;
using consensus::ReplicaSetConfig;

// ---- replSetInitiate --------------------------------------------------------------------------

Result<ReplicaSetConfig> Replication::Driver::default_config() const {
    ReplicaSetConfig config;
    config.set_name = options_.set_name;
    consensus::MemberConfig self;
    self.host = options_.host;
    config.members.push_back(self);
    return config;
}

async::Task<Result<bson::Document>> Replication::Driver::initiate(bson::Document document) {
    if (core_->config() || is_initiating_)
        co_return Error(ErrorCode::already_initialized, "already initialized");
    auto parsed = document.is_empty() ? default_config() : parse_config(document);
    if (!parsed)
        co_return parsed.error().with_prefix("replSetInitiate got object that wouldn't parse: ");
    ReplicaSetConfig config = std::move(*parsed);
    if (options_.is_config_server && !document["configsvr"].is_boolean()) config.configsvr = true;
    if (config.set_name != options_.set_name)
        co_return Error(ErrorCode::invalid_replica_set_config,
                        "Attempting to initiate a replica set with name " + config.set_name +
                            ", but command line reports " + options_.set_name + "; rejecting");
    if (config.configsvr != options_.is_config_server)
        co_return Error(ErrorCode::invalid_replica_set_config,
                        config.configsvr
                            ? "Nodes being used for config servers must be started with the "
                              "--configsvr flag"
                            : "Nodes started with the --configsvr flag must have configsvr:true "
                              "in their config");
    config.term = 0;
    is_initiating_ = true;
    const auto self = co_await find_self(config);
    auto valid = config.validate_for_initiate(self);
    if (valid) valid = co_await check_quorum(config, *self, true);
    if (valid && core_->config())
        valid = Error(ErrorCode::already_initialized, "already initialized");
    is_initiating_ = false;
    if (!valid) co_return valid.error();
    config.settings.replica_set_id = bson::ObjectIdSource(core_random_).next(wall()).bytes;
    CO_TRY_OK(write_initial_state(config));
    CO_TRY_OK(co_await flushed());
    const consensus::OpTimeAndWall first{oplog_->visible(), wall()};
    core_->applied(first, now());
    core_->durable(first, now());
    core_->initiated(config, self, now());
    set_mode_by_data();
    pump();
    log::info(log::Component::replication,
              21356,
              "replSetInitiate done",
              {{"members", static_cast<std::int64_t>(config.members.size())}});
    co_return bson::Document();
}

// The configuration and the first entry, "initiating set", outside of any term.
Status Replication::Driver::write_initial_state(const ReplicaSetConfig& config) {
    if (!oplog_) {
        TRY_OK(open_oplog());
        owner_.oplog_ptr_.store(oplog_.get());
    }
    oplog_->set_observer([this] { note_growth(); });
    oplog_->allow_writers(term_uninitialized);
    const bson::Document message = bson::make("msg", "initiating set");
    const auto written = [&]() -> Result<OpTime> {
        TRY(auto unit, WriteUnit::begin(owner_, env_.engine, env_.clock));
        TRY_OK(unit.no_op("", std::nullopt, message, std::nullopt));
        return unit.commit();
    }();
    oplog_->allow_writers(std::nullopt);
    if (!written) return written.error();
    env_.engine.set_stable(written->timestamp);
    return local_.save_config(config);
}

async::Task<void> Replication::Driver::check_member(HostAndPort host,
                                                    bson::Document command,
                                                    Status& outcome) {
    auto reply = co_await call(std::move(host), std::move(command), limits::quorum_timeout);
    outcome = reply ? status_of_reply(*reply) : Status(reply.error());
}

// Asks every other member whether it is there and free: all must answer an initiation, a majority
// a reconfiguration.
async::Task<Status> Replication::Driver::check_quorum(const ReplicaSetConfig& config,
                                                      consensus::MemberId self,
                                                      bool is_initiate) {
    std::vector<Status> outcomes(config.members.size());
    std::vector<async::Task<void>> asks;
    for (std::size_t i = 0; i < config.members.size(); ++i) {
        const auto& member = config.members[i];
        if (member.id == self) continue;
        bson::Builder command;
        command.append("replSetHeartbeat", config.set_name);
        if (is_initiate) command.append("checkEmpty", true);
        command.append("configVersion", is_initiate ? config.version : std::int64_t{-2});
        command.append("configTerm", is_initiate ? config.term : term_uninitialized);
        command.append("hbv", 1);
        command.append("from", config.find(self)->host.to_string()).append("fromId", self);
        command.append("term", core_->term()).append("$db", "admin");
        asks.push_back(check_member(member.host, std::move(command).finish(), outcomes[i]));
    }
    co_await async::when_all(std::move(asks));
    int voters = 0;
    std::string failures;
    bool has_mismatch = false;
    for (std::size_t i = 0; i < config.members.size(); ++i) {
        if (outcomes[i]) {
            voters += config.members[i].is_voter() ? 1 : 0;
            continue;
        }
        if (outcomes[i].error().code() == ErrorCode::already_initialized ||
            outcomes[i].error().code() == ErrorCode::inconsistent_replica_set_names)
            has_mismatch = true;
        if (!failures.empty()) failures += ", ";
        failures +=
            config.members[i].host.to_string() + " failed with " + outcomes[i].error().reason();
    }
    if (failures.empty()) co_return Status();
    if (is_initiate) {
        if (has_mismatch)
            co_return Error(ErrorCode::invalid_replica_set_config,
                            "replSetInitiate quorum check failed because not all proposed set "
                            "members responded affirmatively: " +
                                failures);
        co_return Error(ErrorCode::node_not_found,
                        "replSetInitiate quorum check failed because not all proposed set members "
                        "responded affirmatively: " +
                            failures);
    }
    if (voters >= config.majority_vote_count()) co_return Status();
    co_return Error(ErrorCode::node_not_found,
                    "Quorum check failed because not enough voting nodes responded; required " +
                        std::to_string(config.majority_vote_count()) + " but only the following " +
                        std::to_string(voters) +
                        " voting nodes responded; the following nodes did "
                        "not respond affirmatively: " +
                        failures);
}

// ---- replSetReconfig --------------------------------------------------------------------------

async::Task<Result<bson::Document>> Replication::Driver::reconfig(bson::Document document,
                                                                  bool force,
                                                                  Instant deadline) {
    if (!core_->config())
        co_return Error(ErrorCode::not_yet_initialized, "no replset config has been received");
    if (!force && !core_->is_writable_primary())
        co_return Error(ErrorCode::not_writable_primary,
                        "Safe reconfig is only allowed on a writable PRIMARY. Current state " +
                            std::string(consensus::to_string(core_->state())));
    auto parsed = parse_config(document);
    if (!parsed) co_return parsed.error().with_prefix("New config is invalid :: caused by :: ");
    ReplicaSetConfig proposed = std::move(*parsed);
    if (!proposed.settings.replica_set_id)
        proposed.settings.replica_set_id = core_->config()->settings.replica_set_id;
    const auto self = co_await find_self(proposed);
    if (!force && self) CO_TRY_OK(co_await check_quorum(proposed, *self, false));
    Result<ReplicaSetConfig> prepared = core_->prepare_reconfig(proposed, self, force);
    pump();
    // A primary just elected still rewrites its configuration with its term.
    const Instant patience = std::min(deadline, now() + limits::quorum_timeout);
    while (!prepared && !is_stopping_ && now() < patience &&
           (prepared.error().code() == ErrorCode::configuration_in_progress ||
            prepared.error().code() == ErrorCode::current_config_not_committed_yet)) {
        const auto ticket = committed.ticket();
        const Instant again = std::min(patience, now() + 50ms);
        co_await committed.wait(env_.clock, again, ticket, stopping_);
        prepared = core_->prepare_reconfig(proposed, self, force);
    }
    if (!prepared) co_return prepared.error();
    auto saved = local_.save_config(*prepared);
    if (saved) saved = co_await flushed();
    if (!saved) {
        core_->abort_reconfig();
        co_return saved.error();
    }
    core_->install_config(*prepared, self, now(), true);
    pump();
    const consensus::ConfigVersion installed = prepared->config_version();
    while (!force && !is_stopping_) {
        const auto ticket = committed.ticket();
        if (!core_->config() || core_->config()->config_version() != installed ||
            core_->is_config_committed())
            break;
        if (now() >= deadline)
            co_return Error(ErrorCode::max_time_ms_expired,
                            "Reconfig finished but failed to propagate to a majority");
        const Instant again = std::min(deadline, now() + 50ms);
        co_await committed.wait(env_.clock, again, ticket, stopping_);
    }
    co_return bson::Document();
}

// ---- Leading and not leading ------------------------------------------------------------------

async::Task<Status> Replication::Driver::step_down(consensus::StepDownRequest request) {
    step_down_result_.reset();
    const auto begun = core_->step_down(request, now());
    if (!begun) co_return begun;
    pump();
    while (!step_down_result_ && !is_stopping_) {
        const auto ticket = step_down_ended_.ticket();
        if (step_down_result_) break;
        co_await step_down_ended_.wait(env_.clock, async::no_deadline, ticket, stopping_);
    }
    if (!step_down_result_)
        co_return Error(ErrorCode::interrupted_at_shutdown, "interrupted at shutdown");
    co_return *step_down_result_;
}

Status Replication::Driver::step_up(bool skip_dry_run) {
    auto status = core_->step_up(skip_dry_run, now());
    pump();
    return status;
}

Result<bson::Document> Replication::Driver::freeze(Duration period) {
    auto info = core_->freeze(period, now());
    pump();
    if (!info) return info.error();
    if (info->empty()) return bson::Document();
    return bson::make("info", *info);
}

Result<bson::Document> Replication::Driver::sync_from(const HostAndPort& source) {
    TRY(const HostAndPort before, core_->sync_from(source, last_fetched()));
    pump();
    bson::Builder reply;
    reply.append("syncFromRequested", source.to_string());
    if (!before.is_empty()) reply.append("prevSyncTarget", before.to_string());
    asked_source_ = source;
    if (fetching_ && !is_sync_running_) fetching_->cancel();
    pull_changed_.notify();
    return std::move(reply).finish();
}

Status Replication::Driver::set_maintenance(bool on) {
    if (core_->is_primary())
        return Error(ErrorCode::not_secondary, "primaries can't modify maintenance mode");
    if (!on && maintenance_ == 0)
        return Error(ErrorCode::operation_failed, "already out of maintenance mode");
    maintenance_ += on ? 1 : -1;
    const MemberState state = core_->state();
    if (!is_broken_ && (state == MemberState::secondary || state == MemberState::recovering))
        TRY_OK(core_->set_follower_mode(follower_mode(), now()));
    pump();
    return {};
}

Result<bson::Document> Replication::Driver::status() {
    TRY(const consensus::StatusView view, core_->status(now()));
    const StatusTimes times{now(), wall(), env_.engine.last_checkpoint(), misfit_};
    return status_to_bson(view, times);
}

}  // namespace tessera::replication
