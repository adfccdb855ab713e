// SPDX-License-Identifier: Apache-2.0
#include "launcher/startup.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>

#include "bson/builder.h"
#include "launcher/files.h"
#include "launcher/limits.h"

namespace tessera::launcher {
namespace {

constexpr int exit_interrupted = 130;
constexpr int watch_milliseconds = 20;

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

WallTime wall_now() {
    return {std::chrono::duration_cast<std::chrono::milliseconds>(
                std::chrono::system_clock::now().time_since_epoch())
                .count()};
}

// Code 23: initiated by an earlier attempt.
bool is_initiated_already(const Error& error) {
    return error.code() == ErrorCode::already_initialized;
}

}  // namespace

double Startup::seconds() const {
    return static_cast<double>(now_ns() - begun_ns_) / 1e9;
}

void Startup::reach(const std::string& fact) {
    const double when = seconds();
    const std::lock_guard lock(mutex_);
    facts_.insert(fact);
    phases_.emplace(fact, when);
    waiting_for_.erase(fact.substr(0, fact.find(' ')));
    changed_.notify_all();
}

bool Startup::await(const std::string& fact) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_.has_value() || facts_.contains(fact); });
    return !failure_;
}

bool Startup::pause(const std::string& who, std::string what) {
    std::unique_lock lock(mutex_);
    waiting_for_[who] = std::move(what);
    return !changed_.wait_for(lock, poll_pause, [&] { return failure_.has_value(); });
}

void Startup::fail(StartFailure failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
    changed_.notify_all();
}

void Startup::finish_thread() {
    const std::lock_guard lock(mutex_);
    --threads_left_;
    changed_.notify_all();
}

std::optional<StartFailure> Startup::spawn_all(const std::vector<const Node*>& nodes) {
    const std::string executable = own_executable();
    const std::string folder = executable.substr(0, executable.find_last_of('/') + 1);
    for (const Node* node : nodes) {
        if (const auto made = make_directories(topology_.folder_of(*node) +
                                               (node->role == Role::router ? "" : "/data"));
            !made)
            return StartFailure{1, nullptr, made.error().reason()};
        std::vector<std::string> words = topology_.command_line(*node);
        words[0] = folder + words[0];
        auto identity = spawn(executable, words, topology_.log_of(*node));
        if (!identity) return StartFailure{1, node, identity.error().reason()};
        started_.push_back(node);
        if (const auto saved = save_identity(topology_.folder_of(*node), *identity); !saved)
            return StartFailure{1, node, saved.error().reason()};
        auto handle = ProcessHandle::open(*identity);
        if (!handle) return StartFailure{1, node, "it ended at once"};
        children_.push_back({node, std::move(*identity), std::move(*handle)});
    }
    return std::nullopt;
}

void Startup::check_children() {
    for (const Child& child : children_) {
        int status = 0;
        if (::waitpid(child.identity.pid, &status, WNOHANG) != child.identity.pid) continue;
        if (WIFEXITED(status))
            fail({WEXITSTATUS(status) == 0 ? 1 : WEXITSTATUS(status),
                  child.node,
                  fmt::format("{} ended with code {}", child.node->name, WEXITSTATUS(status))});
        else
            fail({1,
                  child.node,
                  fmt::format("{} was ended by signal {}", child.node->name, WTERMSIG(status))});
    }
}

