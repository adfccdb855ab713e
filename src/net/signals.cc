// SPDX-License-Identifier: Apache-2.0
#include "net/signals.h"

#include <boost/asio/signal_set.hpp>

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <utility>

#include "net/asio_loop.h"

namespace tessera::net {

struct Signals::Impl : std::enable_shared_from_this<Signals::Impl> {
    Loop& loop;
    asio::signal_set set;
    std::function<void(int)> on_signal;

    Impl(Loop& l, std::function<void(int)> action)
        : loop(l), set(l.impl().context), on_signal(std::move(action)) {}

    void wait() {
        set.async_wait([self = shared_from_this()](const boost::system::error_code& error,
                                                   int number) {
            if (error || !self->on_signal) return;
            self->on_signal(number);
            self->wait();
        });
    }
};

Signals::Signals(Loop& loop, const std::vector<int>& numbers, std::function<void(int)> on_signal)
    : impl_(std::make_shared<Impl>(loop, std::move(on_signal))) {
    std::signal(SIGPIPE, SIG_IGN);
    for (const int number : numbers) impl_->set.add(number);
    loop.post([impl = impl_] { impl->wait(); });
}

Signals::~Signals() {
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
    impl_->loop.post([&] {
        impl_->on_signal = nullptr;
        impl_->set.cancel();
        const std::lock_guard lock(mutex);
        is_done = true;
        done.notify_one();
    });
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return is_done; });
}

}  // namespace tessera::net
