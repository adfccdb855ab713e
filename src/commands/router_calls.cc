// SPDX-License-Identifier: Apache-2.0
#include "commands/router_calls.h"

#include <algorithm>

#include "commands/support.h"

namespace tessera::commands {
namespace {

sharding::ReadMode read_mode(ReadPreference::Mode mode) {
    switch (mode) {
        case ReadPreference::Mode::primary:
            return sharding::ReadMode::primary;
        case ReadPreference::Mode::primary_preferred:
            return sharding::ReadMode::primary_preferred;
        case ReadPreference::Mode::secondary:
            return sharding::ReadMode::secondary;
        case ReadPreference::Mode::secondary_preferred:
            return sharding::ReadMode::secondary_preferred;
        case ReadPreference::Mode::nearest:
            break;
    }
    return sharding::ReadMode::nearest;
}

bool is_of_this_hop(std::string_view name) {
    return name == "$clusterTime" || name == "shardVersion" || name == "databaseVersion" ||
           name == "$configTime" || name == "$topologyTime";
}

}  // namespace

Instant routing_deadline(Router& router, const Operation& operation) {
    return std::min(operation.deadline, router.clock.now() + routing_patience);
}

sharding::CallOptions primary_options(const Invocation& invocation, bool is_retryable) {
    sharding::CallOptions options;
    options.deadline = invocation.operation->deadline;
    options.is_retryable = is_retryable;
    options.cancellation = invocation.operation->cancellation;
    return options;
}

sharding::CallOptions call_options(const Invocation& invocation, bool is_retryable) {
    sharding::CallOptions options = primary_options(invocation, is_retryable);
    const ReadPreference& preference = invocation.request.read_preference;
    options.read_mode = read_mode(preference.mode);
    if (!preference.tag_sets.empty()) {
        bson::ArrayBuilder tags;
        for (const bson::View each : preference.tag_sets)
            tags.append(each);
        options.tag_sets = std::move(tags).finish();
    }
    return options;
}

bson::Document forwarded(const Request& request,
                         const routing::ShardTarget* target,
                         std::initializer_list<std::string_view> without) {
    std::string bytes;
    bytes.reserve(request.body.size() + 256);
    {
        bson::Builder command(bytes);
        const auto end = request.body.end();
        auto kept = request.body.begin();  // What is kept is copied in whole runs.
        for (auto field = kept; field != end; ++field) {
            const bool is_kept =
                !is_of_this_hop(field->name) &&
                std::find(without.begin(), without.end(), field->name) == without.end();
            if (is_kept) continue;
            command.append_range(kept, field);
            kept = std::next(field);
        }
        command.append_range(kept, end);
        if (target != nullptr && target->shard != sharding::config_shard)
            target->append_versions(command);
    }
    return bson::Document::adopt(std::move(bytes));
}

void append_read_context(const Request& request,
                         std::string_view db,
                         const routing::ShardTarget* target,
                         bson::Builder& command) {
    for (const std::string_view name :
         {"lsid", "readConcern", "$readPreference", "maxTimeMS", "comment"})
        command.append(name, request.body[name]);
    if (target != nullptr && target->shard != sharding::config_shard)
        target->append_versions(command);
    command.append("$db", db);
}

void append_write_context(const Request& request,
                          std::string_view db,
                          const routing::ShardTarget* target,
                          bson::Builder& command) {
    for (const std::string_view name : {"lsid", "txnNumber", "maxTimeMS", "comment"})
        command.append(name, request.body[name]);
    const bson::Value concern = request.body["writeConcern"];
    const bool is_unacknowledged =
        request.write_concern && request.write_concern->is_unacknowledged();
    if (is_unacknowledged)
        command.append("writeConcern", bson::make("w", 1));
    else if (concern.is_object() && !concern.as_view().is_empty())
        command.append("writeConcern", concern);
    else
        command.append("writeConcern", bson::make("w", "majority"));
    if (target != nullptr && target->shard != sharding::config_shard)
        target->append_versions(command);
    command.append("$db", db);
}

void note_time(Invocation& invocation, bson::View reply) {
    const bson::Value time = reply["operationTime"];
    if (time.type() == bson::Type::timestamp)
        invocation.last_write.timestamp =
            std::max(invocation.last_write.timestamp, time.as_timestamp());
}

Error call_error(Router& router, const Operation& operation, Error error) {
    if (auto status = operation.check(router.clock); !status) return std::move(status).error();
    return error;
}

Result<std::vector<routing::ShardTarget>> target_read(const Request& request,
                                                      const routing::RoutingInfo& info,
                                                      bson::View filter,
                                                      const routing::FilterOptions& options) {
    if (request.read_concern && !request.read_concern->at_cluster_time.is_null())
        return routing::target_query_at(
            info, filter, request.read_concern->at_cluster_time, options);
    return routing::target_query(info, filter, options);
}

async::Task<Result<bson::Document>> call_shard(Router& router,
                                               Invocation& invocation,
                                               routing::ShardName shard,
                                               bson::Document command,
                                               sharding::CallOptions options) {
    auto reply =
        co_await router.shards.call(std::move(shard), std::move(command), std::move(options));
    if (!reply) co_return call_error(router, *invocation.operation, std::move(reply).error());
    note_time(invocation, *reply);
    co_return sharding::checked(std::move(reply));
}

namespace {

async::Task<void> call_into(Router& router,
                            ShardCommand command,
                            sharding::CallOptions options,
                            ShardAnswer& answer) {
    options.answered_by = &answer.host;
    answer.reply = co_await router.shards.call(
        std::move(command.shard), std::move(command.command), std::move(options));
}

}  // namespace

async::Task<std::vector<ShardAnswer>> call_shards(Router& router,
                                                  Invocation& invocation,
                                                  std::vector<ShardCommand> commands,
                                                  sharding::CallOptions options) {
    std::vector<ShardAnswer> answers;
    answers.reserve(commands.size());  // Tasks below refer to the elements.
    std::vector<async::Task<void>> calls;
    for (ShardCommand& command : commands) {
        answers.push_back(ShardAnswer{command.shard, HostAndPort(), bson::Document()});
        calls.push_back(call_into(router, std::move(command), options, answers.back()));
    }
    if (calls.size() == 1)
        co_await std::move(calls.front());
    else
        co_await async::when_all(std::move(calls));
    for (ShardAnswer& answer : answers) {
        if (answer.reply) {
            note_time(invocation, *answer.reply);
            answer.reply = sharding::checked(std::move(answer.reply));
        } else {
            answer.reply =
                call_error(router, *invocation.operation, std::move(answer.reply).error());
        }
    }
    co_return answers;
}

Status check_answers(const std::vector<ShardAnswer>& answers) {
    const ShardAnswer* failed = nullptr;
    for (const ShardAnswer& answer : answers) {
        if (answer.reply) continue;
        if (routing::needs_new_routing(answer.reply.error().code())) return answer.reply.error();
        if (failed == nullptr) failed = &answer;
    }
    if (failed == nullptr) return {};
    return failed->reply.error();
}

async::Task<Result<bson::Document>> call_config(Router& router,
                                                Invocation& invocation,
                                                bson::Document command) {
    bson::Builder body;
    body.append_all(command);
    body.append("writeConcern", bson::make("w", "majority"));
    body.append("$db", "admin");
    sharding::CallOptions options = primary_options(invocation, true);
    options.deadline = routing_deadline(router, *invocation.operation);
    bson::Document complete = std::move(body).finish();
    co_return co_await call_shard(
        router, invocation, sharding::config_shard, std::move(complete), std::move(options));
}

async::Task<Status> ensure_database(Router& router, Invocation& invocation, std::string db) {
    if (is_on_config_servers(db)) co_return Status();
    if (db == "local")
        co_return Error(ErrorCode::illegal_operation,
                        "Can't write to the local database through "
                        "a router");
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto known = co_await router.routing.get_database(db, deadline);
    if (known) co_return Status();
    if (known.error().code() != ErrorCode::namespace_not_found)
        co_return call_error(router, *invocation.operation, known.error());
    bson::Document create = bson::make("_configsvrCreateDatabase", db);
    const auto created = co_await call_config(router, invocation, std::move(create));
    if (!created) co_return created.error();
    router.routing.forget_database(db);
    co_return Status();
}

async::Task<Result<std::vector<routing::ShardName>>> all_shards(Router& router,
                                                                Invocation& invocation) {
    const Instant deadline = routing_deadline(router, *invocation.operation);
    CO_TRY_OK(co_await router.shards.refresh(deadline));
    co_return router.shards.shards();
}

void append_write_concern_errors(const std::vector<ShardAnswer>& answers, bson::Builder& reply) {
    for (const ShardAnswer& answer : answers) {
        if (!answer.reply) continue;
        const bson::Value error = (*answer.reply)["writeConcernError"];
        if (!error.is_object()) continue;
        reply.append("writeConcernError", error);
        return;
    }
}

void append_payload(bson::View answer, bson::Builder& reply) {
    for (const bson::Element& field : answer) {
        const bool is_generic = field.name == "ok" || field.name == "operationTime" ||
                                field.name == "electionId" || field.name == "opTime" ||
                                field.name == "lastCommittedOpTime" ||
                                field.name == "topologyVersion" || field.name.starts_with("$");
        if (!is_generic) reply.append(field);
    }
}

}  // namespace tessera::commands
