// SPDX-License-Identifier: Apache-2.0
#include "server/machinery.h"

#include <csignal>
#include <cstdio>
#include <random>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "bson/ids.h"

namespace tessera::server {
namespace {

net::ServerOptions network_options(const Settings& settings) {
    net::ServerOptions options;
    options.bind_addresses = settings.bind_addresses;
    options.port = settings.effective_port();
    options.ipv6 = settings.ipv6;
    if (settings.has_unix_socket) options.unix_socket_directory = settings.unix_socket_directory;
    options.has_local_sockets = settings.has_local_sockets;
    // A loop that serves many connections sleeps seldom; the other cores are for workers, the
    // journal and whatever else the machine runs.
    const std::size_t half = std::thread::hardware_concurrency() / 2;
    options.network_threads = settings.network_threads > 0 ? settings.network_threads
                                                           : std::clamp<std::size_t>(half, 1, 8);
    options.connections_max = settings.connections_max;
    return options;
}

async::ThreadPool::Options worker_options() {
    async::ThreadPool::Options options;
    options.name = "worker";
    options.threads = std::max(4U, 2 * std::thread::hardware_concurrency());
    return options;
}

std::uint64_t seed() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
}

std::vector<net::Loop*> all_loops(net::Server& server) {
    std::vector<net::Loop*> loops = {&server.control()};
    for (net::Loop* const loop : server.network_loops())
        loops.push_back(loop);
    return loops;
}

std::string host_name() {
    char name[256] = {};
    gethostname(name, sizeof(name) - 1);
    return name[0] != '\0' ? name : "localhost";
}

// Whether another program reads our log through a pipe. Node's child_process makes it a socket.
bool is_log_piped(const Settings& settings) {
    struct stat output {};
    return settings.log_path.empty() && ::fstat(STDOUT_FILENO, &output) == 0 &&
           (S_ISFIFO(output.st_mode) || S_ISSOCK(output.st_mode));
}

// When "Waiting for connections" is said again: after the first, then twice as late each time.
constexpr Duration announce_again_first = 250ms;
constexpr int announce_again_max = 6;

}  // namespace

int report_failure(int code, const Error& error) {
    log::error(log::Component::control,
               20574,
               "Error during startup, exiting",
               {{"error", error}, {"exitCode", code}});
    std::fprintf(stderr, "tessera: %s\n", error.reason().c_str());
    return code;
}

Machinery::Machinery(const Settings& settings)
    : settings_(settings),
      random_(seed()),
      server_(network_options(settings), handler_),
      workers_(worker_options()) {
    net::TransportOptions outward;
    outward.uses_local_sockets = settings.has_local_sockets;
    transport_ = std::make_unique<net::ClientTransport>(all_loops(server_), std::move(outward));
    signals_ = std::make_unique<net::Signals>(
        server_.control(), std::vector<int>{SIGTERM, SIGINT, SIGHUP, SIGUSR1}, [this](int number) {
            if (number == SIGUSR1) {
                if (settings_.on_log_rotation) settings_.on_log_rotation();
                return;
            }
            log::info(log::Component::control, 23377, "Received signal", {{"signal", number}});
            request_stop(exit_code::clean);
        });
}

Machinery::~Machinery() = default;

std::optional<Machinery::Failure> Machinery::listen() {
    auto status = server_.listen();
    if (status) return std::nullopt;
    const bool is_taken = status.error().code() == net::address_in_use;
    if (is_taken)
        log::error(log::Component::network,
                   22856,
                   "Failed to set up listener",
                   {{"error", status.error()}, {"port", settings_.effective_port()}});
    return Failure{is_taken ? exit_code::net_error : exit_code::bad_options,
                   std::move(status).error()};
}

commands::ProcessInfo Machinery::describe() const {
    commands::ProcessInfo info;
    info.host = {host_name(), server_.port()};
    info.git_version = "tessera";
    info.argv = settings_.argv;
    info.parsed_options = settings_.parsed;
    info.db_path = settings_.program == Program::mongod ? settings_.db_path : std::string();
    info.log_path = settings_.log_path;
    info.pid = getpid();
    info.started = clock_.now();
    info.started_wall = clock_.wall_now();
    Random random(seed());
    bson::ObjectIdSource ids(random);
    info.process_id = ids.next(info.started_wall);
    info.is_config_server = settings_.cluster_role == ClusterRole::config;
    info.is_shard_server = settings_.cluster_role == ClusterRole::shard;
    info.bind_addresses = settings_.bind_addresses;
    return info;
}

void Machinery::accept() {
    server_.accept();
    if (settings_.on_accepting) settings_.on_accepting();
}

commands::ConnectionCounts Machinery::connection_counts() const {
    const net::ServerStatistics statistics = server_.statistics();
    commands::ConnectionCounts counts;
    counts.current = statistics.current;
    counts.available = statistics.available;
    counts.total_created = statistics.total_created;
    counts.active = statistics.active;
    counts.bytes_in = statistics.bytes_in;
    counts.bytes_out = statistics.bytes_out;
    for (const auto& each : statistics.compression)
        counts.compression.push_back({wire::compressor_name(each.compressor),
                                      each.compressed_in,
                                      each.compressed_out,
                                      each.decompressed_in,
                                      each.decompressed_out});
    return counts;
}

void Machinery::request_stop(int exit_code) {
    const std::lock_guard lock(mutex_);
    if (!exit_code_) exit_code_ = exit_code;
    stopping_.notify_all();
}

// A program that starts us with port 0 knows the port from "Waiting for connections" alone, and may
// miss it: mongodb-runner --logDir opens a file between the start and its reading of lines, and
// drops what has come by then. A mongod is slower than that; we say the line again instead, until
// the first client shows that somebody has heard it.
int Machinery::wait_for_stop() {
    Duration pause = announce_again_first;
    for (int i = 0; i < announce_again_max && is_log_piped(settings_); ++i, pause *= 2) {
        if (is_ending_within(pause) || server_.statistics().total_created > 0) break;
        server_.announce();
    }
    std::unique_lock lock(mutex_);
    stopping_.wait(lock, [&] { return exit_code_.has_value(); });
    return *exit_code_;
}

bool Machinery::is_ending_within(Duration time) {
    std::unique_lock lock(mutex_);
    return stopping_.wait_for(lock, time, [&] { return exit_code_.has_value(); });
}

bool Machinery::shut_down(Duration grace) {
    signals_.reset();
    const auto status = server_.shut_down(grace);
    transport_->shut_down();
    workers_.shut_down();
    clock_.stop();
    return status.has_value();
}

}  // namespace tessera::server
