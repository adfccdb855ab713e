// SPDX-License-Identifier: Apache-2.0
//
// The simulated set's own code, kept in a test source so that no server links it.
#include "consensus/simulated_set.h"

#include <algorithm>
#include <string>

namespace tessera::consensus {

SimulatedSet::SimulatedSet(std::uint64_t seed, const ReplicaSetConfig& config) : random_(seed) {
    for (const auto& member : config.members) {
        auto node = std::make_unique<Node>();
        node->host = member.host;
        node->config = config;
        // What replSetInitiate and the first sync leave on every disk.
        node->log = {OpTime{{1, 1}, 0}};
        node->durable_length = 1;
        nodes_.push_back(std::move(node));
    }
    timers_.assign(nodes_.size(), Instant::max());
    committed_ = {OpTime{{1, 1}, 0}};
    now_ = Instant{10s};
}

ReplicaSetConfig SimulatedSet::make_config(int members) {
    ReplicaSetConfig config;
    config.set_name = "rs";
    config.term = 0;
    config.settings.heartbeat_interval = 250ms;
    config.settings.election_timeout = 1s;
    for (int i = 0; i < members; ++i) {
        MemberConfig member;
        member.id = i;
        member.host = {"n" + std::to_string(i), 1};
        config.members.push_back(member);
    }
    return config;
}

Duration SimulatedSet::delay(Duration low, Duration high) {
    return low + Duration{static_cast<Duration::rep>(
                     random_.below(static_cast<std::uint64_t>((high - low).count()) + 1))};
}

void SimulatedSet::at(Duration after, std::function<void()> action) {
    events_.push({now_ + after, ++sequence_, std::move(action)});
}

void SimulatedSet::at_node(std::size_t i, Duration after, std::function<void()> action) {
    const int incarnation = nodes_[i]->incarnation;
    at(after,
       [this, i, incarnation, action = std::move(action)] { run_at_node(i, incarnation, action); });
}

void SimulatedSet::run_at_node(std::size_t i,
                               int incarnation,
                               const std::function<void()>& action) {
    if (!nodes_[i]->core || nodes_[i]->incarnation != incarnation) return;
    if (nodes_[i]->frozen)
        return at(20ms, [this, i, incarnation, action] { run_at_node(i, incarnation, action); });
    action();
    if (nodes_[i]->core) pump(i);
}

void SimulatedSet::step() {
    auto event = events_.top();
    events_.pop();
    now_ = std::max(now_, event.at);
    event.action();
}

void SimulatedSet::run_for(Duration duration) {
    run_until(duration, [] { return false; });
}

// ---- Processes
// ------------------------------------------------------------------------------------

std::optional<MemberId> SimulatedSet::self_in(std::size_t i, const ReplicaSetConfig& config) const {
    const auto* member = config.find(nodes_[i]->host);
    if (member == nullptr) return std::nullopt;
    return member->id;
}

void SimulatedSet::start(std::size_t i) {
    auto& node = *nodes_[i];
    ++node.incarnation;
    node.frozen = node.fetching = node.syncing = false;
    node.random = std::make_unique<Random>(random_.next());
    Durable durable;
    durable.config = node.config;
    if (node.config) durable.self = self_in(i, *node.config);
    durable.ballot = node.ballot;
    if (!node.log.empty()) durable.last = {node.log.back(), {}};
    node.core = std::make_unique<Core>(Options{"rs", node.host, true}, durable, *node.random, now_);
    if (node.config) (void)node.core->set_follower_mode(MemberState::secondary, now_);
    pump(i);
}

void SimulatedSet::start_all() {
    for (std::size_t i = 0; i < nodes_.size(); ++i)
        start(i);
}

void SimulatedSet::initiate(std::size_t i, const ReplicaSetConfig& config) {
    for (std::size_t k = 0; k < nodes_.size(); ++k) {
        auto& node = *nodes_[k];
        node.config.reset();
        if (k != i) {
            node.log.clear();
            node.durable_length = 0;
        }
        start(k);
    }
    auto& node = *nodes_[i];
    node.config = config;
    node.core->initiated(config, self_in(i, config), now_);
    (void)node.core->set_follower_mode(MemberState::secondary, now_);
    pump(i);
}

void SimulatedSet::crash(std::size_t i) {
    auto& node = *nodes_[i];
    node.core.reset();
    node.log.resize(node.durable_length);
    timers_[i] = Instant::max();
}

void SimulatedSet::freeze(std::size_t i) {
    nodes_[i]->frozen = true;
}
void SimulatedSet::thaw(std::size_t i) {
    nodes_[i]->frozen = false;
}

void SimulatedSet::arm_timer(std::size_t i) {
    const Instant deadline = core(i).next_deadline();
    if (deadline == Instant::max() || deadline == timers_[i]) return;
    timers_[i] = deadline;
    at_node(i, std::max(deadline - now_, Duration{0}), [this, i, deadline] {
        if (timers_[i] == deadline) timers_[i] = Instant::max();
        core(i).tick(now_);
    });
}

void SimulatedSet::pump(std::size_t i) {
    auto& node = *nodes_[i];
    const Output out = node.core->take_output();
    if (out.save) {
        const Ballot ballot = *out.save;
        at_node(i, delay(0ms, 8ms), [this, i, ballot] {
            if (ballot.term > nodes_[i]->ballot.term) nodes_[i]->ballot = ballot;
            check_ballot(i, ballot);
            core(i).ballot_saved(ballot, now_);
        });
    }
    for (const auto& envelope : out.send)
        send(i, envelope);
    if (out.commit_point) check_commit(i, out.commit_point->optime);
    if (out.install_config) {
        const auto config = *out.install_config;
        at_node(i, delay(0ms, 8ms), [this, i, config] {
            auto& self = *nodes_[i];
            const bool first = !self.config.has_value();
            if (!self.config ||
                config.config_version().is_newer_than(self.config->config_version()))
                self.config = config;
            core(i).install_config(config, self_in(i, config), now_);
            if (first)
                (void)core(i).set_follower_mode(
                    self.log.empty() ? MemberState::startup2 : MemberState::secondary, now_);
        });
    }
    for (const auto& change : out.roles)
        carry_out(i, change);
    if (out.step_down_result) step_down_results_.insert_or_assign(i, *out.step_down_result);
    // A fetcher that was told to reconsider, or has no source, starts.
    if (!node.fetching) {
        node.fetching = true;
        at_node(i, 0ms, [this, i] { fetch(i); });
    }
    node.core->check_invariants();
    arm_timer(i);
}

// ---- Network
// --------------------------------------------------------------------------------------

std::optional<std::size_t> SimulatedSet::index_of(const HostAndPort& host) const {
    for (std::size_t i = 0; i < nodes_.size(); ++i)
        if (nodes_[i]->host == host) return i;
    return std::nullopt;
}

void SimulatedSet::fail_request(std::size_t i,
                                RequestId id,
                                RequestFailure failure,
                                Duration after) {
    at_node(i, after, [this, i, id, failure] { core(i).request_failed(id, failure, "", now_); });
}

void SimulatedSet::send(std::size_t from, const Envelope& envelope) {
    const bool is_reply = std::holds_alternative<HeartbeatReply>(envelope.message) ||
                          std::holds_alternative<VoteReply>(envelope.message) ||
                          std::holds_alternative<PositionReply>(envelope.message) ||
                          std::holds_alternative<StepUpReply>(envelope.message);
    // A request's sender is written as "n1@<incarnation>", so that an answer cannot reach the
    // process that comes after it.
    auto host = envelope.peer;
    int incarnation = 0;
    if (is_reply) {
        const auto mark = host.host.find('@');
        incarnation = std::stoi(host.host.substr(mark + 1));
        host.host.resize(mark);
    }
    const auto to = index_of(host);
    if (const auto* vote = std::get_if<VoteReply>(&envelope.message);
        vote != nullptr && vote->granted && nodes_[from]->core->ballot().term > vote->term)
        return;  // Nothing to check: superseded.
    const bool lost = !to || cut_.contains({from, *to}) || random_.fraction() < loss_;
    const auto flight = delay(100us, 3ms);
    if (is_reply) {
        if (lost || !nodes_[*to]->core || nodes_[*to]->incarnation != incarnation) return;
        Envelope copy = envelope;
        copy.peer = nodes_[from]->host;
        return at_node(*to, flight, [this, to, copy] { core(*to).receive(copy, now_); });
    }
    ++requests_sent_;
    // Most losses show as a broken connection, some only as silence (the core's own time-out).
    if (to && !nodes_[*to]->core)
        return fail_request(from, envelope.id, RequestFailure::refused, flight);
    if (lost) {
        if (random_.below(2) == 0) fail_request(from, envelope.id, RequestFailure::broken, flight);
        return;
    }
    Envelope copy = envelope;
    copy.peer = nodes_[from]->host;
    copy.peer.host += "@" + std::to_string(nodes_[from]->incarnation);
    at_node(*to, flight, [this, to, copy] { core(*to).receive(copy, now_); });
}

// ---- Roles and logs
// -------------------------------------------------------------------------------

void SimulatedSet::carry_out(std::size_t i, const RoleChange& change) {
    history_.push_back({now_, i, change.kind, change.term, change.reason});
    switch (change.kind) {
        case RoleChange::Kind::elected: {
            const auto [leader, fresh] = leaders_.emplace(change.term, i);
            if (!fresh && leader->second != i)
                violate("two primaries in term " + std::to_string(change.term));
            return;
        }
        case RoleChange::Kind::drain:
            return at_node(i, delay(0ms, 3ms), [this, i, term = change.term] {
                (void)core(i).drained(term, now_);
            });
        case RoleChange::Kind::write_new_term_entry: {
            const OpTime last = nodes_[i]->log.back();
            const OpTime first{{last.timestamp.seconds + 1, 1}, change.term};
            nodes_[i]->log.push_back(first);
            sync_log(i);
            (void)core(i).wrote_new_term_entry({first, {}}, now_);
            return pump(i);
        }
        case RoleChange::Kind::writable:
            return check_leader(i);
        case RoleChange::Kind::step_down:
            return;
    }
}

void SimulatedSet::append(std::size_t i, OpTime entry) {
    nodes_[i]->log.push_back(entry);
    sync_log(i);
    core(i).applied({entry, {}}, now_);
}

/// One flush serves all that was written before it began.
void SimulatedSet::sync_log(std::size_t i) {
    if (nodes_[i]->syncing) return;
    nodes_[i]->syncing = true;
    at_node(i, delay(0ms, 10ms), [this, i] {
        auto& node = *nodes_[i];
        node.syncing = false;
        const bool grew = node.durable_length < node.log.size();
        node.durable_length = node.log.size();
        if (grew) core(i).durable({node.log.back(), {}}, now_);
    });
}

bool SimulatedSet::write(std::size_t i) {
    if (!is_alive(i) || nodes_[i]->frozen || !core(i).is_writable_primary()) return false;
    const OpTime last = nodes_[i]->log.back();
    append(i, {{last.timestamp.seconds, last.timestamp.increment + 1}, core(i).term()});
    pump(i);
    return true;
}

std::optional<std::size_t> SimulatedSet::writable_primary() const {
    for (std::size_t i = 0; i < nodes_.size(); ++i)
        if (nodes_[i]->core && !nodes_[i]->frozen && nodes_[i]->core->is_writable_primary())
            return i;
    return std::nullopt;
}

bool SimulatedSet::reconfigure(std::size_t i, const ReplicaSetConfig& config) {
    auto prepared = core(i).prepare_reconfig(config, self_in(i, config), false);
    if (!prepared) return false;
    at_node(i, delay(0ms, 8ms), [this, i, config = *prepared] {
        nodes_[i]->config = config;
        core(i).install_config(config, self_in(i, config), now_, true);
    });
    return true;
}

void SimulatedSet::fetch(std::size_t i) {
    auto& node = *nodes_[i];
    auto& core_i = *node.core;
    const OpTime last = node.log.empty() ? OpTime{} : node.log.back();
    HostAndPort source = core_i.sync_source();
    if (source.is_empty()) {
        if (const auto chosen = core_i.choose_sync_source(last, now_)) {
            core_i.set_sync_source(*chosen, now_);
            source = core_i.sync_source();
        }
    }
    const auto from = index_of(source);
    if (!from || node.gets_no_log) return at_node(i, 50ms, [this, i] { fetch(i); });
    const auto flight = delay(100us, 3ms);
    if (!nodes_[*from]->core || cut_.contains({i, *from}) || cut_.contains({*from, i}) ||
        random_.fraction() < loss_) {
        core_i.set_sync_source({}, now_);
        core_i.denylist_sync_source(source, now_ + 100ms);
        return at_node(i, 30ms, [this, i] { fetch(i); });
    }
    const int incarnation = node.incarnation;
    const int rollback_id = nodes_[*from]->rollback_id;
    at_node(*from, flight, [this, i, from, incarnation, rollback_id] {
        serve_fetch(*from, i, incarnation, rollback_id);
    });
    // The fetcher goes on by itself, as one whose connection may have died would.
    at_node(i, delay(15ms, 40ms), [this, i] { fetch(i); });
}

void SimulatedSet::serve_fetch(std::size_t source,
                               std::size_t i,
                               int incarnation,
                               int probed_rollback_id) {
    if (!nodes_[i]->core || nodes_[i]->incarnation != incarnation) return;
    const auto& log = nodes_[source]->log;
    if (log.empty()) return;
    const OpTime last = nodes_[i]->log.empty() ? log.front() : nodes_[i]->log.back();
    FirstBatchFacts facts;
    facts.last_fetched = last;
    facts.rollback_id_probed = probed_rollback_id;
    facts.rollback_id = nodes_[source]->rollback_id;
    facts.source_applied = core(source).last_applied().optime;
    facts.source_oldest = log.front();
    auto first = std::find_if(
        log.begin(), log.end(), [last](OpTime entry) { return entry.timestamp >= last.timestamp; });
    FetchAnswer answer;
    answer.batch.assign(first, log.end());
    if (!answer.batch.empty()) facts.first = answer.batch.front();
    answer.facts = facts;
    answer.metadata = core(source).metadata();
    answer.query = core(source).oplog_query_metadata(facts.rollback_id);
    if (cut_.contains({source, i})) return;
    at_node(i, delay(100us, 3ms), [this, i, source, answer = std::move(answer)] {
        take_batch(i, source, answer);
    });
}

void SimulatedSet::take_batch(std::size_t i, std::size_t source, const FetchAnswer& answer) {
    const auto& [facts, batch, metadata, query] = answer;
    auto& node = *nodes_[i];
    auto& core_i = *node.core;
    const auto host = nodes_[source]->host;
    if (core_i.sync_source() != host) return;
    if (node.log.empty()) {  // Initial sync: everything at once.
        node.log = batch;
        node.durable_length = batch.size();
        core_i.reset_log({batch.back(), {}}, now_);
        (void)core_i.set_follower_mode(MemberState::secondary, now_);
        return;
    }
    if (node.log.back() != facts.last_fetched) return;  // An answer to an older question.
    switch (check_first_batch(facts)) {
        case FirstBatch::proceed:
            break;
        case FirstBatch::choose_another:
            core_i.denylist_sync_source(host, now_ + 60ms);
            return core_i.set_sync_source({}, now_);
        case FirstBatch::roll_back:
            return roll_back(i, source);
        case FirstBatch::too_stale:
            return violate("too stale, though no log is ever cut");
    }
    core_i.fetched(host, metadata, query, now_);
    for (std::size_t k = 1; k < batch.size(); ++k)
        append(i, batch[k]);
    if (core_i.should_change_sync_source(host, metadata, query, node.log.back(), now_))
        core_i.set_sync_source({}, now_);
}

void SimulatedSet::roll_back(std::size_t i, std::size_t source) {
    auto& node = *nodes_[i];
    if (!nodes_[source]->core || !core(i).set_follower_mode(MemberState::rollback, now_)) return;
    const auto& other = nodes_[source]->log;
    const auto common = static_cast<std::size_t>(
        std::mismatch(node.log.begin(), node.log.end(), other.begin(), other.end()).first -
        node.log.begin());
    if (common == 0) return violate("no common point");
    if (node.log[common - 1] < core(i).commit_point().optime)
        return violate("node " + std::to_string(i) + " rolls back behind its commit point\n" +
                       describe());
    node.log.resize(common);
    node.durable_length = std::min(node.durable_length, common);
    ++node.rollback_id;
    ++node.rollbacks;
    core(i).reset_log({node.log.back(), {}}, now_);
    node.durable_length = common;
    (void)core(i).set_follower_mode(MemberState::secondary, now_);
}

// ---- Checkers
// -------------------------------------------------------------------------------------

void SimulatedSet::violate(const std::string& what) {
    violations_.push_back("at " + std::to_string(to_milliseconds(now_.time_since_epoch())) +
                          " ms: " + what);
}

/// Invariant: one-vote-a-term.
void SimulatedSet::check_ballot(std::size_t i, const Ballot& ballot) {
    const auto [vote, fresh] = votes_.emplace(std::pair(i, ballot.term), ballot.candidate_id);
    if (!fresh && vote->second != ballot.candidate_id)
        violate("node " + std::to_string(i) + " voted twice in term " +
                std::to_string(ballot.term));
}

/// Invariant: logs-agree, committed-stays.
void SimulatedSet::check_commit(std::size_t i, OpTime commit_point) {
    const auto& log = nodes_[i]->log;
    for (std::size_t k = 0; k < log.size() && log[k] <= commit_point; ++k) {
        if (k == committed_.size()) {
            committed_.push_back(log[k]);
        } else if (committed_[k] != log[k]) {
            return violate("node " + std::to_string(i) + " committed " + log[k].to_string() +
                           " where " + committed_[k].to_string() + " was committed");
        }
    }
}

/// Invariant: leader-has-all-committed.
void SimulatedSet::check_leader(std::size_t i) {
    const auto& log = nodes_[i]->log;
    if (log.size() < committed_.size() ||
        !std::equal(committed_.begin(), committed_.end(), log.begin()))
        // A primary of an older term may become writable late; it cannot commit any more.
        if (leaders_.rbegin()->second == i && leaders_.rbegin()->first == core(i).term())
            violate("primary " + std::to_string(i) + " lacks committed entries");
}

std::string SimulatedSet::describe() const {
    std::string text;
    for (const auto& node : nodes_) {
        text += node->host.host + ": ";
        if (!node->core) {
            text += "dead\n";
            continue;
        }
        const auto& c = *node->core;
        text += std::string(to_string(c.state())) + " term " + std::to_string(c.term()) +
                " primary " + std::to_string(c.primary_id()) + " source " + c.sync_source().host +
                " config " + c.config()->config_version().to_string() + " voters";
        for (const auto& member : c.config()->members)
            if (member.is_voter()) text += " " + std::to_string(member.id);
        text += " log " + std::to_string(node->log.size()) + " ends " +
                node->log.back().to_string() + " applied " + c.last_applied().optime.to_string() +
                " commit " + c.commit_point().optime.to_string() +
                (c.is_writable_primary() ? " W" : "") +
                " unelectable: " + c.unelectable_reason(now_) + "\n";
    }
    return text;
}

bool SimulatedSet::logs_agree() const {
    for (const auto& node : nodes_)
        if (node->log != nodes_.front()->log) return false;
    return true;
}

}  // namespace tessera::consensus
