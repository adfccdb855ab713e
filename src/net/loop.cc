// SPDX-License-Identifier: Apache-2.0
#include "net/loop.h"

#include <pthread.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "base/log.h"
#include "net/asio_loop.h"

namespace tessera::net {

Loop::Loop(std::string name) : impl_(std::make_unique<Impl>()) {
    impl_->thread = std::thread([this, name = std::move(name)] {
        pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
        log::set_thread_context(name);
        const Scope scope(*this);
        impl_->context.run();
    });
}

Loop::~Loop() { stop(); }

void Loop::post(std::function<void()> work) { asio::post(impl_->context, std::move(work)); }

void Loop::stop() {
    impl_->context.stop();
    if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace tessera::net
