// SPDX-License-Identifier: Apache-2.0
#include "commands/dispatch.h"

#include "bson/json.h"
#include "commands/placement.h"
#include "commands/profile.h"
#include "commands/router_calls.h"
#include "routing/retry.h"

namespace tessera::commands {
namespace {

constexpr std::size_t logged_command_bytes_max = 10'000;
// Header, flags and the section's kind: what OP_MSG adds to a reply's body.
constexpr std::size_t reply_frame_bytes = 21;

bool is_data_write(const Command& command) {
    return (command.flags & flags::writes) != 0;
}

TopEntry::Kind top_kind(Counted counted) {
    switch (counted) {
        case Counted::insert:
            return TopEntry::insert;
        case Counted::query:
            return TopEntry::queries;
        case Counted::update:
            return TopEntry::update;
        case Counted::remove:
            return TopEntry::remove;
        case Counted::getmore:
            return TopEntry::getmore;
        case Counted::command:
            break;
    }
    return TopEntry::commands;
}

std::string_view kind_name(Counted counted) {
    switch (counted) {
        case Counted::insert:
            return "insert";
        case Counted::query:
            return "query";
        case Counted::update:
            return "update";
        case Counted::remove:
            return "remove";
        case Counted::getmore:
            return "getmore";
        case Counted::command:
            break;
    }
    return "command";
}

// As currentOp, the profiler and the log of slow operations show it: "db.collection", or "db.$cmd"
// when the command is about no collection of that database.
std::string namespace_of(const Request& request, const Command& command) {
    bson::Value name = request.body.front().value;
    if (command.counted == Counted::getmore) name = request.body["collection"];
    const bool is_explain = command.name == "explain" && name.is_object();
    if (is_explain) name = name.as_view().front().value;
    const std::string db = std::string(request.db) + ".";
    if (command.name == "aggregate" && name.is_number()) return db + "$cmd.aggregate";
    if (!name.is_string() || (command.flags & flags::admin_only) != 0) return db + "$cmd";
    if (command.name == "dataSize") return std::string(name.as_string());
    return db + std::string(name.as_string());
}

bool has_transaction_number(const Request& request) {
    return request.session && request.session->txn_number;
}

bool reads_snapshot(const Request& request, const Command& command) {
    const auto& concern = request.read_concern;
    // Drivers send their session's read concern with getMore too; the cursor has its own.
    return concern && concern->level == replication::ReadLevel::snapshot &&
           (command.flags & flags::reads) != 0 && command.counted != Counted::getmore;
}

Status check_snapshot(const Request& request, const Command& command) {
    if (!reads_snapshot(request, command)) return {};
    for (const std::string_view name : {"find", "aggregate", "distinct", "explain", "dbHash"})
        if (request.name == name) return {};
    return Error(ErrorCode::invalid_options,
                 "Command " + std::string(request.name) +
                     " does not support { readConcern: { level: \"snapshot\", provenance: "
                     "\"clientSupplied\" } } :: caused by :: read concern not supported");
}

// How often a snapshot read whose time the router chose is tried at a later one.
constexpr int snapshot_attempts_max = 5;
// How long ago the moment of a snapshot read may be without asking for a later one, and how long
// that may take.
constexpr std::int64_t snapshot_age_ms_max = 2000;
constexpr Duration snapshot_time_patience = 1s;

// The registry takes the time over from whatever is answered.
async::Task<void> hear_from(Router& router,
                            routing::ShardName set,
                            sharding::CallOptions options) {
    bson::Document ping = bson::make("ping", 1, "$db", "admin");
    [[maybe_unused]] const auto reply =
        co_await router.shards.call(std::move(set), std::move(ping), std::move(options));
}

// A router nobody has used for a while does not know what time it is: the config servers and the
// shards tell, those that answer at once.
async::Task<void> learn_cluster_time(Router& router, const Operation& operation) {
    std::vector<async::Task<void>> asked;
    sharding::CallOptions options;
    options.deadline = std::min(operation.deadline, router.clock.now() + snapshot_time_patience);
    if (router.shards.shards().empty())
        (void)co_await router.shards.refresh(options.deadline, operation.cancellation);
    std::vector<routing::ShardName> sets = router.shards.shards();
    sets.push_back(sharding::config_shard);
    options.read_mode = sharding::ReadMode::nearest;
    options.cancellation = operation.cancellation;
    for (const routing::ShardName& set : sets)
        asked.push_back(hear_from(router, set, options));
    co_await async::when_all(std::move(asked));
}

}  // namespace

struct Dispatcher::Call final : Operation::Subject {
    Call(OperationRegistry& its_registry,
         std::shared_ptr<ClientInfo> its_client,
         const wire::Request& its_message)
        : registry(its_registry), client(std::move(its_client)), message(its_message) {}
    ~Call() override {
        if (operation) registry.end(*operation);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    OperationRegistry& registry;
    std::shared_ptr<ClientInfo> client;
    const wire::Request& message;
    std::optional<Request> request;
    // On a router, of a snapshot read: the request with its time, and how often that may change.
    struct Rewritten {
        bson::Document body;
        wire::Request message;
    };
    std::unique_ptr<Rewritten> rewritten;
    int snapshot_attempts = 0;
    const Command* command = nullptr;
    std::shared_ptr<Operation> operation;
    std::optional<Invocation> invocation;
    replication::SessionLease session;
    std::optional<Failure> failure;
    std::optional<Error> write_concern_failure;
    replication::WriteConcern write_concern;

    bool has(unsigned flag) const { return (command->flags & flag) != 0; }
    Operation::Description describe() const override;
};

async::Task<Dispatcher::Outcome> Dispatcher::run(std::shared_ptr<ClientInfo> client,
                                                 const wire::Request& message,
                                                 wire::ReplyWriter& reply) {
    async::Executor* const home = async::Executor::current();
    Call call(node_.operations, std::move(client), message);
    node_.metrics.requests.fetch_add(1, std::memory_order_relaxed);
    node_.metrics.bytes_in.fetch_add(static_cast<std::int64_t>(call.message.bytes.size()),
                                     std::memory_order_relaxed);
    Outcome outcome;
    Status status = admit(call);
    {
        bson::Builder body(reply.start());
        if (status) {
            call.invocation.emplace(*call.request, call.operation, body);
            call.invocation->may_exhaust = message.allows_exhaust();
            call.failure = node_.fail_points.on_command(*call.request, *call.client);
            if (call.failure) status = co_await fail_on_purpose(call);
            if (status && call.failure && call.failure->closes_connection) {
                outcome.closes_connection = true;
            } else {
                if (status) status = check(call);
                if (status && needs_preparation(call)) status = co_await prepare(call);
                if (status) status = co_await execute(call);
            }
            while (may_read_later(call, status)) {
                status = read_at(call, node_.logical_clock.now());
                if (status) status = co_await execute(call);
            }
            while (waits_for_placement(call, status)) {
                co_await learn_placement(call, status.error());
                status = call.operation->check(node_.clock);
                if (status) status = co_await execute(call);
            }
            if (!status && member_ != nullptr && member_->placement &&
                routing::is_stale_routing(status.error().code()))
                co_await learn_placement(call, status.error());
        }
        if (home != nullptr && async::Executor::current() != home) co_await async::resume_on(*home);
        if (status) {
            outcome.has_more_to_come = call.invocation->has_more_to_come;
            outcome.closes_connection |= call.invocation->closes_connection;
            complete(call, status, body);
        }
    }
    if (!status && !outcome.closes_connection) {
        bson::Builder body(reply.start());  // Drops what a failed command had begun to write.
        complete(call, status, body);
    }
    if (call.operation) count(call, status, reply.has_body() ? reply.body().size() : 0);
    if (reply.has_body())
        node_.metrics.bytes_out.fetch_add(
            static_cast<std::int64_t>(reply.body().size() + reply_frame_bytes),
            std::memory_order_relaxed);
    co_return outcome;
}

Status Dispatcher::admit(Call& call) const {
    if (call.message.error) return *call.message.error;
    TRY(call.request, Request::parse(call.message));
    call.request->is_internal = call.client->is_internal;
    const Request& request = *call.request;
    call.command = find_command(request.name);
    const bool is_here =
        call.command != nullptr && (member_ != nullptr ? call.command->on_member != nullptr
                                                       : call.command->on_router != nullptr);
    if (!is_here)
        return Error(ErrorCode::command_not_found,
                     "no such command: '" + std::string(request.name) + "'");
    if (call.has(flags::internal) && !call.client->is_internal)
        return Error(ErrorCode::unauthorized,
                     "not authorized on " + std::string(request.db) + " to execute command " +
                         std::string(request.name) + ": only members of the cluster may");
    if (call.has(flags::admin_only) && request.db != "admin")
        return Error(ErrorCode::unauthorized,
                     std::string(request.name) + " may only be run against the admin database.");
    if (call.has(flags::test_only) && !node_.parameters.enable_test_commands)
        return Error(ErrorCode::command_not_found,
                     "no such command: '" + std::string(request.name) + "'");
    if (node_.is_shutting_down && !call.has(flags::any_state))
        return Error(ErrorCode::interrupted_at_shutdown, "The server is shutting down");
    if (request.cluster_time > node_.logical_clock.now())
        TRY_OK(node_.logical_clock.advance(request.cluster_time, node_.clock.wall_now()));

    call.operation = node_.operations.begin(call.client, call);
    if (request.time_max > Duration::zero() && call.command->counted != Counted::getmore)
        call.operation->deadline = call.operation->started + request.time_max;
    return {};
}

// Asked by any thread: of the message, which does not change as the request may (read_at).
Operation::Description Dispatcher::Call::describe() const {
    Operation::Description description;
    const auto shown = Request::parse(message);
    if (!shown) return description;  // It was admitted: that cannot be.
    description.command_name = shown->name;
    description.kind = kind_name(command->counted);
    description.is_write = is_data_write(*command);
    description.is_hidden = has(flags::quiet);
    description.ns = namespace_of(*shown, *command);
    if (shown->body.size() <= logged_command_bytes_max)
        description.command = bson::Document(shown->body);
    else
        description.command = bson::make("$truncated",
                                         bson::to_json(shown->body).substr(0, 1000),
                                         "comment",
                                         shown->comment_text);
    if (shown->session) description.lsid = shown->session->id.to_bson();
    return description;
}

Status Dispatcher::check_state(const Call& call) const {
    if (member_ == nullptr || call.has(flags::any_state)) return {};
    const Request& request = *call.request;
    const Namespace ns{std::string(request.db), "-"};
    if (call.has(flags::writes))
        return member_->replication->check_writable(ns, call.client->speaks_hello);
    if (call.has(flags::reads)) {
        const replication::ReadAccess access{request.read_preference.allows_secondary(),
                                             call.client->speaks_hello};
        return member_->replication->check_readable(ns, access);
    }
    return {};
}

// A snapshot is one moment on every shard: the newest this router knows of, unless the client says
// which. The request goes on as if the client had named it.
async::Task<Status> Dispatcher::choose_snapshot(Call& call) {
    ASSERT(router_ != nullptr);
    const auto& concern = call.request->read_concern;
    Timestamp at = concern->at_cluster_time;
    if (at.is_null()) {
        const std::int64_t now = router_->clock.wall_now().milliseconds;
        if (now - router_->logical_clock.now().seconds * std::int64_t{1000} > snapshot_age_ms_max)
            co_await learn_cluster_time(*router_, *call.operation);
        at = std::max(router_->logical_clock.now(), concern->after_cluster_time);
        call.snapshot_attempts = snapshot_attempts_max;
        CO_TRY_OK(read_at(call, at));
    }
    call.invocation->read_at = at;
    co_return Status();
}

Status Dispatcher::read_at(Call& call, Timestamp at) {
    bson::Builder body;
    for (const bson::Element& field : call.message.body)
        if (field.name != "readConcern") body.append(field);
    body.append("readConcern", bson::make("level", "snapshot", "atClusterTime", at));
    auto rewritten = std::make_unique<Call::Rewritten>();
    rewritten->body = std::move(body).finish();
    wire::Request& message = rewritten->message;
    message.op_code = call.message.op_code;
    message.flags = call.message.flags;
    message.query_database = call.message.query_database;
    message.body = rewritten->body;
    const bool is_internal = call.request->is_internal;
    TRY(call.request, Request::parse(message));
    call.request->is_internal = is_internal;
    call.rewritten = std::move(rewritten);  // The request refers to it, and to the last no more.
    call.invocation->read_at = at;
    return {};
}

// The moment this router had chosen was too early for some shard, or for what has been moved
// since; the shards' answers have told a later one.
bool Dispatcher::may_read_later(Call& call, const Status& status) {
    if (status || call.snapshot_attempts == 0) return false;
    const ErrorCode code = status.error().code();
    if (code != ErrorCode::snapshot_too_old && code != ErrorCode::snapshot_unavailable &&
        code != ErrorCode::stale_chunk_history)
        return false;
    --call.snapshot_attempts;
    return true;
}

// As failCommand says.
async::Task<Status> Dispatcher::fail_on_purpose(Call& call) {
    if (call.failure->blocks > Duration::zero())
        CO_TRY_OK(co_await block(call, call.failure->blocks));
    if (call.failure->error && !call.failure->closes_connection)
        co_return Error(*call.failure->error, "Failing command via 'failCommand' failpoint");
    co_return Status();
}

// Whether the command may run here and now.
Status Dispatcher::check(const Call& call) const {
    const Request& request = *call.request;
    TRY_OK(check_state(call));
    TRY_OK(check_snapshot(request, *call.command));
    if (!has_transaction_number(request)) return {};
    if (request.session->is_transaction)
        return Error(ErrorCode::command_not_supported,
                     "multi-document transactions are not supported yet; "
                     "docs/compatibility.md lists what is");
    if (member_ != nullptr && !member_->replication->is_replica_set())
        return Error(ErrorCode::illegal_operation,
                     "Transaction numbers are only allowed on a replica set member or mongos");
    if (!call.has(flags::retryable))
        return Error(ErrorCode::not_a_retryable_write_command,
                     "txnNumber may only be provided for multi-document transactions and "
                     "retryable write commands. autocommit:false was not provided, and " +
                         std::string(request.name) + " is not a retryable write command.");
    return {};
}

bool Dispatcher::needs_preparation(const Call& call) const {
    const Request& request = *call.request;
    if (member_ == nullptr) return reads_snapshot(request, *call.command);
    return has_transaction_number(request) || (request.read_concern && call.has(flags::reads));
}

// What a request waits for before it runs: the moment it reads at, its session.
async::Task<Status> Dispatcher::prepare(Call& call) {
    const Request& request = *call.request;
    if (member_ == nullptr) co_return co_await choose_snapshot(call);
    if (has_transaction_number(request)) {
        replication::SessionId id = request.session->id;
        CO_TRY(call.session,
               co_await member_->sessions->check_out(std::move(id),
                                                     *request.session->txn_number,
                                                     call.operation->deadline,
                                                     call.operation->cancellation));
        call.invocation->session = call.session.get();
        CO_TRY_OK(member_->sessions->ensure_collections());
    }
    if (request.read_concern && call.has(flags::reads)) {
        CO_TRY(call.invocation->read_at,
               co_await member_->replication->await_read_concern(
                   *request.read_concern, call.operation->deadline, call.operation->cancellation));
    }
    co_return Status();
}

// Whether a write that did not come through a router was refused because the placement of its
// collection is changing: it waits, since nobody would repeat it. Nothing has been done yet.
bool Dispatcher::waits_for_placement(const Call& call, const Status& status) const {
    if (status || status.error().code() != ErrorCode::stale_config) return false;
    const Request& request = *call.request;
    return member_ != nullptr && member_->placement && call.has(flags::writes) &&
           call.invocation->last_write.is_null() && request.shard_version.is_empty() &&
           request.database_version.is_empty() && !request.is_internal;
}

// failCommand's blockConnection: like any other waiting it ends with the operation.
async::Task<Status> Dispatcher::block(Call& call, Duration time) {
    async::Notification never;
    const Instant due = std::min(node_.clock.now() + time, call.operation->deadline);
    async::Cancellation cancellation = call.operation->cancellation;
    co_await never.wait(node_.clock, due, never.ticket(), cancellation);
    co_return call.operation->check(node_.clock);
}

async::Task<Status> Dispatcher::execute(Call& call) {
    Invocation& invocation = *call.invocation;
    const Request& request = *call.request;
    if (member_ != nullptr) {
        Status outcome;
        {
            std::optional<WriteGate::Pass> pass;
            if (call.has(flags::writes)) pass = member_->write_gate.try_enter();
            if (call.has(flags::writes) && !pass) {
                CO_TRY(pass, co_await member_->write_gate.enter(node_.clock, *call.operation));
            }
            outcome = co_await call.command->on_member(*member_, invocation);
        }
        if (!outcome) {
            // What it wrote before it failed, or found done by others, is waited for all the same.
            if (!invocation.last_write.is_null() && call.operation->check(node_.clock) &&
                settle_write_concern(call))
                co_await await_write_concern(call);
            co_return outcome;
        }
        const bool is_linearizable =
            request.read_concern &&
            request.read_concern->level == replication::ReadLevel::linearizable;
        if (is_linearizable && call.has(flags::reads)) {
            CO_TRY_OK(co_await member_->replication->await_linearizable(
                call.operation->deadline, call.operation->cancellation));
        }
        if (settle_write_concern(call)) co_await await_write_concern(call);
    } else {
        CO_TRY_OK(co_await call.command->on_router(*router_, invocation));
    }
    co_return Status();
}

// A shard that refused a request as stale asks what the config servers say before it answers, so
// that the router's next attempt finds it wiser.
async::Task<void> Dispatcher::learn_placement(Call& call, Error error) {
    ASSERT(member_ != nullptr);
    auto ns = call.request->collection();
    // The refusal may be about another namespace than the command's first field names.
    if (!error.details().empty()) {
        const bson::View details(error.details().data());
        const bson::Value db = details["db"];
        if (details["ns"].is_string()) ns = Namespace::split(details["ns"].as_string());
        if (db.is_string()) ns = Namespace{std::string(db.as_string()), "$cmd"};
    }
    if (!ns) co_return;
    co_await member_->placement->recover(*ns, std::move(error), call.operation->deadline);
}

// Which write concern the answer waits for; false: for none.
bool Dispatcher::settle_write_concern(Call& call) const {
    ASSERT(member_ != nullptr);
    Invocation& invocation = *call.invocation;
    const bool takes_one = call.has(flags::writes) || call.has(flags::waits_write_concern);
    // A session's statement that was executed before is as new as the session's last write.
    if (invocation.session != nullptr && invocation.last_write < invocation.session->last_write())
        invocation.last_write = invocation.session->last_write();
    // A standalone's writes have no position, but their journal can be waited for.
    const bool has_position =
        !invocation.last_write.is_null() || !member_->replication->is_replica_set();
    if (!takes_one || !has_position || invocation.has_write_concern_error) return false;
    call.write_concern = call.request->write_concern
                             ? *call.request->write_concern
                             : member_->replication->default_write_concern();
    return !call.write_concern.is_unacknowledged();
}

async::Task<void> Dispatcher::await_write_concern(Call& call) {
    ASSERT(member_ != nullptr);
    const Instant deadline = call.operation->deadline;
    auto status = co_await member_->replication->await_write_concern(
        call.invocation->last_write, call.write_concern, deadline, call.operation->cancellation);
    if (status) co_return;
    call.write_concern_failure = status.error();
    if (status.error().code() == ErrorCode::write_concern_timeout)
        node_.metrics.write_concern_timeouts.fetch_add(1);
}

void append_write_concern_error(const Error& error,
                                const replication::WriteConcern& concern,
                                bson::Builder& reply) {
    bson::Builder object = reply.object("writeConcernError");
    object.append("code", static_cast<std::int32_t>(error.code()));
    object.append("codeName", code_name(error.code()));
    object.append("errmsg", error.reason());
    bson::Builder info = object.object("errInfo");
    if (error.code() == ErrorCode::write_concern_timeout) info.append("wtimeout", true);
    info.append("writeConcern", concern.to_bson());
}

void Dispatcher::complete(Call& call, const Status& status, bson::Builder& body) const {
    if (status) {
        if (call.write_concern_failure) {
            append_write_concern_error(*call.write_concern_failure, call.write_concern, body);
        } else if (call.failure && call.failure->write_concern_error &&
                   !call.invocation->has_write_concern_error) {
            body.append("writeConcernError", *call.failure->write_concern_error);
        }
        body.append("ok", 1.0);
        if (call.write_concern_failure)
            append_labels(call, call.write_concern_failure->code(), body);
        else if (call.failure && call.failure->write_concern_error)
            append_labels(
                call,
                static_cast<ErrorCode>((*call.failure->write_concern_error)["code"].to_int64()),
                body);
    } else {
        append_error(call, status.error(), body);
        if (call.write_concern_failure)
            append_write_concern_error(*call.write_concern_failure, call.write_concern, body);
    }
    append_times(call, body);
}

void Dispatcher::append_error(Call& call, const Error& error, bson::Builder& body) const {
    node_.metrics.asserts_user.fetch_add(1, std::memory_order_relaxed);
    constexpr unsigned topology_classes = error_class::not_primary | error_class::recovering;
    // A router's topology never changes (see hello): what a shard's primary did is no reason for
    // drivers to take the router for gone and to wait for its next hello. Its own end is.
    const bool says_topology = member_ != nullptr || !node_.is_shutting_down;
    if (says_topology && has_class(error.code(), topology_classes)) {
        bson::Builder version = body.object("topologyVersion");
        version.append("processId", node_.process.process_id);
        version.append("counter",
                       member_ != nullptr ? member_->replication->topology_version() : 0);
    }
    body.append("ok", 0.0).append("errmsg", error.reason());
    body.append("code", static_cast<std::int32_t>(error.code()));
    body.append("codeName", code_name(error.code()));
    if (!error.details().empty()) body.append_all(bson::View(error.details().data()));
    append_labels(call, error.code(), body);
}

void Dispatcher::append_labels(const Call& call, ErrorCode code, bson::Builder& body) const {
    std::vector<std::string> labels;
    if (call.failure && call.failure->has_labels) {
        labels = call.failure->labels;
    } else {
        if (call.invocation) labels = call.invocation->error_labels;
        const bool is_retryable_write = call.request && call.request->session &&
                                        call.request->session->txn_number &&
                                        !call.request->session->is_transaction;
        // A router retries by itself; what it could not mend is not retried blindly by drivers,
        // save for its own shutdown.
        const bool counts = member_ != nullptr ? has_class(code, error_class::retriable)
                                               : has_class(code, error_class::shutting_down);
        if (is_retryable_write && counts && !call.client->is_internal) {
            labels.emplace_back("RetryableWriteError");
            if (call.invocation && call.invocation->last_write.is_null())
                labels.emplace_back("NoWritesPerformed");
        }
    }
    if (labels.empty()) return;
    auto list = body.array("errorLabels");
    for (const std::string& label : labels)
        list.append(label);
}

// {$clusterTime: {clusterTime, signature}}. In every reply, so that only the time is written anew.
void append_signed_time(Timestamp now, bson::Builder& body) {
    static const bson::Document sample = [] {
        static constexpr char no_hash[20] = {};
        bson::Builder builder;
        bson::Builder time = builder.object("$clusterTime");
        time.append("clusterTime", Timestamp());
        bson::Builder signature = time.object("signature");
        signature.append(
            "hash",
            bson::Binary{bson::BinarySubtype::generic, std::string_view(no_hash, sizeof(no_hash))});
        signature.append("keyId", std::int64_t{0});
        signature.done();
        time.done();
        return std::move(builder).finish();
    }();
    static const auto place = static_cast<std::size_t>(
        sample["$clusterTime"].as_view()["clusterTime"].bytes().data() - sample.bytes().data());
    std::array<char, 128> bytes;
    ASSERT(sample.size() <= bytes.size());
    std::memcpy(bytes.data(), sample.bytes().data(), sample.size());
    const std::uint64_t packed = now.packed();
    std::memcpy(bytes.data() + place, &packed, sizeof(packed));
    body.append_all(bson::View(bytes.data()));
}

void Dispatcher::append_times(const Call& call, bson::Builder& body) const {
    if (member_ != nullptr && member_->replication->oplog() == nullptr) return;
    const Timestamp now = node_.logical_clock.now();
    if (now.is_null()) return;
    append_signed_time(now, body);
    // A router's is the newest its shards told: the cluster time itself would make a later causally
    // consistent read wait for a shard that has nothing to say.
    const bool has_time = call.invocation && !call.invocation->last_write.is_null();
    Timestamp operation_time = now;
    if (has_time)
        operation_time = call.invocation->last_write.timestamp;
    else if (member_ != nullptr)
        operation_time = member_->replication->last_applied().timestamp;
    if (!operation_time.is_null()) body.append("operationTime", operation_time);
}

void Dispatcher::count(const Call& call, const Status& status, std::size_t reply_bytes) const {
    Metrics& metrics = node_.metrics;
    metrics.note_command(call.command->name, !status);
    const Duration taken = node_.clock.now() - call.operation->started;
    const bool is_write = is_data_write(*call.command);
    switch (call.command->counted) {
        case Counted::query:
            metrics.operations.query.fetch_add(1);
            break;
        case Counted::getmore:
            metrics.operations.getmore.fetch_add(1);
            break;
        case Counted::command:
            metrics.operations.command.fetch_add(1);
            break;
        default:
            break;  // Writes count each statement themselves.
    }
    LatencyKind kind = LatencyKind::commands;
    if (is_write && call.has(flags::retryable))  // DDL is a command.
        kind = LatencyKind::writes;
    else if (call.has(flags::reads))
        kind = LatencyKind::reads;
    LatencyCounter* const counters[] = {
        &metrics.reads, &metrics.writes, &metrics.command_latency};
    counters[static_cast<std::size_t>(kind)]->add(taken);
    const bool has_ns = call.invocation && !call.invocation->ns.collection.empty();
    if (has_ns)
        metrics.note(call.invocation->ns,
                     {top_kind(call.command->counted), kind, is_write, taken});
    if (node_.profiler.is_of_interest(taken) && !call.has(flags::quiet))
        record(call, status, taken, reply_bytes);
}

// For the profiler and the log of slow operations.
void Dispatcher::record(const Call& call,
                        const Status& status,
                        Duration taken,
                        std::size_t reply_bytes) const {
    const Request& request = *call.request;
    const bool has_ns = call.invocation && !call.invocation->ns.collection.empty();
    const bool is_modify = call.command->name.starts_with("findAnd") ||
                           call.command->name.starts_with("findand");
    const ProfileEntry entry{
        .operation = *call.operation,
        .stats = call.operation->stats,
        .op = is_modify ? "command" : kind_name(call.command->counted),
        .db = request.db,
        .ns = has_ns ? call.invocation->ns.to_string() : namespace_of(request, *call.command),
        .command = shown_command(request),
        .plan_summary = node_.operations.plan_summary(*call.operation),
        .protocol = call.message.op_code == wire::OpCode::query ? "op_query" : "op_msg",
        .response_bytes = static_cast<std::int64_t>(reply_bytes),
        .taken = taken,
        .error = status ? nullptr : &status.error(),
        .has_awaited_data = call.operation->await_deadline != Instant::max()};
    record_profile(node_, member_, entry);
}

}  // namespace tessera::commands