// The main thread, until all threads are done or the start has failed.
std::optional<StartFailure> Startup::watch(Duration wait) {
    const std::int64_t deadline = begun_ns_ + wait.count();
    bool has_told_children = false;
    while (true) {
        std::vector<pollfd> watched = {{signals_.descriptor(), POLLIN, 0}};
        for (const Child& child : children_)
            watched.push_back({child.handle.descriptor(), POLLIN, 0});
        ::poll(watched.data(), watched.size(), watch_milliseconds);
        if (signals_.take() != 0) fail({exit_interrupted, nullptr, "interrupted"});
        check_children();
        std::unique_lock lock(mutex_);
        if (!failure_ && threads_left_ > 0 && now_ns() > deadline) {
            std::string missing;
            for (const auto& [who, what] : waiting_for_)
                missing += fmt::format("\n  {}: {}", who, what);
            failure_ = StartFailure{1,
                                    nullptr,
                                    fmt::format("not ready after {:.0f} s; waiting for{}",
                                                static_cast<double>(wait.count()) / 1e9,
                                                missing)};
            changed_.notify_all();
        }
        if (threads_left_ == 0) return failure_;
        if (!failure_ || has_told_children) continue;
        // Threads that wait for an answer get an end instead.
        has_told_children = true;
        for (Child& child : children_)
            [[maybe_unused]] const auto told = child.handle.signal(SIGTERM);
    }
}

bool Startup::await_member(const Node& node, Client& client, Hello& hello) {
    while (true) {
        if (!client) {
            auto connected = net::BlockingClient::connect(node.address(), command_wait_max);
            if (connected) client.emplace(std::move(*connected));
        }
        std::string trouble = "nothing listens at " + node.address().to_string();
        if (client) {
            auto answer = ask_hello(*client, command_wait_max);
            if (answer) {
                hello = std::move(*answer);
                return pause(node.name, "its set");
            }
            trouble = answer.error().to_string();
            client.reset();
        }
        if (!pause(node.name, trouble)) return false;
    }
}

bool Startup::initiate(const std::string& set, Client& client) {
    const bson::Document command = initiate_command(topology_, set);
    while (true) {
        const auto reply = client->run_ok("admin", command, command_wait_max);
        if (reply) {
            const std::lock_guard lock(mutex_);
            has_initiated_config_ = has_initiated_config_ || set == "config";
            return true;
        }
        if (is_initiated_already(reply.error())) return true;
        if (!pause(set, "replSetInitiate: " + reply.error().to_string())) return false;
    }
}

bool Startup::await_primary(const std::string& set,
                            const std::vector<const Node*>& members,
                            std::vector<Client>& clients) {
    while (true) {
        for (std::size_t i = 0; i < members.size(); ++i) {
            Hello hello;
            if (!clients[i] && !await_member(*members[i], clients[i], hello)) return false;
            auto answer = ask_hello(*clients[i], command_wait_max);
            if (!answer) {
                clients[i].reset();
                continue;
            }
            if (answer->is_established) {
                progress_.say(
                    fmt::format("{}: primary is {} ({:.2f} s)", set, members[i]->name, seconds()));
                return true;
            }
        }
        if (!pause(set, "a primary")) return false;
    }
}

// One that is far behind may take its time: the cluster is ready without it.
void Startup::await_members(const std::vector<const Node*>& members,
                            std::vector<Client>& clients) {
    const std::int64_t deadline = now_ns() + Duration(members_wait_max).count();
    for (std::size_t i = 0; i < members.size(); ++i) {
        while (clients[i] && now_ns() < deadline) {
            const auto answer = ask_hello(*clients[i], command_wait_max);
            if (!answer || answer->is_primary || answer->is_secondary || answer->is_arbiter) break;
            if (!pause(members[i]->name, "its place in " + members[i]->set)) return;
        }
    }
}

void Startup::bring_up_set(const std::string& set) {
    const std::vector<const Node*> members = topology_.of_set(set);
    std::vector<Client> clients(members.size());
    bool is_initiated = false;
    for (std::size_t i = 0; i < members.size(); ++i) {
        Hello hello;
        if (!await_member(*members[i], clients[i], hello)) return finish_thread();
        is_initiated = is_initiated || !hello.set_name.empty();
        reach(members[i]->name);
    }
    if ((is_initiated || initiate(set, clients[0])) && await_primary(set, members, clients)) {
        reach(set);
        if (members[0]->role == Role::shard && register_shard(set)) reach(set + " registered");
        await_members(members, clients);
    }
    finish_thread();
}

