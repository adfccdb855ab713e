// SPDX-License-Identifier: Apache-2.0
//
// For tests: a replica set of Cores over a virtual clock, network and disk, with logs that are
// lists of positions. Everything follows from one seed. The checkers stand outside the nodes and
// see what no node sees: who led which term, who voted for whom, and every committed entry.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "consensus/core.h"

namespace tessera::consensus {

class SimulatedSet {
public:
    struct Node {
        HostAndPort host;
        // The disk.
        Ballot ballot;
        std::optional<ReplicaSetConfig> config;
        std::size_t durable_length = 0;
        // The process.
        std::unique_ptr<Random> random;
        std::unique_ptr<Core> core;
        int incarnation = 0;
        std::vector<OpTime> log;
        bool frozen = false;
        bool fetching = false;
        bool syncing = false;
        bool gets_no_log = false;  // Its fetches find nobody; all other messages pass.
        std::int32_t rollback_id = 1;
        int rollbacks = 0;
    };
    /// What happened, for checks of single scenarios.
    struct Event {
        Instant at;
        std::size_t node = 0;
        RoleChange::Kind kind = RoleChange::Kind::elected;
        Term term = 0;
        std::string reason;
    };

    SimulatedSet(std::uint64_t seed, const ReplicaSetConfig& config);

    // ---- Driving it ----
    Instant now() const { return now_; }
    Random& random() { return random_; }
    std::size_t size() const { return nodes_.size(); }
    Node& node(std::size_t i) { return *nodes_[i]; }
    Core& core(std::size_t i) { return *nodes_[i]->core; }
    bool is_alive(std::size_t i) const { return nodes_[i]->core != nullptr; }
    void start(std::size_t i);
    void start_all();
    /// Process `i` alone runs replSetInitiate; all are started without a configuration.
    void initiate(std::size_t i, const ReplicaSetConfig& config);
    void crash(std::size_t i);
    void freeze(std::size_t i);
    void thaw(std::size_t i);
    void cut(std::size_t a, std::size_t b) { cut_.insert({a, b}); }
    void cut_both(std::size_t a, std::size_t b) { cut(a, b), cut(b, a); }
    void heal() { cut_.clear(); }
    void set_loss(double probability) { loss_ = probability; }
    void run_for(Duration duration);
    /// Runs until `done`; false when `limit` passed before.
    template <class Condition>
    bool run_until(Duration limit, Condition done) {
        const Instant end = now_ + limit;
        while (!done()) {
            if (events_.empty() || events_.top().at > end) {
                now_ = end;
                return done();
            }
            step();
        }
        return true;
    }
    /// Carries out what node `i`'s core wants done, after calling it directly.
    void pump(std::size_t i);
    /// A client's write; false when `i` is not a writable primary.
    bool write(std::size_t i);
    std::optional<std::size_t> writable_primary() const;
    bool reconfigure(std::size_t i, const ReplicaSetConfig& config);
    void at(Duration delay, std::function<void()> action);

    // ---- What the outside saw ----
    const std::vector<OpTime>& committed() const { return committed_; }
    std::size_t requests_sent() const { return requests_sent_; }
    const std::vector<Event>& history() const { return history_; }
    const std::vector<std::string>& violations() const { return violations_; }
    bool logs_agree() const;
    /// A line a node, for the message of a failed test.
    std::string describe() const;
    const std::map<std::size_t, Status>& step_down_results() const { return step_down_results_; }

    /// An electable set of `members` voters, ids from 0, hosts n0:1 ... , quick time-outs.
    static ReplicaSetConfig make_config(int members);

private:
    struct Scheduled {
        Instant at;
        std::uint64_t sequence = 0;
        std::function<void()> action;
        bool operator<(const Scheduled& other) const {
            return std::pair(other.at, other.sequence) < std::pair(at, sequence);
        }
    };
    /// Runs `action` on node `i` unless its process ended in between; waits while it is frozen.
    void at_node(std::size_t i, Duration delay, std::function<void()> action);
    void run_at_node(std::size_t i, int incarnation, const std::function<void()>& action);
    void step();
    Duration delay(Duration low, Duration high);
    void arm_timer(std::size_t i);
    void send(std::size_t from, const Envelope& envelope);
    void fail_request(std::size_t i, RequestId id, RequestFailure failure, Duration after);
    std::optional<std::size_t> index_of(const HostAndPort& host) const;
    std::optional<MemberId> self_in(std::size_t i, const ReplicaSetConfig& config) const;
    void carry_out(std::size_t i, const RoleChange& change);
    void append(std::size_t i, OpTime entry);
    void sync_log(std::size_t i);
    void fetch(std::size_t i);
    void serve_fetch(std::size_t source, std::size_t i, int incarnation, int probed_rollback_id);
    struct FetchAnswer {
        FirstBatchFacts facts;
        std::vector<OpTime> batch;
        ReplMetadata metadata;
        OplogQueryMetadata query;
    };
    void take_batch(std::size_t i, std::size_t source, const FetchAnswer& answer);
    void roll_back(std::size_t i, std::size_t source);
    void check_ballot(std::size_t i, const Ballot& ballot);
    void check_commit(std::size_t i, OpTime commit_point);
    void check_leader(std::size_t i);
    void violate(const std::string& what);

    Random random_;
    Instant now_{};
    std::uint64_t sequence_ = 0;
    std::priority_queue<Scheduled> events_;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::vector<Instant> timers_;
    std::set<std::pair<std::size_t, std::size_t>> cut_;
    double loss_ = 0;

    std::size_t requests_sent_ = 0;
    std::map<Term, std::size_t> leaders_;
    std::map<std::pair<std::size_t, Term>, MemberId> votes_;
    std::vector<OpTime> committed_;
    std::vector<Event> history_;
    std::vector<std::string> violations_;
    std::map<std::size_t, Status> step_down_results_;
};

}  // namespace tessera::consensus
