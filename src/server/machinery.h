// SPDX-License-Identifier: Apache-2.0
//
// What mongod and mongos processes have alike: clock, threads, sockets, signals, log, pid file.
// Made in order by the constructor and listen(), taken down in reverse.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "async/system_clock.h"
#include "async/thread_pool.h"
#include "commands/node.h"
#include "net/client_transport.h"
#include "net/server.h"
#include "net/signals.h"
#include "server/request_handler.h"
#include "server/settings.h"

namespace tessera::server {

class Machinery {
public:
    explicit Machinery(const Settings& settings);
    ~Machinery();

    /// Takes the addresses; nobody is accepted yet. On failure the process should exit with `code`.
    struct Failure {
        int code;
        Error error;
    };
    std::optional<Failure> listen();
    /// The facts of this process; port and addresses are known after listen().
    commands::ProcessInfo describe() const;
    void accept();

    async::Clock& clock() { return clock_; }
    async::Transport& transport() { return *transport_; }
    async::Executor& control() { return server_.control(); }
    async::Executor& workers() { return workers_; }
    Random& random() { return random_; }
    RequestHandler& handler() { return handler_; }
    commands::ConnectionCounts connection_counts() const;

    /// Ask for the end; any thread. The first code counts.
    void request_stop(int exit_code);
    /// Blocks until somebody asked for the end; returns the code. Meanwhile tells late readers of
    /// our standard output the port again, as long as nobody has connected.
    int wait_for_stop();
    /// Closes connections after `grace`, then stops the threads. Returns whether everything ended,
    /// so that objects may be destroyed.
    bool shut_down(Duration grace);

private:
    bool is_ending_within(Duration time);

    const Settings& settings_;
    async::SystemClock clock_;
    Random random_;
    RequestHandler handler_;
    net::Server server_;
    async::ThreadPool workers_;
    std::unique_ptr<net::ClientTransport> transport_;
    std::unique_ptr<net::Signals> signals_;

    std::mutex mutex_;  // Guards what follows.
    std::condition_variable stopping_;
    std::optional<int> exit_code_;
};

/// Says what ended the process at its start: a log line, and one line on standard error.
int report_failure(int code, const Error& error);

}  // namespace tessera::server
