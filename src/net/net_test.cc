// SPDX-License-Identifier: Apache-2.0
//
// Server, BlockingClient and ClientTransport against each other over loopback.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <thread>

#include "async/block_on.h"
#include "async/system_clock.h"
#include "async/thread_pool.h"
#include "base/log.h"
#include "bson/builder.h"
#include "net/blocking_client.h"
#include "net/client_transport.h"
#include "net/local_socket.h"
#include "net/server.h"
#include "net/signals.h"
#include "wire/command_line.h"

namespace tessera::net {
namespace {

using async::Cancellation;
using async::Task;
using bson::Document;
using bson::make;

constexpr Duration patience = 20s;
/// Too long for a name, so that no resolver has to be asked.
const std::string impossible_host(300, 'x');

/// Waits for a condition; a test never sleeps for luck.
template <class Condition>
bool eventually(const Condition& condition) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        ::poll(nullptr, 0, 1);  // A millisecond, for the one that is to bring it about.
    }
    return true;
}

/// Speaks a handful of commands, each for one thing the server must do.
class TestHandler : public Handler {
public:
    explicit TestHandler(async::Clock& clock) : clock_(clock), pool_(two_threads()) {}

    void on_open(Connection&) override { ++opened; }
    void on_close(Connection&) override { ++closed; }

    Task<void> handle(Connection& connection,
                      wire::Request& request,
                      wire::ReplyWriter& reply) override {
        const auto line = wire::parse_command_line(request);
        if (!line) {
            answer_error(reply, line.error());
            co_return;
        }
        ++served;
        if (is_frozen) co_await wait(connection);
        if (line->name == "pool") {
            co_await async::resume_on(pool_);
        } else if (line->name == "stream") {
            co_await stream(connection, request, reply);
            co_return;
        } else if (line->name == "wait") {
            co_await wait(connection);
        } else if (line->name == "control") {
            connection.move_to_control();
        } else if (line->name == "drop") {
            connection.close_now();
            co_return;
        } else if (line->name == "bye") {
            connection.close_after_reply();
        }
        bson::Builder body(reply.start());
        body.append("ok", 1.0);
        body.append("connectionId", connection.id());
        body.append("executor", reinterpret_cast<std::int64_t>(&connection.executor()));
        if (line->name == "echo") body.append("body", request.body);
        if (line->name == "big")
            body.append("data", std::string(static_cast<std::size_t>(
                                                request.body["big"].to_int64()),
                                            'x'));
    }

    async::Notification released;
    std::atomic<int> opened = 0;
    std::atomic<int> closed = 0;
    std::atomic<int> served = 0;
    std::atomic<int> waiting = 0;
    std::atomic<int> cancelled = 0;
    std::atomic<bool> is_frozen = false;  // Answers nobody, as a process under SIGSTOP.

private:
    static async::ThreadPool::Options two_threads() {
        async::ThreadPool::Options options;
        options.threads = 2;
        return options;
    }
    static void answer_error(wire::ReplyWriter& reply, const Error& error) {
        bson::Builder body(reply.start());
        body.append("ok", 0.0);
        body.append("errmsg", error.reason());
        body.append("code", static_cast<std::int32_t>(error.code()));
    }

    Task<void> stream(Connection& connection, wire::Request& request, wire::ReplyWriter& reply) {
        for (int n = 0;; ++n) {
            reply.set_body(make("n", n, "ok", 1.0));
            if (!request.allows_exhaust() || n == 5) co_return;
            co_await async::resume_on(pool_);
            const Status sent = co_await connection.send(reply);
            if (!sent) co_return;
        }
    }

    Task<void> wait(Connection& connection) {
        const auto ticket = released.ticket();
        ++waiting;
        const auto outcome = co_await released.wait(clock_, async::no_deadline, ticket,
                                                    connection.cancellation());
        if (outcome == async::Notification::Outcome::cancelled) ++cancelled;
        --waiting;
    }

    async::Clock& clock_;
    async::ThreadPool pool_;
};

