// SPDX-License-Identifier: Apache-2.0
//
// count and distinct on a member. Without a query count answers from the collection's own number.
#include "commands/count_distinct.h"

#include <algorithm>
#include <limits>

#include "commands/aggregate_command.h"
#include "commands/collection_reader.h"
#include "commands/ddl_execution.h"
#include "commands/distinct_values.h"
#include "commands/find_command.h"
#include "commands/member_pipeline.h"
#include "commands/router_commands.h"
#include "commands/support.h"
#include "query/match/path.h"

namespace tessera::commands {

Result<std::int64_t> count_limit(const Request& request) {
    TRY(const std::int64_t limit, integer_argument(request.body, "limit", 0, "count"));
    if (limit == std::numeric_limits<std::int64_t>::min())
        return Error(ErrorCode::bad_value, "the limit of count is out of range");
    return limit < 0 ? -limit : limit;
}

namespace {

struct CountArguments {
    Namespace ns;
    bson::View query;
    std::int64_t skip = 0;
    std::int64_t limit = 0;
    query::Hint hint;
};

Result<CountArguments> parse_count(const Request& request) {
    TRY_OK(request.check_known_fields(
        "count",
        {"query", "limit", "skip", "hint", "collation", "fields", "encryptionInformation"}));
    CountArguments args;
    TRY(args.ns, request.collection());
    TRY(args.query, object_argument(request.body, "query", "count"));
    TRY(args.skip, count_argument(request.body, "skip", 0, "count"));
    TRY(args.limit, count_limit(request));
    TRY(args.hint, parse_hint(request.body["hint"]));
    TRY_OK(query::check_collation(request.body["collation"]));
    return args;
}

std::int64_t within(std::int64_t count, const CountArguments& args) {
    count = std::max<std::int64_t>(0, count - args.skip);
    return args.limit > 0 ? std::min(count, args.limit) : count;
}

Result<query::ReadRequest> make_request(Member& member, const Request& request, bson::View filter) {
    TRY(auto context, make_expression_context(member, request));
    const query::AggregationCompiler compiler(std::move(context));
    query::FilterOptions options;
    options.expressions = &compiler;
    query::ReadRequest read;
    TRY(read.filter, query::Filter::parse(filter, options));
    return read;
}

// A view over a sharded collection is the router's to take apart: the check says so.
Status check_below_view(Member& member, const Request& request, const Namespace& ns) {
    const auto placement = check_placement(member, request, ns, false);
    if (!placement) return placement.error();
    return {};
}

Result<std::int64_t> count_pipeline(Member& member,
                                    Invocation& invocation,
                                    const CountArguments& args) {
    TRY(auto expressions, make_expression_context(member, invocation.request));
    MemberPipelineServices services(
        member, invocation.operation, std::move(expressions), invocation.read_at);
    std::vector<bson::Document> stages = {bson::make("$match", args.query)};
    TRY(const auto cursor, services.open({args.ns.db, args.ns.collection}, stages, bson::View()));
    std::int64_t count = 0;
    while (true) {
        TRY_OK(services.check_interrupt());
        TRY(const query::Batch batch, cursor->next());
        count += static_cast<std::int64_t>(batch.size());
        if (batch.is_last) return within(count, args);
    }
}

async::Task<Status> count_on_member(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(const CountArguments args, parse_count(request));
    invocation.ns = args.ns;
    if (member.catalog->find_view(args.ns)) {
        CO_TRY(const auto resolved, resolve_view(member, args.ns));
        CO_TRY_OK(check_below_view(member, request, resolved.ns));
        async::resume_on hop(member.workers);
        co_await hop;
        CO_TRY(const std::int64_t count, count_pipeline(member, invocation, args));
        append_count(invocation.reply, "n", count);
        co_return Status();
    }
    CO_TRY(Placement placement, check_placement(member, request, args.ns, false));
    const auto collection = member.catalog->find(args.ns);
    if (!collection) {
        invocation.reply.append("n", 0);
        co_return Status();
    }
    if (args.query.is_empty() && !placement.filter && !placement.fence &&
        invocation.read_at.is_null()) {
        append_count(invocation.reply, "n", within(collection->count(), args));
        co_return Status();
    }
    CO_TRY(query::ReadRequest read, make_request(member, request, args.query));
    read.hint = args.hint;
    read.purpose = query::ReadPurpose::count;
    read.skip = args.skip;
    read.limit = args.limit;
    CollectionReader reader(
        member, args.ns, std::move(read), std::move(placement), invocation.read_at);
    if (reader.is_long()) {
        async::resume_on hop(member.workers);
        co_await hop;
    }
    reader.set_operation(invocation.operation.get());
    CO_TRY(const std::int64_t count,
           reader.slice([](query::Executor& executor) { return executor.count(); }));
    member.operations.set_plan_summary(*invocation.operation, reader.plan_summary());
    append_count(invocation.reply, "n", count);
    co_return Status();
}

Status distinct_view(Member& member,
                     Invocation& invocation,
                     bson::View query,
                     std::string_view key,
                     DistinctValues& values) {
    TRY(auto expressions, make_expression_context(member, invocation.request));
    MemberPipelineServices services(
        member, invocation.operation, std::move(expressions), invocation.read_at);
    std::vector<bson::Document> stages = {bson::make("$match", query)};
    const Namespace& ns = invocation.ns;
    TRY(const auto cursor, services.open({ns.db, ns.collection}, stages, bson::View()));
    while (true) {
        TRY_OK(services.check_interrupt());
        TRY(const query::Batch batch, cursor->next());
        for (std::size_t i = 0; i < batch.size(); ++i)
            TRY_OK(values.add_at(batch[i].as_object_value(), key));
        if (batch.is_last) return {};
    }
}

Status distinct(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("distinct", {"key", "query", "collation", "hint"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    const bson::Value key = request.body["key"];
    if (!key.is_string())
        return Error(key.is_missing() ? ErrorCode::idl_failed_to_parse : ErrorCode::type_mismatch,
                     key.is_missing()
                         ? "BSON field 'distinct.key' is missing but a required field"
                         : "BSON field 'distinct.key' is the wrong type, expected type 'string'");
    TRY(const bson::View query, object_argument(request.body, "query", "distinct"));
    TRY_OK(query::check_collation(request.body["collation"]));
    DistinctValues values;
    if (member.catalog->find_view(ns)) {
        TRY(const auto resolved, resolve_view(member, ns));
        TRY_OK(check_below_view(member, request, resolved.ns));
        TRY_OK(distinct_view(member, invocation, query, key.as_string(), values));
        values.append(invocation.reply);
        return {};
    }
    TRY(Placement placement, check_placement(member, request, ns, false));
    TRY(query::ReadRequest read, make_request(member, request, query));
    TRY(read.hint, parse_hint(request.body["hint"]));
    read.purpose = query::ReadPurpose::distinct;
    read.distinct_path = key.as_string();
    read.projection.paths = std::vector<std::string>{read.distinct_path};
    CollectionReader reader(member, ns, std::move(read), std::move(placement), invocation.read_at);
    reader.set_operation(invocation.operation.get());
    const auto gather = [&](query::Executor& executor) -> Status {
        while (true) {
            TRY(const bool has_document, executor.next());
            if (!has_document) return {};
            TRY_OK(values.add_at(executor.document().as_object_value(), key.as_string()));
        }
    };
    TRY_OK(reader.slice(gather));
    member.operations.set_plan_summary(*invocation.operation, reader.plan_summary());
    values.append(invocation.reply);
    append_snapshot_time(invocation, invocation.reply);
    return {};
}

}  // namespace

const Command count_command = {"count",
                               flags::reads,
                               count_on_member,
                               count_on_router,
                               Counted::command,
                               "Counts the documents that match."};
const Command distinct_command = {"distinct",
                                  flags::reads,
                                  worker_function<distinct>,
                                  distinct_on_router,
                                  Counted::command,
                                  "Returns a field's distinct values."};

}  // namespace tessera::commands
