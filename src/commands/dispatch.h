// SPDX-License-Identifier: Apache-2.0
//
// From a message to its answer: finds the command, checks whether it may run here and now, waits
// for its read concern, runs it, waits for its write concern, and completes the reply with what
// every reply has. The one place where an Error becomes a reply.
#pragma once

#include <memory>

#include "async/event.h"
#include "async/task.h"
#include "commands/command.h"
#include "commands/node.h"
#include "wire/reply_writer.h"
#include "wire/request.h"

namespace tessera::commands {

class Dispatcher {
public:
    explicit Dispatcher(Member& member) : node_(member), member_(&member) {}
    Dispatcher(Node& node, Router& router) : node_(node), router_(&router) {}

    struct Outcome {
        bool closes_connection = false;
        bool has_more_to_come = false;  // Call again with the same request: another answer is due.
    };
    /// Runs a request and leaves the body of its answer in `reply`. Comes back on the executor it
    /// was called on.
    async::Task<Outcome> run(std::shared_ptr<ClientInfo> client,
                             const wire::Request& message,
                             wire::ReplyWriter& reply);

private:
    struct Call;  // One request on its way through run().

    Status admit(Call& call) const;
    Status check_state(const Call& call) const;
    Status check(const Call& call) const;
    bool needs_preparation(const Call& call) const;
    async::Task<Status> fail_on_purpose(Call& call);
    async::Task<Status> prepare(Call& call);
    async::Task<Status> execute(Call& call);
    async::Task<Status> choose_snapshot(Call& call);
    static Status read_at(Call& call, Timestamp at);
    static bool may_read_later(Call& call, const Status& status);
    bool waits_for_placement(const Call& call, const Status& status) const;
    async::Task<Status> block(Call& call, Duration time);
    bool settle_write_concern(Call& call) const;
    async::Task<void> await_write_concern(Call& call);
    async::Task<void> learn_placement(Call& call, Error error);
    void complete(Call& call, const Status& status, bson::Builder& body) const;
    void append_error(Call& call, const Error& error, bson::Builder& body) const;
    void append_labels(const Call& call, ErrorCode code, bson::Builder& body) const;
    void append_times(const Call& call, bson::Builder& body) const;
    void count(const Call& call, const Status& status, std::size_t reply_bytes) const;
    void record(const Call& call,
                const Status& status,
                Duration taken,
                std::size_t reply_bytes) const;

    Node& node_;
    Member* const member_ = nullptr;
    Router* const router_ = nullptr;
};

/// Appends {code, codeName, errmsg, errInfo} of a failed wait as "writeConcernError".
void append_write_concern_error(const Error& error,
                                const replication::WriteConcern& concern,
                                bson::Builder& reply);

}  // namespace tessera::commands
