// SPDX-License-Identifier: Apache-2.0
#include "launcher/signals.h"

#include <csignal>
#include <initializer_list>

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace tessera::launcher {
namespace {

sigset_t the_end() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP})
        sigaddset(&set, number);
    return set;
}

}  // namespace

Signals::Signals() {
    const sigset_t set = the_end();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    descriptor_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

Signals::~Signals() {
    if (descriptor_ >= 0) ::close(descriptor_);
    const sigset_t set = the_end();
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

int Signals::take() {
    signalfd_siginfo info{};
    if (::read(descriptor_, &info, sizeof(info)) != sizeof(info)) return 0;
    return static_cast<int>(info.ssi_signo);
}

}  // namespace tessera::launcher
