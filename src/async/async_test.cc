// SPDX-License-Identifier: Apache-2.0
//
// Tasks, events, groups: first step by step on the manual executor, then under stress on threads
// (run under TSan by tools/ci.sh).
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "async/block_on.h"
#include "async/event.h"
#include "async/manual.h"
#include "async/system_clock.h"
#include "async/thread_pool.h"
#include "base/result.h"

namespace tessera::async {
namespace {

using Outcome = Notification::Outcome;

Task<int> value_of(int value) { co_return value; }

Task<int> sum_of(int count) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += co_await value_of(1);
    co_return sum;
}

Task<int> hop(Executor& executor, int value) {
    co_await resume_on(executor);
    co_return value;
}

TEST(Task, ReturnsAValueThroughManySynchronousAwaitsWithoutGrowingTheStack) {
    ManualExecutor executor;
    VirtualClock clock;
    EXPECT_EQ(run_task(executor, clock, sum_of(1'000'000)), 1'000'000);
}

TEST(Task, IsDestroyedWhenNeverAwaited) {
    const Task<int> task = value_of(1);
    EXPECT_TRUE(static_cast<bool>(task));
}

TEST(Task, ResumesItsAwaiterLater) {
    ManualExecutor executor;
    VirtualClock clock;
    EXPECT_EQ(run_task(executor, clock, hop(executor, 7)), 7);
}

Task<Result<int>> passes_on(bool fail) {
    Result<int> inner(1);
    if (fail) inner = Error(ErrorCode::bad_value, "no");
    CO_TRY(const int value, inner);
    co_return value + 1;
}

TEST(Task, CarriesResults) {
    ManualExecutor executor;
    VirtualClock clock;
    EXPECT_EQ(run_task(executor, clock, passes_on(false)).value(), 2);
    EXPECT_EQ(run_task(executor, clock, passes_on(true)).error().code(), ErrorCode::bad_value);
}

TEST(Task, OneThatIsDroppedBeforeItsStartIsDestroyed) {
    auto token = std::make_shared<int>(1);
    struct Local {
        static Task<void> keep(std::shared_ptr<int> kept) {
            (void)kept;
            co_return;
        }
    };
    ManualExecutor executor;
    spawn(executor, Local::keep(token));
    EXPECT_EQ(token.use_count(), 2);
    executor.shut_down();
    EXPECT_EQ(token.use_count(), 1);
}

Task<void> sleep_and_note(VirtualClock& clock, Duration time, std::string name, std::string& out) {
    const Instant due = clock.now() + time;
    co_await sleep_until(clock, due);
    out += name;
}

TEST(VirtualClock, WakesSleepersInOrder) {
    ManualExecutor executor;
    VirtualClock clock;
    std::string out;
    spawn(executor, sleep_and_note(clock, 3s, "c", out));
    spawn(executor, sleep_and_note(clock, 1s, "a", out));
    spawn(executor, sleep_and_note(clock, 2s, "b", out));
    run_until(executor, clock, [&] { return out == "abc"; });
    EXPECT_EQ(out, "abc");
    EXPECT_EQ(clock.pending(), 0U);
}

TEST(VirtualClock, CancelledTimerDoesNotRunEvenWhenPosted) {
    ManualExecutor executor;
    VirtualClock clock;
    int runs = 0;
    const auto timer = clock.call_at(clock.now() + 1s, executor, [&] { ++runs; });
    clock.advance(2s);
    clock.cancel_timer(timer);
    executor.run();
    EXPECT_EQ(runs, 0);
}

Task<void> note_outcome(Notification& changed,
                        Clock& clock,
                        Instant deadline,
                        Cancellation cancellation,
                        std::vector<Outcome>& out) {
    out.push_back(co_await changed.wait(clock, deadline, changed.ticket(), cancellation));
}

TEST(Notification, ComesBackByNotifyDeadlineAndCancellation) {
    ManualExecutor executor;
    VirtualClock clock;
    Notification changed;
    Cancellation cancellation;
    std::vector<Outcome> out;
    spawn(executor, note_outcome(changed, clock, no_deadline, cancellation, out));
    executor.run();
    EXPECT_TRUE(out.empty());
    changed.notify();
    EXPECT_TRUE(out.empty());  // Not within notify().
    executor.run();
    spawn(executor, note_outcome(changed, clock, clock.now() + 1s, cancellation, out));
    executor.run();
    clock.advance(1s);
    executor.run();
    spawn(executor, note_outcome(changed, clock, clock.now() + 1s, cancellation, out));
    executor.run();
    cancellation.cancel();
    executor.run();
    EXPECT_EQ(out, (std::vector{Outcome::notified, Outcome::timed_out, Outcome::cancelled}));
    EXPECT_EQ(clock.pending(), 0U);
}

TEST(Notification, AnOldTicketReturnsAtOnce) {
    ManualExecutor executor;
    VirtualClock clock;
    Notification changed;
    const auto ticket = changed.ticket();
    changed.notify();
    EXPECT_EQ(run_task(executor, clock, changed.wait(clock, no_deadline, ticket)),
              Outcome::notified);
}

TEST(Cancellation, CallsActionsOnceAndNotAfterTheirHandleDied) {
    Cancellation cancellation;
    int first = 0;
    int second = 0;
    auto one = cancellation.on_cancel([&] { ++first; });
    auto other = cancellation.on_cancel([&] { ++second; });
    other.reset();
    cancellation.cancel();
    cancellation.cancel();
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 0);
    auto late = cancellation.on_cancel([&] { ++second; });
    EXPECT_EQ(second, 1);
}