class Net : public ::testing::Test {
public:
    ~Net() override {
        server_.reset();
        log::set_sink([](std::string_view) {});
    }

protected:
    Net() : handler_(clock_) {
        log::set_sink([this](std::string_view line) {
            const std::lock_guard lock(lines_mutex_);
            lines_.emplace_back(line);
        });
    }
    void start(ServerOptions options = {}) {
        options.port = 0;
        server_ = std::make_unique<Server>(std::move(options), handler_);
        const Status listening = server_->listen();
        ASSERT_TRUE(listening.has_value()) << listening.error().to_string();
        ASSERT_NE(server_->port(), 0);
        server_->accept();
    }
    HostAndPort address() const { return HostAndPort{"127.0.0.1", server_->port()}; }
    BlockingClient client() {
        auto result = BlockingClient::connect(address(), patience);
        EXPECT_TRUE(result.has_value());
        return std::move(*result);
    }
    bool has_logged(std::string_view text) {
        const std::lock_guard lock(lines_mutex_);
        for (const std::string& line : lines_) {
            if (line.find(text) != std::string::npos) return true;
        }
        return false;
    }

    std::mutex lines_mutex_;
    std::vector<std::string> lines_;
    async::SystemClock clock_;
    TestHandler handler_;
    std::unique_ptr<Server> server_;
};

Document run(BlockingClient& client, const Document& command) {
    auto reply = client.run("admin", command, patience);
    EXPECT_TRUE(reply.has_value()) << reply.error().to_string();
    return reply ? std::move(*reply) : Document();
}

// ---- Server ----

TEST_F(Net, ServesRequestsInlineAndFromAPool) {
    start();
    BlockingClient one = client();
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(run(one, make("ping", 1))["ok"].as_double(), 1.0);
        EXPECT_EQ(run(one, make("pool", 1))["ok"].as_double(), 1.0);
    }
    const auto statistics = server_->statistics();
    EXPECT_EQ(statistics.current, 1);
    EXPECT_EQ(statistics.total_created, 1);
    EXPECT_EQ(statistics.requests, 200);
    EXPECT_GT(statistics.bytes_in, 0);
    EXPECT_GT(statistics.bytes_out, 0);
    EXPECT_TRUE(has_logged("\"id\":23016"));
    EXPECT_TRUE(has_logged("\"id\":23015"));
    EXPECT_TRUE(has_logged("\"id\":22943"));
}

TEST_F(Net, SpreadsConnectionsOverItsLoops) {
    start();
    BlockingClient one = client();
    BlockingClient other = client();
    EXPECT_NE(run(one, make("ping", 1))["executor"].as_int64(),
              run(other, make("ping", 1))["executor"].as_int64());
}

TEST_F(Net, CarriesLargeMessagesBothWays) {
    start();
    BlockingClient one = client();
    std::string text;
    text.resize(15'000'000, 'y');
    const Document reply = run(one, make("echo", 1, "text", text));
    EXPECT_EQ(reply["body"].as_view()["text"].as_string(), text);
    EXPECT_EQ(run(one, make("big", 10'000'000))["data"].as_string().size(), 10'000'000U);
    EXPECT_EQ(run(one, make("ping", 1))["ok"].as_double(), 1.0);
}

TEST_F(Net, AnswersPipelinedRequestsInOrder) {
    start();
    BlockingClient one = client();
    std::string bytes;
    const Document slow = make("pool", 1, "$db", "admin");
    const Document fast = make("ping", 1, "$db", "admin");
    for (std::int32_t id = 1; id <= 500; ++id) {
        wire::CommandMessage command;
        command.id = id;
        command.body = (id % 3 == 0 ? slow : fast).bytes();
        wire::append_command(command, bytes);
    }
    ASSERT_TRUE(one.send_bytes(bytes, patience).has_value());
    for (std::int32_t id = 1; id <= 500; ++id) {
        const auto reply = one.receive(patience);
        ASSERT_TRUE(reply.has_value());
        EXPECT_EQ(reply->response_to, id);
    }
}

TEST_F(Net, ReadsMessagesThatComeByteByByte) {
    start();
    BlockingClient one = client();
    const Document body = make("ping", 1, "$db", "admin");
    wire::CommandMessage command;
    command.id = 9;
    command.body = body.bytes();
    std::string bytes;
    wire::append_command(command, bytes);
    for (const char& byte : bytes)
        ASSERT_TRUE(one.send_bytes(std::string_view(&byte, 1), patience).has_value());
    EXPECT_EQ(one.receive(patience).value().response_to, 9);
}

