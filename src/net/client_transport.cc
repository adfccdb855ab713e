// SPDX-License-Identifier: Apache-2.0
#include "net/client_transport.h"

#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "async/system_clock.h"
#include "base/assert.h"
#include "bson/builder.h"
#include "net/limits.h"
#include "net/link.h"

namespace tessera::net {

using async::Cancellation;
using async::Executor;
using async::RemoteCall;
using async::Task;
using boost::system::error_code;

namespace {

using LinkPointer = std::shared_ptr<Link>;  // Owned by its pool, its call, and Asio's handlers.

std::chrono::steady_clock::time_point steady(Instant at) {
    return std::chrono::steady_clock::time_point(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(at.time_since_epoch()));
}

std::string default_hello() {
    bson::Builder hello;
    hello.append("hello", 1);
    {
        auto internal = hello.object("internalClient");
        internal.append("minWireVersion", 21);
        internal.append("maxWireVersion", 21);
    }
    hello.append("$db", "admin");
    return std::move(hello).finish().release();
}

/// A link lent to the authentication of its own connection.
class BorrowedStream : public async::Stream {
public:
    explicit BorrowedStream(Link& link) : link_(link) {}
    Task<Result<std::string>> call(std::string command_bson,
                                   Instant deadline,
                                   Cancellation cancellation) override {
        co_return co_await link_.exchange(command_bson, deadline, cancellation);
    }

private:
    Link& link_;
};

/// Somebody who waits for a connection because all are in use.
struct Waiter {
    asio::steady_timer timer;
    bool is_woken = false;
    explicit Waiter(asio::io_context& context) : timer(context) {}
};

struct UntilWoken {
    Waiter& waiter;
    bool await_ready() const noexcept { return waiter.is_woken; }
    void await_suspend(std::coroutine_handle<> waiting) {
        waiter.timer.async_wait([waiting](const error_code&) { waiting.resume(); });
    }
    void await_resume() const noexcept {}
};

}  // namespace

/// The connections of one loop; everything on its thread but `open`.
class LoopPool : public std::enable_shared_from_this<LoopPool> {
public:
    LoopPool(Loop& loop, const TransportOptions& options)
        : loop_(loop),
          options_(options),
          sweep_(loop.impl().context),
          watch_(loop.impl().context) {}

    Loop& loop() const { return loop_; }
    std::size_t open() const { return open_.load(std::memory_order_relaxed); }

    Task<Result<std::string>> call(const RemoteCall& request, Cancellation cancellation) {
        Target& target = targets_[request.target];  // Never erased: stays valid over the waits.
        LinkPointer link = is_shut_down_ ? nullptr : take_idle(target);
        if (!link) {
            CO_TRY(link,
                   co_await check_out(target, request.target, request.deadline, cancellation));
        }
        if (!is_watching_) arm_watch();
        Result<std::string> reply =
            co_await link->exchange(request.command_bson, request.deadline, cancellation);
        give_back(target, link);
        co_return reply;
    }

    /// A connected link outside of the pool's limit; to be closed by discard().
    Task<Result<LinkPointer>> make(HostAndPort target, Instant deadline,
                                   Cancellation cancellation);
    void discard(const LinkPointer& link, const Error& why);
    void drop(const HostAndPort& target);
    void shut_down();

private:
    struct Target {
        std::vector<LinkPointer> idle;  // The one used last is at the end.
        std::size_t open = 0;           // Idle, in use and being made.
        std::uint64_t generation = 0;   // Links of an earlier one are closed when given back.
        std::deque<std::shared_ptr<Waiter>> waiters;
        Instant may_be_probed{};  // From then on; no_deadline while it is.

        void wake_one() {
            if (waiters.empty()) return;
            waiters.front()->is_woken = true;
            waiters.front()->timer.cancel();
            waiters.pop_front();
        }
    };

    LinkPointer take_idle(Target& target);
    Task<Result<LinkPointer>> check_out(Target& target,
                                        const HostAndPort& name,
                                        Instant deadline,
                                        Cancellation cancellation);
    Task<Status> wait_for_one(Target& target, Instant deadline);
    void give_back(Target& target, const LinkPointer& link);
    void close_idle(Target& target, std::size_t at);
    void arm_sweep();
    void sweep();
    void arm_watch();
    void look_for_silence();
    static Task<void> probe(std::shared_ptr<LoopPool> pool, HostAndPort name);
    void give_up(const HostAndPort& name);

