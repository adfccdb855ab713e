// SPDX-License-Identifier: Apache-2.0
//
// What the router's own work is measured against: a process between client and shard that hands
// bytes on and reads none of them. One thread, one epoll; for each side's turn one recv and one
// send, the least a request and its answer can cost here.
//
//     forward PORT TARGET_PORT        both on 127.0.0.1; runs until it is killed
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <unordered_map>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

sockaddr_in local(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
}

[[noreturn]] void give_up(const char* what) {
    std::perror(what);
    std::exit(1);
}

class Forwarder {
public:
    Forwarder(std::uint16_t port, std::uint16_t target)
        : target_(local(target)),
          listener_(socket(AF_INET, SOCK_STREAM, 0)),
          epoll_(epoll_create1(0)) {
        const int on = 1;
        setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        const sockaddr_in own = local(port);
        if (bind(listener_, reinterpret_cast<const sockaddr*>(&own), sizeof(own)) != 0 ||
            listen(listener_, SOMAXCONN) != 0)
            give_up("forward: listen");
        watch(listener_);
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 128> events{};
        for (;;) {
            const int count = epoll_wait(epoll_, events.data(), events.size(), -1);
            for (int i = 0; i < count; ++i) {
                const int from = events[static_cast<std::size_t>(i)].data.fd;
                if (from == listener_)
                    accept_one();
                else
                    hand_on(from);
            }
        }
    }

private:
    void watch(int fd) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) give_up("forward: epoll");
    }

    void accept_one() {
        const int client = accept(listener_, nullptr, nullptr);
        const int server = socket(AF_INET, SOCK_STREAM, 0);
        if (client < 0 || server < 0 ||
            connect(server, reinterpret_cast<const sockaddr*>(&target_), sizeof(target_)) != 0)
            give_up("forward: connect");
        for (const int fd : {client, server}) {
            const int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            watch(fd);
        }
        other_[client] = server;
        other_[server] = client;
    }

    // Sockets block: what the benchmark sends fits their buffers.
    void hand_on(int from) {
        const auto pair = other_.find(from);
        if (pair == other_.end()) return;  // Closed by an event before, of the same round.
        const int to = pair->second;
        const ssize_t got = recv(from, buffer_.data(), buffer_.size(), 0);
        const auto size = static_cast<std::size_t>(got);
        if (got > 0 && send(to, buffer_.data(), size, MSG_NOSIGNAL) == got) return;
        for (const int fd : {from, to}) {
            other_.erase(fd);
            close(fd);
        }
    }

    const sockaddr_in target_;
    const int listener_;
    const int epoll_;
    std::unordered_map<int, int> other_;
    std::array<char, std::size_t{64} << 10> buffer_{};
};

}  // namespace

int main(int argc, char** argv) {
    const auto port_of = [](std::string_view text) {
        std::uint16_t port = 0;
        std::from_chars(text.data(), text.data() + text.size(), port);
        return port;
    };
    const std::uint16_t port = argc == 3 ? port_of(argv[1]) : 0;
    const std::uint16_t target = argc == 3 ? port_of(argv[2]) : 0;
    if (port == 0 || target == 0) {
        std::fputs("forward PORT TARGET_PORT\n", stderr);
        return 2;
    }
    Forwarder(port, target).run();
}
