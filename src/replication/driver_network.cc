// SPDX-License-Identifier: Apache-2.0
//
// Messages out and in, and the question which member of a configuration this process is.
#include <array>

#include <unistd.h>

#include "base/log.h"
#include "replication/driver.h"
#include "replication/limits.h"

namespace tessera::replication {

using consensus::Envelope;
using consensus::RequestFailure;

namespace {

RequestFailure failure_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::host_unreachable:
        case ErrorCode::host_not_found:
            return RequestFailure::refused;
        case ErrorCode::network_interface_exceeded_time_limit:
            return RequestFailure::timed_out;
        default:
            return RequestFailure::broken;
    }
}

bool is_reply(const consensus::Message& message) {
    return std::holds_alternative<consensus::HeartbeatReply>(message) ||
           std::holds_alternative<consensus::VoteReply>(message) ||
           std::holds_alternative<consensus::PositionReply>(message) ||
           std::holds_alternative<consensus::StepUpReply>(message);
}

std::string own_host_name() {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0) return {};
    return name.data();
}

}  // namespace

// ---- Out --------------------------------------------------------------------------------------

void Replication::Driver::send(const Envelope& envelope) {
    if (!is_reply(envelope.message)) {
        if (!is_stopping_) tasks_.spawn(send_request(envelope));
        return;
    }
    const auto found = inbound_.find(envelope.id);
    if (found == inbound_.end()) return;  // Whoever asked has given up.
    found->second->reply = envelope.message;
    found->second->arrived.notify();
}

async::Task<Result<bson::Document>> Replication::Driver::call(HostAndPort target,
                                                              bson::Document command,
                                                              Duration timeout) {
    async::RemoteCall request;
    request.target = std::move(target);
    request.command_bson = std::move(command).release();
    request.deadline = now() + timeout;
    CO_TRY(std::string reply, co_await env_.transport.call(std::move(request), stopping_));
    co_return bson::Document::adopt(std::move(reply));
}

async::Task<void> Replication::Driver::send_request(Envelope envelope) {
    bson::Document command = request_to_bson(envelope.message, config());
    const Duration timeout = envelope.timeout > Duration::zero() ? envelope.timeout : 10s;
    auto answered = co_await call(envelope.peer, std::move(command), timeout);
    if (is_stopping_) co_return;
    if (!answered) {
        core_->request_failed(
            envelope.id, failure_of(answered.error().code()), answered.error().reason(), now());
        pump();
        co_return;
    }
    auto reply = parse_reply(envelope.message, *answered, config());
    if (reply) {
        core_->receive(Envelope{envelope.peer, envelope.id, std::move(*reply), {}}, now());
    } else {
        core_->request_failed(envelope.id, RequestFailure::broken, reply.error().reason(), now());
    }
    pump();
}

// ---- In ---------------------------------------------------------------------------------------

async::Task<Result<bson::Document>> Replication::Driver::answer(HostAndPort from,
                                                                consensus::Message request) {
    if (is_stopping_)
        co_return Error(ErrorCode::shutdown_in_progress, "The server is in quiesce mode");
    const auto inbound = std::make_shared<Inbound>();
    const consensus::RequestId id = ++last_inbound_;
    inbound_.emplace(id, inbound);
    core_->receive(Envelope{std::move(from), id, std::move(request), {}}, now());
    pump();
    const Instant deadline = now() + limits::inbound_timeout;
    while (!inbound->reply && !is_stopping_) {
        const auto ticket = inbound->arrived.ticket();
        if (inbound->reply) break;
        const auto outcome =
            co_await inbound->arrived.wait(env_.clock, deadline, ticket, stopping_);
        if (outcome == async::Notification::Outcome::timed_out) break;
    }
    inbound_.erase(id);
    if (!inbound->reply)
        co_return Error(ErrorCode::exceeded_time_limit, "the request was superseded");
    if (auto* const heartbeat = std::get_if<consensus::HeartbeatReply>(&*inbound->reply))
        heartbeat->message = misfit_;
    co_return reply_to_bson(*inbound->reply, config());
}

// Any thread.
void Replication::Driver::observe_term(Term term) {
    {
        const std::lock_guard lock(mutex_);
        if (term <= view_.metadata.term) return;
    }
    // A message that says nothing but its term: the metadata of a position update.
    env_.control.post([mailbox = mailbox_, term] {
        Driver* const driver = mailbox->driver;
        if (driver == nullptr) return;
        consensus::PositionUpdate update;
        update.metadata.term = term;
        driver->core_->receive(Envelope{{}, 0, std::move(update), {}}, driver->now());
        driver->pump();
    });
}

// ---- Who we are -------------------------------------------------------------------------------

std::optional<consensus::MemberId> Replication::Driver::self_by_name(
    const consensus::ReplicaSetConfig& config) const {
    static const std::string host_name = own_host_name();
    for (const auto& member : config.members) {
        if (member.host.port != options_.host.port) continue;
        if (member.host.host == options_.host.host || member.host.is_loopback() ||
            member.host.host == host_name)
            return member.id;
    }
    return std::nullopt;
}

async::Task<std::optional<consensus::MemberId>> Replication::Driver::find_self(
    consensus::ReplicaSetConfig config) {
    if (const auto self = self_by_name(config)) co_return self;
    // Under a name we do not know ourselves: ask whoever answers there who he is.
    for (const auto& member : config.members) {
        bson::Document command = bson::make("_isSelf", 1, "$db", "admin");
        auto reply = co_await call(member.host, std::move(command), limits::probe_timeout);
        if (!reply || !(*reply)["id"].is_string()) continue;
        if ((*reply)["id"].as_string() == instance_id) co_return member.id;
    }
    co_return std::nullopt;
}

async::Task<void> Replication::Driver::install(consensus::ReplicaSetConfig config) {
    const auto self = co_await find_self(config);
    if (is_stopping_) co_return;
    const bool is_first = !core_->config().has_value();
    if (is_first && !oplog_) {
        if (const auto opened = open_oplog(); !opened) {
            core_->config_refused();
            fatal(opened.error());
            co_return;
        }
        oplog_->set_observer([this] { note_growth(); });
        owner_.oplog_ptr_.store(oplog_.get());
    }
    if (const auto saved = local_.save_config(config); !saved) {
        core_->config_refused();
        fatal(saved.error());
        co_return;
    }
    if (const auto status = co_await flushed(); !status) {
        core_->config_refused();
        co_return;
    }
    if (is_stopping_) co_return;
    log::info(log::Component::replication,
              21392,
              "New replica set config in use",
              {{"version", config.version}, {"term", config.term}});
    // The same configuration again, when only who we are has become known.
    const bool is_same = core_->config() && *core_->config() == config;
    core_->install_config(config, self, now(), is_same && self != core_->self());
    if (core_->state() == consensus::MemberState::startup ||
        core_->state() == consensus::MemberState::removed ||
        core_->state() == consensus::MemberState::startup2 || is_first)
        set_mode_by_data();
    pump();
}

}  // namespace tessera::replication