    Loop& loop_;
    const TransportOptions& options_;
    asio::steady_timer sweep_;
    asio::steady_timer watch_;
    std::map<HostAndPort, Target> targets_;  // Grows by the members of the cluster only.
    std::set<LinkPointer> links_;            // All that are open or being made.
    std::atomic<std::size_t> open_ = 0;
    bool is_sweeping_ = false;
    bool is_watching_ = false;
    bool is_shut_down_ = false;
};

Task<Result<LinkPointer>> LoopPool::make(HostAndPort target,
                                         Instant deadline,
                                         Cancellation cancellation) {
    if (is_shut_down_) co_return Error(ErrorCode::shutdown_in_progress, "shutting down");
    if (cancellation.is_cancelled())
        co_return Error(ErrorCode::callback_canceled, "the call was cancelled");
    const auto link = std::make_shared<Link>(loop_, target);
    links_.insert(link);
    open_.fetch_add(1, std::memory_order_relaxed);
    const Instant until = std::min(deadline, async::SystemClock::read() + connect_max);
    std::shared_ptr<void> listening;
    if (cancellation.can_be_cancelled()) {
        listening = cancellation.on_cancel([link] {
            link->loop().post([link] {
                link->fail(Error(ErrorCode::callback_canceled, "the call was cancelled"));
            });
        });
    }
    Status status = co_await link->connect(until, options_.uses_local_sockets);
    if (status) {
        const auto hello =
            co_await link->exchange(options_.hello_bson, until, Cancellation::none());
        if (!hello) {
            status = hello.error();
        } else if (!bson::View(hello->data())["ok"].is_truthy()) {
            status = Error(ErrorCode::host_unreachable,
                           target.to_string() + " refused the handshake");
        }
    }
    if (status && options_.authenticate) {
        BorrowedStream stream(*link);
        status = co_await options_.authenticate(stream, until);
    }
    listening.reset();
    if (status && !link->is_open())
        status = Error(ErrorCode::callback_canceled, "the call was cancelled");
    if (!status) {
        discard(link, status.error());
        co_return status.error();
    }
    co_return link;
}

void LoopPool::discard(const LinkPointer& link, const Error& why) {
    link->fail(why);
    if (links_.erase(link) > 0) open_.fetch_sub(1, std::memory_order_relaxed);
}

Task<Status> LoopPool::wait_for_one(Target& target, Instant deadline) {
    if (target.waiters.size() >= pool_waiters_max) {
        co_return Error(ErrorCode::exceeded_time_limit,
                        "too many callers wait for a connection already");
    }
    const auto waiter = std::make_shared<Waiter>(loop_.impl().context);
    const Instant forever = async::SystemClock::read() + std::chrono::hours(24 * 365);
    waiter->timer.expires_at(steady(std::min(deadline, forever)));
    target.waiters.push_back(waiter);
    UntilWoken until{*waiter};
    co_await until;
    if (waiter->is_woken) co_return ok();
    std::erase(target.waiters, waiter);
    co_return Error(ErrorCode::network_interface_exceeded_time_limit,
                    "timed out waiting for a connection of the pool");
}

/// Null when there is none.
LinkPointer LoopPool::take_idle(Target& target) {
    while (!target.idle.empty()) {
        LinkPointer link = std::move(target.idle.back());
        target.idle.pop_back();
        if (link->is_open() && link->generation == target.generation) return link;
        --target.open;
        discard(link, Error(ErrorCode::host_unreachable, "it was closed while unused"));
    }
    return nullptr;
}

Task<Result<LinkPointer>> LoopPool::check_out(Target& target,
                                              const HostAndPort& name,
                                              Instant deadline,
                                              Cancellation cancellation) {
    for (;;) {
        if (is_shut_down_) co_return Error(ErrorCode::shutdown_in_progress, "shutting down");
        if (LinkPointer link = take_idle(target)) co_return link;
        if (target.open < pool_connections_max) break;
        CO_TRY_OK(co_await wait_for_one(target, deadline));
    }
    ++target.open;
    Result<LinkPointer> made = co_await make(name, deadline, cancellation);
    if (made) {
        (*made)->generation = target.generation;
        (*made)->is_pooled = true;
    } else {
        --target.open;
        target.wake_one();
    }
    co_return made;
}

void LoopPool::give_back(Target& target, const LinkPointer& link) {
    if (!link->is_open() || link->generation != target.generation || is_shut_down_) {
        --target.open;
        discard(link, Error(ErrorCode::host_unreachable, "not needed any more"));
    } else {
        link->idle_since = async::SystemClock::read();
        link->watch();
        target.idle.push_back(link);
        arm_sweep();
    }
    target.wake_one();
}

void LoopPool::close_idle(Target& target, std::size_t at) {
    const LinkPointer link = target.idle[at];
    target.idle.erase(target.idle.begin() + static_cast<std::ptrdiff_t>(at));
    --target.open;
    discard(link, Error(ErrorCode::host_unreachable, "not needed any more"));
}

void LoopPool::drop(const HostAndPort& name) {
    const auto found = targets_.find(name);
    if (found == targets_.end()) return;
    ++found->second.generation;
    while (!found->second.idle.empty()) close_idle(found->second, found->second.idle.size() - 1);
}

void LoopPool::arm_sweep() {
    if (is_sweeping_ || is_shut_down_) return;
    is_sweeping_ = true;
    sweep_.expires_after(pool_idle_max / 2);
    sweep_.async_wait([self = shared_from_this()](const error_code& error) {
        self->is_sweeping_ = false;
        if (!error) self->sweep();
    });
}

void LoopPool::sweep() {
    const Instant oldest = async::SystemClock::read() - pool_idle_max;
    bool is_any_left = false;
    for (auto& [name, target] : targets_) {
        for (std::size_t i = target.idle.size(); i-- > 0;) {
            const Link& link = *target.idle[i];
            if (!link.is_open() || link.idle_since < oldest) close_idle(target, i);
        }
        is_any_left = is_any_left || !target.idle.empty();
    }
    if (is_any_left) arm_sweep();
}

// ---- Processes that have fallen silent ----
//
// A process that is frozen, or whose machine is gone, closes no connection: a call without a
// deadline would wait for it for ever, though its set has another primary by then. So who has not
// answered for a while is asked for hello, on a connection of its own: every live process answers
// that at once, whatever else it does. Without an answer all calls to it fail.

void LoopPool::arm_watch() {
    if (is_shut_down_) return;
    is_watching_ = true;
    watch_.expires_after(silence_min);
    watch_.async_wait([self = shared_from_this()](const error_code& error) {
        self->is_watching_ = false;
        if (!error) self->look_for_silence();
    });
}

void LoopPool::look_for_silence() {
    const Instant now = async::SystemClock::read();
    bool is_any_calling = false;
    for (const LinkPointer& link : links_) {
        if (!link->is_pooled || link->calls() % 2 == 0) continue;
        is_any_calling = true;
        const bool is_silent = link->calls() == link->calls_seen;
        link->calls_seen = link->calls();
        Target& target = targets_[link->target()];
        if (!is_silent || target.may_be_probed > now) continue;
        target.may_be_probed = async::no_deadline;
        async::spawn(loop_, probe(shared_from_this(), link->target()));
    }
    if (is_any_calling) arm_watch();
}

Task<void> LoopPool::probe(std::shared_ptr<LoopPool> pool, HostAndPort name) {
    const Instant until = async::SystemClock::read() + probe_patience;
    const auto answer = co_await pool->make(name, until, Cancellation::none());
    pool->targets_[name].may_be_probed = async::SystemClock::read() + probe_pause;
    if (answer)
        pool->discard(*answer, Error(ErrorCode::host_unreachable, "not needed any more"));
    else if (!pool->is_shut_down_)
        pool->give_up(name);
}

void LoopPool::give_up(const HostAndPort& name) {
    drop(name);
    const std::set<LinkPointer> links = links_;  // Those who wait may begin new calls.
    for (const LinkPointer& link : links) {
        if (link->is_pooled && link->target() == name)
            link->fail(Error(ErrorCode::host_unreachable,
                             name.to_string() + " does not answer any more"));
    }
}

void LoopPool::shut_down() {
    is_shut_down_ = true;
    sweep_.cancel();
    watch_.cancel();
    for (auto& [name, target] : targets_) {
        while (!target.idle.empty()) close_idle(target, target.idle.size() - 1);
        while (!target.waiters.empty()) target.wake_one();
    }
    const std::set<LinkPointer> links = links_;
    for (const LinkPointer& link : links)
        link->fail(Error(ErrorCode::shutdown_in_progress, "shutting down"));
}

// ---- ClientTransport ----

struct ClientTransport::Impl {
    const TransportOptions options;
    std::vector<std::shared_ptr<LoopPool>> pools;  // Also owned by timers and streams.

