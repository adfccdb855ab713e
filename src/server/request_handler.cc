// SPDX-License-Identifier: Apache-2.0
#include "server/request_handler.h"

#include "base/log.h"

namespace tessera::server {
namespace {

struct Client : net::ClientState {
    std::shared_ptr<commands::ClientInfo> info = std::make_shared<commands::ClientInfo>();
    std::shared_ptr<void> on_gone;
    bool is_on_control = false;
};

// Members' connections and drivers' monitors must not queue behind data.
bool belongs_on_control(const commands::ClientInfo& info, const wire::Request& request) {
    const std::string_view name = request.command_name();
    if (name.starts_with("replSet")) return info.is_internal;
    return name == "hello" && request.body.has("topologyVersion");
}

}  // namespace

void RequestHandler::on_open(net::Connection& connection) {
    auto client = std::make_unique<Client>();
    client->info->connection_id = connection.id();
    client->info->remote = connection.remote().to_string();
    client->info->remote_host = connection.remote();
    node_->operations.add_client(client->info);
    client->on_gone = connection.cancellation().on_cancel(
        [node = node_, info = client->info] { node->operations.kill_of(*info); });
    connection.state = std::move(client);
}

async::Task<void> RequestHandler::handle(net::Connection& connection,
                                         wire::Request& request,
                                         wire::ReplyWriter& reply) {
    Client& client = static_cast<Client&>(*connection.state);
    std::shared_ptr<commands::ClientInfo> info = client.info;
    if (!client.is_on_control && belongs_on_control(*info, request)) {
        client.is_on_control = true;
        connection.move_to_control();
    }
    while (true) {
        const auto outcome = co_await dispatcher_->run(info, request, reply);
        if (outcome.closes_connection) {
            connection.close_now();
            co_return;
        }
        if (!outcome.has_more_to_come) co_return;
        const auto sent = co_await connection.send(reply);
        if (!sent) {
            connection.close_now();
            co_return;
        }
    }
}

}  // namespace tessera::server