TEST(Cancellation, AnActionMayDropItsOwnHandle) {
    Cancellation cancellation;
    std::shared_ptr<void> handle;
    handle = cancellation.on_cancel([&] { handle.reset(); });
    cancellation.cancel();
    EXPECT_EQ(handle, nullptr);
    EXPECT_FALSE(Cancellation::none().is_cancelled());
}

Task<void> wait_and_count(Event& event, int& count) {
    co_await event.wait();
    ++count;
}

TEST(Event, WakesAllAndThoseWhoComeLater) {
    ManualExecutor executor;
    Event event;
    int count = 0;
    spawn(executor, wait_and_count(event, count));
    spawn(executor, wait_and_count(event, count));
    executor.run();
    event.set();
    executor.run();
    EXPECT_EQ(count, 2);
    spawn(executor, wait_and_count(event, count));
    executor.run();
    EXPECT_EQ(count, 3);
}

Task<void> take_turn(Semaphore& semaphore, Executor& executor, std::string name, std::string& out) {
    auto permit = co_await semaphore.acquire();
    out += name;
    co_await resume_on(executor);
    out += name;
}

TEST(Semaphore, LetsThroughInOrderOfArrival) {
    ManualExecutor executor;
    Semaphore semaphore(1);
    std::string out;
    for (const char* name : {"a", "b", "c"}) {
        spawn(executor, take_turn(semaphore, executor, name, out));
    }
    executor.run();
    EXPECT_EQ(out, "aabbcc");
    EXPECT_TRUE(semaphore.try_acquire().holds());
}

Task<void> run_all_of(std::vector<Task<void>> tasks, bool& is_done) {
    co_await when_all(std::move(tasks));
    is_done = true;
}

TEST(WhenAll, ReturnsWhenTheLastHasEnded) {
    ManualExecutor executor;
    VirtualClock clock;
    std::string out;
    std::vector<Task<void>> tasks;
    tasks.push_back(sleep_and_note(clock, 2s, "b", out));
    tasks.push_back(sleep_and_note(clock, 1s, "a", out));
    bool is_done = false;
    spawn(executor, run_all_of(std::move(tasks), is_done));
    run_until(executor, clock, [&] { return is_done; });
    EXPECT_TRUE(is_done);
    EXPECT_EQ(out, "ab");
    run_task(executor, clock, when_all({}));
}

TEST(TaskGroup, JoinsWhatWasSpawned) {
    ManualExecutor executor;
    VirtualClock clock;
    std::string out;
    TaskGroup group(executor);
    group.spawn(sleep_and_note(clock, 1s, "a", out));
    group.spawn(sleep_and_note(clock, 2s, "b", out));
    EXPECT_EQ(group.running(), 2U);
    run_task(executor, clock, group.join());
    EXPECT_EQ(out, "ab");
    EXPECT_EQ(group.running(), 0U);
}

TEST(TaskGroup, CountsDownForTasksThatWereDropped) {
    ManualExecutor executor;
    ManualExecutor dead;
    VirtualClock clock;
    std::string out;
    TaskGroup group(dead);
    group.spawn(sleep_and_note(clock, 1s, "a", out));
    dead.shut_down();
    run_task(executor, clock, group.join());
    EXPECT_EQ(out, "");
}

// ---- On threads ----

ThreadPool::Options threads(std::size_t count) {
    ThreadPool::Options options;
    options.threads = count;
    return options;
}

TEST(BlockOn, ReturnsTheResultOfAnotherExecutor) {
    ThreadPool pool(threads(2));
    EXPECT_EQ(block_on(pool, hop(pool, 5)), 5);
    EXPECT_EQ(block_on(pool, sum_of(10)), 10);
    TaskGroup group(pool);
    block_on(pool, group.join());
}

TEST(ThreadPool, RefusesNewWorkBeyondItsLimit) {
    ThreadPool::Options options;
    options.threads = 1;
    options.queue_max = 2;
    ThreadPool pool(options);
    std::mutex gate;
    gate.lock();
    std::atomic<bool> is_running = false;
    pool.post([&] {
        is_running = true;
        is_running.notify_one();
        const std::lock_guard lock(gate);
    });
    is_running.wait(false);
    EXPECT_TRUE(pool.try_post([] {}));
    EXPECT_TRUE(pool.try_post([] {}));
    EXPECT_FALSE(pool.try_post([] {}));
    gate.unlock();
    pool.shut_down();
    EXPECT_FALSE(pool.try_post([] {}));
}

