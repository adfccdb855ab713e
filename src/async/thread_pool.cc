// SPDX-License-Identifier: Apache-2.0
#include "async/thread_pool.h"

#include <pthread.h>

#include <utility>

#include "base/assert.h"
#include "base/log.h"

namespace tessera::async {

ThreadPool::ThreadPool(Options options) : options_(std::move(options)) {
    ASSERT(options_.threads > 0);
    for (std::size_t number = 0; number < options_.threads; ++number) {
        threads_.emplace_back([this, number] { run(number); });
    }
}

ThreadPool::~ThreadPool() { shut_down(); }

void ThreadPool::post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (is_shut_down_) return;
    queue_.push_back(std::move(work));
    if (idle_ > 0) has_work_.notify_one();
}

bool ThreadPool::try_post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (is_shut_down_ || queue_.size() >= options_.queue_max) return false;
    queue_.push_back(std::move(work));
    if (idle_ > 0) has_work_.notify_one();
    return true;
}

std::size_t ThreadPool::queued() const {
    const std::lock_guard lock(mutex_);
    return queue_.size();
}

void ThreadPool::shut_down() {
    std::deque<std::function<void()>> dropped;
    {
        const std::lock_guard lock(mutex_);
        is_shut_down_ = true;
        dropped.swap(queue_);
        has_work_.notify_all();
    }
    for (std::thread& thread : threads_) {
        if (thread.joinable()) thread.join();
    }
    threads_.clear();
    dropped.clear();  // Frames of tasks that never started go here, without the lock.
}

void ThreadPool::run(std::size_t number) {
    const std::string name =
        options_.threads == 1 ? options_.name : options_.name + "-" + std::to_string(number);
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    log::set_thread_context(name);
    const Scope scope(*this);
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        has_work_.wait(lock, [&] { return is_shut_down_ || !queue_.empty(); });
        --idle_;
        if (is_shut_down_) return;
        {
            std::function<void()> work = std::move(queue_.front());
            queue_.pop_front();
            lock.unlock();
            work();
        }
        lock.lock();
    }
}

namespace {
ThreadPool::Options one_thread(std::string name) {
    ThreadPool::Options options;
    options.name = std::move(name);
    options.threads = 1;
    return options;
}
}  // namespace

StrandThread::StrandThread(std::string name) : ThreadPool(one_thread(std::move(name))) {}

}  // namespace tessera::async