TEST_F(Net, GivesNoAnswerToMoreToCome) {
    start();
    BlockingClient one = client();
    const Document body = make("ping", 1, "$db", "admin");
    ASSERT_TRUE(one.send_command(body, wire::flags::more_to_come, patience).has_value());
    const auto id = one.send_command(body, 0, patience);
    EXPECT_EQ(one.receive(patience).value().response_to, *id);
    EXPECT_EQ(handler_.served, 2);
}

TEST_F(Net, StreamsAnswersOnlyWhenAllowed) {
    start();
    BlockingClient one = client();
    const Document body = make("stream", 1, "$db", "admin");
    auto id = one.send_command(body, 0, patience);
    EXPECT_FALSE(one.receive(patience).value().more_to_come());
    id = one.send_command(body, wire::flags::exhaust_allowed, patience);
    std::int32_t previous = *id;
    for (int n = 0; n <= 5; ++n) {
        const auto reply = one.receive(patience);
        ASSERT_TRUE(reply.has_value());
        EXPECT_EQ(reply->response_to, previous);
        EXPECT_EQ(reply->body["n"].as_int32(), n);
        EXPECT_EQ(reply->more_to_come(), n < 5);
        previous = reply->id;
    }
    EXPECT_EQ(run(one, make("ping", 1))["ok"].as_double(), 1.0);
}

