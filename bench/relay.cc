// SPDX-License-Identifier: Apache-2.0
//
// The yardstick of a router: hands bytes on between clients and one server and looks at none of
// them. What it costs is the kernel's price for one more hop, which no router can go below.
//
//     relay TARGET-PORT      listens on a port of its own, which is the only line it prints
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <map>
#include <string_view>

namespace {

constexpr int events_max = 64;

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int make_socket() {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return descriptor;
}

class Relay {
public:
    explicit Relay(int target) : target_(target) {
        sockaddr_in address = loopback(0);
        socklen_t size = sizeof(address);
        ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
        ::listen(listener_, events_max);
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        std::printf("%d\n", ntohs(address.sin_port));
        std::fflush(stdout);
        watch(listener_);
    }

    void run() {
        epoll_event events[events_max];
        while (true) {
            const int count = ::epoll_wait(poll_, events, events_max, -1);
            for (int i = 0; i < count; ++i) {
                if (events[i].data.fd == listener_)
                    accept();
                else
                    hand_on(events[i].data.fd);
            }
        }
    }

private:
    void watch(int descriptor) const {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = descriptor;
        ::epoll_ctl(poll_, EPOLL_CTL_ADD, descriptor, &event);
    }
    void accept() {
        const int client = ::accept(listener_, nullptr, nullptr);
        const int on = 1;
        ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        const int server = make_socket();
        const sockaddr_in address = loopback(target_);
        if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
            ::close(client);
            ::close(server);
            return;
        }
        other_[client] = server;
        other_[server] = client;
        watch(client);
        watch(server);
    }
    void hand_on(int from) {
        const auto pair = other_.find(from);
        if (pair == other_.end()) return;
        const int to = pair->second;
        const ssize_t count = ::recv(from, buffer_, sizeof(buffer_), MSG_DONTWAIT);
        if (count > 0) {
            const ssize_t sent = ::send(to, buffer_, static_cast<std::size_t>(count), MSG_NOSIGNAL);
            if (sent == count) return;
        }
        other_.erase(from);
        other_.erase(to);
        ::close(from);
        ::close(to);
    }

    const int target_;
    const int listener_ = make_socket();
    const int poll_ = ::epoll_create1(0);
    std::map<int, int> other_;
    char buffer_[64 * 1024];
};

}  // namespace

int main(int argc, char** argv) {
    int target = 0;
    const std::string_view text = argc == 2 ? argv[1] : "";
    std::from_chars(text.data(), text.data() + text.size(), target);
    if (target == 0) {
        std::fprintf(stderr, "relay TARGET-PORT\n");
        return 2;
    }
    static Relay relay(target);
    relay.run();
}