    LoopPool& pool_for(const Executor* executor) const {
        for (const auto& pool : pools) {
            if (&pool->loop() == executor) return *pool;
        }
        return *pools.front();
    }
};

namespace {

/// A connection for one conversation; closed, on its loop, when it goes.
class OwnedStream : public async::Stream {
public:
    OwnedStream(std::shared_ptr<LoopPool> pool, LinkPointer link)
        : pool_(std::move(pool)), link_(std::move(link)) {}
    ~OwnedStream() override {
        Loop& loop = pool_->loop();
        loop.post([pool = std::move(pool_), link = std::move(link_)] {
            pool->discard(link, Error(ErrorCode::callback_canceled, "the stream was closed"));
        });
    }
    Task<Result<std::string>> call(std::string command_bson,
                                   Instant deadline,
                                   Cancellation cancellation) override {
        Executor* const home = Executor::current();
        const LinkPointer link = link_;
        const bool is_away = home != &link->loop();
        if (is_away) co_await async::resume_on(link->loop());
        Result<std::string> reply =
            co_await link->exchange(command_bson, deadline, cancellation);
        if (is_away && home != nullptr) co_await async::resume_on(*home);
        co_return reply;
    }

private:
    std::shared_ptr<LoopPool> pool_;
    LinkPointer link_;
};

TransportOptions with_hello(TransportOptions options) {
    if (options.hello_bson.empty()) options.hello_bson = default_hello();
    return options;
}

}  // namespace

ClientTransport::ClientTransport(const std::vector<Loop*>& loops, TransportOptions options)
    : impl_(new Impl{with_hello(std::move(options)), {}}) {
    ASSERT(!loops.empty());
    for (Loop* loop : loops)
        impl_->pools.push_back(std::make_shared<LoopPool>(*loop, impl_->options));
}

ClientTransport::~ClientTransport() { shut_down(); }

Task<Result<std::string>> ClientTransport::call(RemoteCall request, Cancellation cancellation) {
    Executor* const home = Executor::current();
    const std::shared_ptr<Impl> impl = impl_;
    LoopPool& pool = impl->pool_for(home);
    const bool is_away = home != &pool.loop();
    if (is_away) co_await async::resume_on(pool.loop());
    Result<std::string> reply = co_await pool.call(request, cancellation);
    if (is_away && home != nullptr) co_await async::resume_on(*home);
    co_return reply;
}

Task<Result<std::unique_ptr<async::Stream>>> ClientTransport::open(HostAndPort target,
                                                                   Instant deadline,
                                                                   Cancellation cancellation) {
    Executor* const home = Executor::current();
    const std::shared_ptr<Impl> impl = impl_;
    const std::shared_ptr<LoopPool> pool = impl->pool_for(home).shared_from_this();
    const bool is_away = home != &pool->loop();
    if (is_away) co_await async::resume_on(pool->loop());
    Result<LinkPointer> link = co_await pool->make(std::move(target), deadline, cancellation);
    if (is_away && home != nullptr) co_await async::resume_on(*home);
    if (!link) co_return link.error();
    std::unique_ptr<async::Stream> stream = std::make_unique<OwnedStream>(pool, *link);
    co_return stream;
}

void ClientTransport::drop_connections(const HostAndPort& target) {
    for (const auto& pool : impl_->pools)
        pool->loop().post([pool, target] { pool->drop(target); });
}

void ClientTransport::shut_down() {
    std::mutex mutex;
    std::condition_variable done;
    std::size_t missing = impl_->pools.size();
    for (const auto& pool : impl_->pools) {
        pool->loop().post([&, pool] {
            pool->shut_down();
            const std::lock_guard lock(mutex);
            if (--missing == 0) done.notify_one();
        });
    }
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return missing == 0; });
}

std::size_t ClientTransport::connections() const {
    std::size_t result = 0;
    for (const auto& pool : impl_->pools) result += pool->open();
    return result;
}

}  // namespace tessera::net