TEST_F(Net, AnswersInTheRequestsCompression) {
    start();
    BlockingClient one = client();
    const Document body = make("big", 100'000, "$db", "admin");
    wire::CommandMessage command;
    command.id = 3;
    command.body = body.bytes();
    command.compressor = wire::Compressor::zstd;
    std::string bytes;
    wire::append_command(command, bytes);
    ASSERT_TRUE(one.send_bytes(bytes, patience).has_value());
    EXPECT_EQ(one.receive(patience).value().body["data"].as_string().size(), 100'000U);
    EXPECT_LT(server_->statistics().bytes_out, 10'000);
}

TEST_F(Net, MalformedBytesCloseThatConnectionAlone) {
    start();
    BlockingClient good = client();
    std::string bad_checksum(16 + 4 + 10, '\0');
    wire::store(bad_checksum.data(), std::int32_t{30});
    wire::store(bad_checksum.data() + 12, std::int32_t{2013});
    bad_checksum[16] = 1;
    for (const std::string& bytes :
         {std::string("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), std::string(64, '\0'),
          std::string(64, '\xff'), bad_checksum}) {
        BlockingClient bad = client();
        ASSERT_TRUE(bad.send_bytes(bytes, patience).has_value());
        EXPECT_FALSE(bad.receive(patience).has_value());
        EXPECT_EQ(run(good, make("ping", 1))["ok"].as_double(), 1.0);
    }
    EXPECT_TRUE(eventually([&] { return server_->statistics().current == 1; }));
    EXPECT_TRUE(has_logged("\"id\":9020002"));
}

TEST_F(Net, AnswersErrorsOfWholeRequests) {
    start();
    BlockingClient one = client();
    ASSERT_TRUE(one.send_command(make("ping", 1), 0, patience).has_value());  // Without $db.
    EXPECT_EQ(one.receive(patience).value().body["code"].as_int32(), 40571);
    EXPECT_EQ(run(one, make("ping", 1))["ok"].as_double(), 1.0);
}

TEST_F(Net, CancelsWhatRunsWhenTheClientGoes) {
    start();
    {
        BlockingClient one = client();
        ASSERT_TRUE(one.send_command(make("wait", 1, "$db", "admin"), 0, patience).has_value());
        ASSERT_TRUE(eventually([&] { return handler_.waiting == 1; }));
    }
    EXPECT_TRUE(eventually([&] { return handler_.cancelled == 1; }));
    EXPECT_TRUE(eventually([&] { return handler_.closed == 1; }));
}

TEST_F(Net, KeepsWhatComesWhileARequestRuns) {
    start();
    BlockingClient one = client();
    ASSERT_TRUE(one.send_command(make("wait", 1, "$db", "admin"), 0, patience).has_value());
    ASSERT_TRUE(eventually([&] { return handler_.waiting == 1; }));
    const auto id = one.send_command(make("ping", 1, "$db", "admin"), 0, patience);
    handler_.released.notify();
    EXPECT_TRUE(one.receive(patience).has_value());
    EXPECT_EQ(one.receive(patience).value().response_to, *id);
    EXPECT_EQ(handler_.cancelled, 0);
}

TEST_F(Net, MovesAConnectionToTheControlLoop) {
    start();
    BlockingClient one = client();
    const auto control = reinterpret_cast<std::int64_t>(&server_->control());
    EXPECT_NE(run(one, make("control", 1))["executor"].as_int64(), control);
    for (int i = 0; i < 10; ++i)
        EXPECT_EQ(run(one, make("control", 1))["executor"].as_int64(), control);
    // It still notices the client's going.
    ASSERT_TRUE(one.send_command(make("wait", 1, "$db", "admin"), 0, patience).has_value());
    ASSERT_TRUE(eventually([&] { return handler_.waiting == 1; }));
    { const BlockingClient gone = std::move(one); }
    EXPECT_TRUE(eventually([&] { return handler_.cancelled == 1; }));
}

TEST_F(Net, ClosesWhenTheHandlerSaysSo) {
    start();
    BlockingClient one = client();
    EXPECT_EQ(run(one, make("bye", 1))["ok"].as_double(), 1.0);
    EXPECT_FALSE(one.receive(patience).has_value());
    BlockingClient other = client();
    EXPECT_FALSE(other.run("admin", make("drop", 1), patience).has_value());
    EXPECT_TRUE(eventually([&] { return handler_.closed == 2; }));
}

TEST_F(Net, RefusesConnectionsBeyondItsLimit) {
    ServerOptions options;
    options.connections_max = 2;
    start(options);
    BlockingClient one = client();
    run(one, make("ping", 1));
    {
        BlockingClient two = client();
        run(two, make("ping", 1));
        BlockingClient three = client();
        EXPECT_FALSE(three.receive(patience).has_value());
        EXPECT_EQ(server_->statistics().rejected, 1);
        EXPECT_TRUE(eventually([&] { return has_logged("too many open connections"); }));
    }
    EXPECT_TRUE(eventually([&] { return server_->statistics().current == 1; }));
    BlockingClient again = client();
    EXPECT_EQ(run(again, make("ping", 1))["ok"].as_double(), 1.0);
}

TEST_F(Net, NamesATakenPort) {
    start();
    ServerOptions options;
    options.port = server_->port();
    Server other(options, handler_);
    const Status listening = other.listen();
    ASSERT_FALSE(listening.has_value());
    EXPECT_EQ(listening.error().code(), address_in_use);
    EXPECT_NE(listening.error().reason().find(std::to_string(options.port)), std::string::npos);
    ServerOptions unknown;
    unknown.bind_addresses = {impossible_host};
    Server third(unknown, handler_);
    EXPECT_EQ(third.listen().error().code(), ErrorCode::host_not_found);
}

TEST_F(Net, ListensOnIpv6AndAUnixSocket) {
    const auto directory = std::filesystem::temp_directory_path() /
                           ("tessera-net-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory);
    ServerOptions options;
    options.ipv6 = true;
    options.bind_addresses = {"127.0.0.1", "::1"};
    options.unix_socket_directory = directory.string();
    start(options);
    auto v6 = BlockingClient::connect(HostAndPort{"::1", server_->port()}, patience);
    ASSERT_TRUE(v6.has_value()) << v6.error().to_string();
    EXPECT_EQ(run(*v6, make("ping", 1))["ok"].as_double(), 1.0);
    const std::string path =
        (directory / ("mongodb-" + std::to_string(server_->port()) + ".sock")).string();
    auto local = BlockingClient::connect_unix(path, patience);
    ASSERT_TRUE(local.has_value()) << local.error().to_string();
    EXPECT_EQ(run(*local, make("control", 1))["ok"].as_double(), 1.0);
    EXPECT_EQ(run(*local, make("ping", 1))["ok"].as_double(), 1.0);
    server_.reset();
    EXPECT_FALSE(std::filesystem::exists(path));
    std::filesystem::remove_all(directory);
}

TEST_F(Net, ShutsDownWithGraceAndThenCancels) {
    start();
    BlockingClient idle = client();
    run(idle, make("ping", 1));
    BlockingClient busy = client();
    ASSERT_TRUE(busy.send_command(make("wait", 1, "$db", "admin"), 0, patience).has_value());
    ASSERT_TRUE(eventually([&] { return handler_.waiting == 1; }));
    std::atomic<bool> has_ended = false;
    std::thread shutting([&] {
        EXPECT_TRUE(server_->shut_down(patience).has_value());
        has_ended = true;
    });
    EXPECT_FALSE(idle.receive(patience).has_value());  // Closed at once.
    EXPECT_FALSE(has_ended);
    handler_.released.notify();
    EXPECT_TRUE(busy.receive(patience).has_value());  // Has its answer.
    shutting.join();
    EXPECT_EQ(handler_.cancelled, 0);
    EXPECT_EQ(handler_.opened, handler_.closed);
    EXPECT_FALSE(BlockingClient::connect(address(), patience).has_value());
}

TEST_F(Net, ShutdownWithoutGraceCancelsWhatRuns) {
    start();
    BlockingClient busy = client();
    ASSERT_TRUE(busy.send_command(make("wait", 1, "$db", "admin"), 0, patience).has_value());
    ASSERT_TRUE(eventually([&] { return handler_.waiting == 1; }));
    EXPECT_TRUE(server_->shut_down(Duration::zero()).has_value());
    EXPECT_EQ(handler_.cancelled, 1);
    EXPECT_FALSE(busy.receive(patience).has_value());
}

TEST_F(Net, SurvivesClientsThatComeAndGoInTheMiddle) {
    start();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 50; ++i) {
                BlockingClient one = client();
                const char* name = i % 3 == 0 ? "wait" : i % 3 == 1 ? "pool" : "control";
                (void)one.send_command(make(name, 1, "$db", "admin"), 0, patience);
                if (i % 2 == t % 2) (void)one.send_bytes("abc", patience);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(eventually([&] { return server_->statistics().current == 0; }));
    EXPECT_EQ(handler_.opened, handler_.closed);
    BlockingClient one = client();
    EXPECT_EQ(run(one, make("ping", 1))["ok"].as_double(), 1.0);
}

// ---- ClientTransport ----

class Transport : public Net {
public:
    ~Transport() override { transport_.reset(); }

protected:
    void start_transport(ServerOptions server = {}, TransportOptions options = {}) {
        start(std::move(server));
        transport_ = std::make_unique<ClientTransport>(server_->network_loops(),
                                                       std::move(options));
    }
    /// Whether a call succeeds over a new connection, and which way that connection has come.
    bool calls_past_tcp() {
        EXPECT_TRUE(call(make("ping", 1, "$db", "admin")).has_value());
        return has_logged("\"remote\":\"process " + std::to_string(::getpid()));
    }

    async::RemoteCall request(const Document& command, Duration time = patience) {
        async::RemoteCall result;
        result.target = address();
        result.command_bson = std::string(command.bytes());
        result.deadline = clock_.now() + time;
        return result;
    }
    Result<std::string> call(const Document& command,
                             Duration time = patience,
                             Cancellation cancellation = Cancellation::none()) {
        return async::block_on(caller_,
                               transport_->call(request(command, time), std::move(cancellation)));
    }

    async::StrandThread caller_{"caller"};
    std::unique_ptr<ClientTransport> transport_;
};

TEST_F(Transport, CallsOverPooledConnections) {
    start_transport();
    for (int i = 0; i < 50; ++i) {
        const auto reply = call(make("ping", 1, "$db", "admin"));
        ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
        EXPECT_TRUE(bson::View(reply->data())["ok"].is_truthy());
    }
    EXPECT_EQ(transport_->connections(), 1U);
    transport_->drop_connections(address());
    EXPECT_TRUE(eventually([&] { return transport_->connections() == 0; }));
    EXPECT_TRUE(call(make("ping", 1, "$db", "admin")).has_value());
}

TEST_F(Transport, ReachesProcessesOfThisMachinePastTcp) {
    start_transport();
    EXPECT_TRUE(calls_past_tcp());
    EXPECT_TRUE(has_logged("@tessera/" + address().to_string()));
}

TEST_F(Transport, ReachesWhoListensToEveryAddressPastTcp) {
    ServerOptions options;
    options.bind_addresses = {"*"};
    start_transport(std::move(options));
    EXPECT_TRUE(calls_past_tcp());
}

TEST_F(Transport, UsesTcpWhereTheServerHasNoLocalSocket) {
    ServerOptions options;
    options.has_local_sockets = false;
    start_transport(std::move(options));
    EXPECT_FALSE(calls_past_tcp());
}

TEST_F(Transport, UsesTcpWhenToldSo) {
    TransportOptions options;
    options.uses_local_sockets = false;
    start_transport({}, std::move(options));
    EXPECT_FALSE(calls_past_tcp());
}

// Somebody else's process that has taken the name is neither spoken to nor in the way.
TEST_F(Transport, DoesNotTalkToAnotherUsersProcessOnALocalSocket) {
    if (::geteuid() != 0) return;  // Only root can become another user.
    ServerOptions options;
    options.has_local_sockets = false;
    start_transport(std::move(options));
    int taken[2] = {};
    ASSERT_EQ(::pipe(taken), 0);
    const LocalName name = local_name(address());
    const pid_t child = ::fork();
    if (child == 0) {
        const int listening = ::socket(AF_UNIX, SOCK_STREAM, 0);
        const bool is_taken = ::setuid(65534) == 0 &&
                              ::bind(listening, name.get(), name.length) == 0 &&
                              ::listen(listening, 8) == 0;
        const char answer = is_taken ? 'y' : 'n';
        if (::write(taken[1], &answer, 1) == 1) ::pause();
        ::_exit(0);
    }
    char answer = 0;
    EXPECT_EQ(::read(taken[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    EXPECT_FALSE(calls_past_tcp());
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(taken[0]);
    ::close(taken[1]);
}

Task<void> call_and_count(async::Transport& transport,
                          async::RemoteCall request,
                          async::Executor& home,
                          std::atomic<int>& good) {
    const auto reply = co_await transport.call(request, Cancellation::none());
    if (reply && async::Executor::current() == &home) ++good;
}

TEST_F(Transport, RunsManyCallsAtOnceAndComesBackToItsCaller) {
    start_transport();
    std::atomic<int> good = 0;
    async::TaskGroup group(caller_);
    const Document command = make("pool", 1, "$db", "admin");
    for (int i = 0; i < 500; ++i) {
        async::Executor& home = i % 2 == 0 ? static_cast<async::Executor&>(caller_)
                                           : *server_->network_loops().at(1);
        group.spawn_on(home, call_and_count(*transport_, request(command), home, good));
    }
    async::block_on(caller_, group.join());
    EXPECT_EQ(good, 500);
    EXPECT_LE(transport_->connections(), 400U);
}

TEST_F(Transport, FailsFastWhenRefused) {
    start_transport();
    const int reserved = ::socket(AF_INET, SOCK_STREAM, 0);
    auto refused = request(make("ping", 1, "$db", "admin"));
    refused.target = HostAndPort{"127.0.0.1", 1};
    const auto reply = async::block_on(caller_, transport_->call(refused, Cancellation::none()));
    ::close(reserved);
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), ErrorCode::host_unreachable);
    refused.target = HostAndPort{impossible_host, 1};
    EXPECT_EQ(async::block_on(caller_, transport_->call(refused, Cancellation::none()))
                  .error()
                  .code(),
              ErrorCode::host_not_found);
}

TEST_F(Transport, ObservesDeadlines) {
    start_transport();
    ASSERT_TRUE(call(make("ping", 1, "$db", "admin")).has_value());  // Connects.
    const auto reply = call(make("wait", 1, "$db", "admin"), 50ms);
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), ErrorCode::network_interface_exceeded_time_limit);
    EXPECT_TRUE(eventually([&] { return handler_.cancelled == 1; }));  // It hung up.
    EXPECT_TRUE(call(make("ping", 1, "$db", "admin")).has_value());
    // The lazy timer of an earlier, longer call does not hide a shorter one's deadline.
    EXPECT_EQ(call(make("wait", 1, "$db", "admin"), 50ms).error().code(),
              ErrorCode::network_interface_exceeded_time_limit);
}

TEST_F(Transport, WaitsForASlowCallAndNotForAFrozenProcess) {
    start_transport();
    std::thread releasing([&] {
        // Asked whether it lives while the call runs, it says so, and goes on.
        eventually([&] { return handler_.waiting == 1 && handler_.opened >= 2; });
        handler_.released.notify();
    });
    EXPECT_TRUE(call(make("wait", 1, "$db", "admin")).has_value());
    releasing.join();
    handler_.is_frozen = true;
    auto silent = request(make("ping", 1, "$db", "admin"));
    silent.deadline = async::no_deadline;
    const auto reply = async::block_on(caller_, transport_->call(silent, Cancellation::none()));
    handler_.is_frozen = false;
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), ErrorCode::host_unreachable);
    EXPECT_NE(reply.error().reason().find("does not answer any more"), std::string::npos);
    EXPECT_TRUE(call(make("ping", 1, "$db", "admin")).has_value());
}

TEST_F(Transport, CancellationHangsUp) {
    start_transport();
    Cancellation cancellation;
    std::thread canceller([&] {
        eventually([&] { return handler_.waiting == 1; });
        cancellation.cancel();
    });
    const auto reply = call(make("wait", 1, "$db", "admin"), patience, cancellation);
    canceller.join();
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), ErrorCode::callback_canceled);
    EXPECT_TRUE(eventually([&] { return handler_.cancelled == 1; }));
    EXPECT_EQ(call(make("ping", 1, "$db", "admin"), patience, cancellation).error().code(),
              ErrorCode::callback_canceled);
}

