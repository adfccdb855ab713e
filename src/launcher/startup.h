// SPDX-License-Identifier: Apache-2.0
//
// From processes that do not run to a cluster that takes majority writes. All processes start at
// once; a thread for each replica set initiates it and registers it as a shard as soon as it has a
// primary; a thread for each router ends with a majority write. The calling thread watches the
// processes, the deadline and Ctrl-C.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/conversation.h"
#include "launcher/processes.h"
#include "launcher/progress.h"
#include "launcher/signals.h"
#include "launcher/topology.h"

namespace tessera::launcher {

struct StartFailure {
    int exit_code = 1;
    const Node* node = nullptr;  // Whose log to show; may be none.
    std::string reason;
};

class Startup {
public:
    Startup(const Topology& topology, Progress& progress, Signals& signals)
        : topology_(topology), progress_(progress), signals_(signals) {}

    /// Starts `nodes` and waits until the whole cluster is ready. On failure what was started still
    /// runs: see started().
    std::optional<StartFailure> run(const std::vector<const Node*>& nodes, Duration wait);
    /// Starts `nodes` and waits until each of them answers and has its place in its set.
    std::optional<StartFailure> run_nodes(const std::vector<const Node*>& nodes, Duration wait);

    const std::vector<const Node*>& started() const { return started_; }
    /// From the first process's start to readiness.
    double seconds() const;
    /// "config 0.61 s, shard-1 0.70 s, ...": when each part was ready.
    const std::map<std::string, double>& phases() const { return phases_; }

private:
    struct Child {
        const Node* node;
        ProcessIdentity identity;
        ProcessHandle handle;
    };
    using Client = std::optional<net::BlockingClient>;

    std::optional<StartFailure> spawn_all(const std::vector<const Node*>& nodes);
    std::optional<StartFailure> watch(Duration wait);
    void check_children();
    // The threads' work; each returns when it is done or the start has failed.
    void bring_up_set(const std::string& set);
    void bring_up_router(const Node& router);
    void await_place(const Node& node);
    bool await_member(const Node& node, Client& client, Hello& hello);
    bool initiate(const std::string& set, Client& client);
    bool await_primary(const std::string& set,
                       const std::vector<const Node*>& members,
                       std::vector<Client>& clients);
    void await_members(const std::vector<const Node*>& members, std::vector<Client>& clients);
    bool register_shard(const std::string& set);
    bool is_registered(const std::string& set, Client& client);

    // What threads tell one another.
    void reach(const std::string& fact);
    bool await(const std::string& fact);
    /// False once the start has failed.
    bool pause(const std::string& who, std::string what);
    void fail(StartFailure failure);
    void finish_thread();

    const Topology& topology_;
    Progress& progress_;
    Signals& signals_;
    std::vector<const Node*> started_;
    std::vector<Child> children_;
    std::int64_t begun_ns_ = 0;

    mutable std::mutex mutex_;  // Guards what follows.
    std::condition_variable changed_;
    std::set<std::string> facts_;
    std::map<std::string, std::string> waiting_for_;
    std::map<std::string, double> phases_;
    std::optional<StartFailure> failure_;
    std::size_t threads_left_ = 0;
    bool has_initiated_config_ = false;
};

}  // namespace tessera::launcher
