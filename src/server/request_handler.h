// SPDX-License-Identifier: Apache-2.0
//
// Joins the network to a role: each connection gets its ClientInfo, each request goes through the
// dispatcher, streamed answers follow one another.
#pragma once

#include <memory>

#include "commands/dispatch.h"
#include "net/connection.h"

namespace tessera::server {

class RequestHandler : public net::Handler {
public:
    /// Until set_dispatcher() requests wait to be answered with an error.
    RequestHandler() = default;
    /// Before the server accepts.
    void set_dispatcher(commands::Dispatcher& dispatcher, commands::Node& node) {
        dispatcher_ = &dispatcher;
        node_ = &node;
    }

    void on_open(net::Connection& connection) override;
    async::Task<void> handle(net::Connection& connection,
                             wire::Request& request,
                             wire::ReplyWriter& reply) override;

private:
    commands::Dispatcher* dispatcher_ = nullptr;
    commands::Node* node_ = nullptr;
};

}  // namespace tessera::server