Task<void> hop_between(ThreadPool& one, ThreadPool& other, std::atomic<int>& count) {
    for (int i = 0; i < 100; ++i) {
        count += co_await hop(i % 2 == 0 ? one : other, 1);
    }
}

TEST(Stress, TasksThatHopBetweenPoolsMeetTheirAwaiters) {
    ThreadPool one(threads(3));
    ThreadPool other(threads(3));
    std::atomic<int> count = 0;
    TaskGroup group(one);
    for (int i = 0; i < 100; ++i) group.spawn(hop_between(one, other, count));
    block_on(one, group.join());
    EXPECT_EQ(count, 10'000);
}

struct Climb {
    Notification changed;
    std::atomic<int> level = 0;
    std::atomic<int> ended = 0;
};

Task<void> wait_for_level(Climb& climb, int last, Clock& clock, Cancellation cancellation) {
    for (;;) {
        const auto ticket = climb.changed.ticket();
        if (climb.level >= last) break;
        const Instant deadline = clock.now() + 60s;
        const auto outcome = co_await climb.changed.wait(clock, deadline, ticket, cancellation);
        if (outcome == Outcome::cancelled) co_return;
    }
    ++climb.ended;
}

TEST(Stress, NotificationIsNeverMissed) {
    SystemClock clock;
    ThreadPool pool(threads(4));
    Climb climb;
    Cancellation cancellation;
    TaskGroup group(pool);
    for (int i = 0; i < 50; ++i)
        group.spawn(wait_for_level(climb, i * 10, clock, cancellation));
    std::thread other([&] {
        for (int i = 0; i < 500; ++i) {
            ++climb.level;
            climb.changed.notify();
        }
    });
    block_on(pool, group.join());
    other.join();
    EXPECT_EQ(climb.ended, 50);
    EXPECT_EQ(clock.pending(), 0U);
}

TEST(Stress, CancellationNotifyAndDeadlineRace) {
    SystemClock clock;
    ThreadPool pool(threads(4));
    for (int round = 0; round < 100; ++round) {
        Notification changed;
        Cancellation cancellation;
        std::vector<Outcome> outs[8];
        TaskGroup group(pool);
        for (auto& out : outs) {
            group.spawn(
                note_outcome(changed, clock, clock.now() + 200us, cancellation, out));
        }
        std::thread canceller([&] { cancellation.cancel(); });
        changed.notify();
        block_on(pool, group.join());
        canceller.join();
        for (const auto& out : outs) EXPECT_EQ(out.size(), 1U);
    }
}

TEST(Stress, HandlesDieWhileActionsRun) {
    for (int round = 0; round < 200; ++round) {
        Cancellation cancellation;
        auto counter = std::make_unique<std::atomic<int>>(0);
        std::thread other([&] { cancellation.cancel(); });
        for (int i = 0; i < 10; ++i) {
            auto handle = cancellation.on_cancel([&] { ++*counter; });
            handle.reset();
        }
        counter.reset();  // No action may touch it now.
        other.join();
    }
}

Task<void> critical(Semaphore& semaphore, Executor& executor, int& unguarded) {
    for (int i = 0; i < 50; ++i) {
        auto permit = co_await semaphore.acquire();
        const int seen = unguarded;
        co_await resume_on(executor);
        unguarded = seen + 1;
    }
}

TEST(Stress, SemaphoreOfOneIsAMutex) {
    ThreadPool pool(threads(4));
    Semaphore semaphore(1);
    int unguarded = 0;
    TaskGroup group(pool);
    for (int i = 0; i < 20; ++i) group.spawn(critical(semaphore, pool, unguarded));
    block_on(pool, group.join());
    EXPECT_EQ(unguarded, 1'000);
}

Task<void> sleep_briefly(Clock& clock, int number) {
    const Instant due = clock.now() + std::chrono::microseconds(number % 7 * 100);
    co_await sleep_until(clock, due);
}

TEST(SystemClock, FiresAndCancelsFromManyThreads) {
    SystemClock clock;
    ThreadPool pool(threads(4));
    TaskGroup group(pool);
    for (int i = 0; i < 500; ++i) group.spawn(sleep_briefly(clock, i));
    for (int i = 0; i < 1'000; ++i) {
        const auto timer = clock.call_at(clock.now() + 3600s, pool, [] { ADD_FAILURE(); });
        clock.cancel_timer(timer);
    }
    block_on(pool, group.join());
    EXPECT_EQ(clock.pending(), 0U);
}

TEST(SystemClock, StopDropsWhatIsArmed) {
    ThreadPool pool(threads(1));
    SystemClock clock;
    clock.call_at(clock.now() + 3600s, pool, [] { ADD_FAILURE(); });
    clock.stop();
    EXPECT_EQ(clock.pending(), 0U);
}

}  // namespace
}  // namespace tessera::async