bool Startup::is_registered(const std::string& set, Client& client) {
    const auto reply = client->run_ok("admin", bson::make("listShards", 1), command_wait_max);
    if (!reply) return false;
    const auto ids = shards_of(*reply);
    return std::find(ids.begin(), ids.end(), set) != ids.end();
}

bool Startup::register_shard(const std::string& set) {
    const Node& router = *topology_.of_role(Role::router)[0];
    if (!await("config") || !await(router.name + " answers")) return false;
    Client client;
    while (true) {
        std::string trouble = "a connection to " + router.name;
        if (!client) {
            auto connected = net::BlockingClient::connect(router.address(), command_wait_max);
            if (connected) client.emplace(std::move(*connected));
        }
        if (client) {
            if (is_registered(set, client)) return true;
            const auto reply =
                client->run_ok("admin", add_shard_command(topology_, set), command_wait_max);
            if (reply) return true;
            trouble = "addShard: " + reply.error().to_string();
            client.reset();
        }
        if (!pause(set, trouble)) return false;
    }
}

void Startup::bring_up_router(const Node& router) {
    Client client;
    Hello hello;
    if (!await_member(router, client, hello)) return finish_thread();
    reach(router.name + " answers");
    for (const std::string& set : topology_.sets())
        if (!await(set == "config" ? set : set + " registered")) return finish_thread();
    bool is_new = false;
    {
        const std::lock_guard lock(mutex_);
        is_new = has_initiated_config_ && &router == topology_.of_role(Role::router)[0];
    }
    while (true) {
        std::string trouble = "a connection";
        if (client) {
            Status written = ok();
            for (const bson::Document& command : {is_new ? chunk_size_write() : bson::Document(),
                                                  ready_write(router, wall_now())}) {
                if (command.is_empty() || !written) continue;
                const auto reply = client->run_ok("config", command, command_wait_max);
                written = reply ? check_write(*reply) : Status(reply.error());
            }
            if (written) {
                reach(router.name);
                return finish_thread();
            }
            trouble = "a majority write: " + written.error().to_string();
            client.reset();
        } else {
            auto connected = net::BlockingClient::connect(router.address(), command_wait_max);
            if (connected) client.emplace(std::move(*connected));
        }
        if (!pause(router.name, trouble)) return finish_thread();
    }
}

void Startup::await_place(const Node& node) {
    Client client;
    Hello hello;
    while (await_member(node, client, hello)) {
        const bool has_place =
            node.role == Role::router || hello.is_secondary || hello.is_primary || hello.is_arbiter;
        if (has_place) {
            reach(node.name);
            break;
        }
        if (!pause(node.name, "its place in " + node.set)) break;
    }
    finish_thread();
}

std::optional<StartFailure> Startup::run(const std::vector<const Node*>& nodes, Duration wait) {
    begun_ns_ = now_ns();
    if (auto failure = spawn_all(nodes)) return failure;
    std::vector<std::thread> threads;
    const auto routers = topology_.of_role(Role::router);
    const auto sets = topology_.sets();
    threads_left_ = routers.size() + sets.size();
    for (const std::string& set : sets)
        threads.emplace_back([this, set] { bring_up_set(set); });
    for (const Node* router : routers)
        threads.emplace_back([this, router] { bring_up_router(*router); });
    auto failure = watch(wait);
    for (std::thread& thread : threads)
        thread.join();
    return failure;
}

std::optional<StartFailure> Startup::run_nodes(const std::vector<const Node*>& nodes,
                                               Duration wait) {
    begun_ns_ = now_ns();
    if (auto failure = spawn_all(nodes)) return failure;
    std::vector<std::thread> threads;
    threads_left_ = nodes.size();
    for (const Node* node : nodes)
        threads.emplace_back([this, node] { await_place(*node); });
    auto failure = watch(wait);
    for (std::thread& thread : threads)
        thread.join();
    return failure;
}

}  // namespace tessera::launcher