TEST_F(Transport, ReportsAnOtherSideThatHangsUp) {
    start_transport();
    const auto reply = call(make("drop", 1, "$db", "admin"));
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), ErrorCode::host_unreachable);
    EXPECT_TRUE(call(make("bye", 1, "$db", "admin")).has_value());
    EXPECT_TRUE(eventually([&] { return call(make("ping", 1, "$db", "admin")).has_value(); }));
}

Task<Result<std::string>> two_calls(async::Transport& transport, async::RemoteCall request) {
    CO_TRY(const auto stream,
           co_await transport.open(request.target, request.deadline, Cancellation::none()));
    CO_TRY(const std::string first,
           co_await stream->call(request.command_bson, request.deadline, Cancellation::none()));
    CO_TRY(const std::string second,
           co_await stream->call(request.command_bson, request.deadline, Cancellation::none()));
    if (bson::View(first.data())["connectionId"].as_int64() !=
        bson::View(second.data())["connectionId"].as_int64())
        co_return Error(ErrorCode::bad_value, "two connections");
    co_return first;
}

TEST_F(Transport, AStreamKeepsItsConnectionAndClosesIt) {
    start_transport();
    const auto first = async::block_on(
        caller_, two_calls(*transport_, request(make("ping", 1, "$db", "admin"))));
    ASSERT_TRUE(first.has_value()) << first.error().to_string();
    EXPECT_TRUE(eventually([&] { return transport_->connections() == 0; }));
    EXPECT_TRUE(eventually([&] { return handler_.closed == 1; }));
}

TEST_F(Transport, ShutdownFailsWhatRuns) {
    start_transport();
    std::thread closing([&] {
        eventually([&] { return handler_.waiting == 1; });
        transport_->shut_down();
    });
    const auto reply = call(make("wait", 1, "$db", "admin"));
    closing.join();
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), ErrorCode::shutdown_in_progress);
    EXPECT_EQ(call(make("ping", 1, "$db", "admin")).error().code(),
              ErrorCode::shutdown_in_progress);
}

TEST(SignalsTest, ArriveOnTheLoop) {
    Loop loop("signals");
    std::atomic<int> seen = 0;
    std::atomic<bool> is_on_loop = false;
    {
        const Signals signals(loop, {SIGUSR1}, [&](int number) {
            is_on_loop = async::Executor::current() == &loop;
            seen = number;
        });
        ::kill(::getpid(), SIGUSR1);
        EXPECT_TRUE(eventually([&] { return seen == SIGUSR1; }));
        EXPECT_TRUE(is_on_loop);
    }
}

}  // namespace
}  // namespace tessera::net
