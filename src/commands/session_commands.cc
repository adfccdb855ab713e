// SPDX-License-Identifier: Apache-2.0
//
// Logical sessions as clients manage them: startSession, refreshSessions, endSessions,
// killSessions, killAllSessions. Ending one closes its cursors; retry history outlives it in
// config.transactions.
#include "commands/session_commands.h"

#include "commands/router.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

constexpr std::size_t sessions_max = 10'000;  // What drivers send in one endSessions at the most.

Result<std::vector<replication::SessionId>> parse_sessions(const Request& request) {
    const bson::Value list = request.body.front().value;
    if (!list.is_array())
        return Error(ErrorCode::type_mismatch,
                     "BSON field '" + std::string(request.name) + "." + std::string(request.name) +
                         "' is the wrong type '" + std::string(type_name(list.type())) +
                         "', expected type 'array'");
    std::vector<replication::SessionId> result;
    for (const bson::Element& each : list.as_view()) {
        if (result.size() == sessions_max)
            return Error(ErrorCode::bad_value, "Too many sessions in one command; at most 10,000");
        if (!each.value.is_object())
            return Error(ErrorCode::type_mismatch, "a session is an object with an id");
        const bson::Value id = each.value.as_view()["id"];
        if (id.type() != bson::Type::binary || id.as_binary().bytes.size() != 16)
            return Error(ErrorCode::type_mismatch, "a session's id is a UUID");
        replication::SessionId session;
        std::memcpy(session.id.bytes.data(), id.as_binary().bytes.data(), 16);
        result.push_back(complete(session));
    }
    return result;
}

template <class Role>
async::Task<Status> start_session(Role& node, Invocation& invocation) {
    bson::Builder& reply = invocation.reply;
    reply.object("id").append("id", node.make_uuid());
    reply.append("timeoutMinutes", 30);
    co_return Status();
}

template <class Role>
async::Task<Status> refresh_sessions(Role&, Invocation& invocation) {
    const auto sessions = parse_sessions(invocation.request);
    if (!sessions) co_return sessions.error();
    co_return Status();
}

template <class Role>
async::Task<Status> end_sessions(Role& node, Invocation& invocation) {
    CO_TRY(const auto sessions, parse_sessions(invocation.request));
    for (const auto& session : sessions)
        node.cursors.kill_session(session);
    co_return Status();
}

template <class Role>
async::Task<Status> kill_sessions(Role& node, Invocation& invocation) {
    CO_TRY(const auto sessions, parse_sessions(invocation.request));
    std::vector<bson::Document> ids;
    for (const auto& session : sessions) {
        node.cursors.kill_session(session);
        ids.push_back(session.to_bson());
    }
    node.operations.kill_all(
        ErrorCode::interrupted, [&](const Operation&, const Operation::Description& description) {
            for (const bson::Document& id : ids)
                if (description.lsid.view()["id"].bytes() == id.view()["id"].bytes() &&
                    description.command_name != "killSessions")
                    return true;
            return false;
        });
    co_return Status();
}

template <class Role>
async::Task<Status> kill_all_sessions(Role& node, Invocation&) {
    node.cursors.kill_all();
    node.operations.kill_all(
        ErrorCode::interrupted, [](const Operation&, const Operation::Description& description) {
            return !description.lsid.is_empty() &&
                   description.command_name.find("illAllSessions") == std::string::npos;
        });
    co_return Status();
}

}  // namespace

const std::array<Command, 5> session_commands = {{
    {"startSession",
     flags::any_state,
     start_session<Member>,
     start_session<Router>,
     Counted::command,
     "Makes a session."},
    {"refreshSessions",
     flags::any_state,
     refresh_sessions<Member>,
     refresh_sessions<Router>,
     Counted::command,
     "Keeps sessions from expiring."},
    {"endSessions",
     flags::any_state,
     end_sessions<Member>,
     end_sessions<Router>,
     Counted::command,
     "Ends sessions and closes their cursors."},
    {"killSessions",
     flags::any_state,
     kill_sessions<Member>,
     kill_sessions<Router>,
     Counted::command,
     "Ends sessions and stops what they run."},
    {"killAllSessions",
     flags::any_state,
     kill_all_sessions<Member>,
     kill_all_sessions<Router>,
     Counted::command,
     "Ends all sessions."},
}};

}  // namespace tessera::commands
