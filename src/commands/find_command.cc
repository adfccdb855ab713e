// SPDX-License-Identifier: Apache-2.0
//
// find: parsing here; on a member over a collection by CollectionCursor, over the oplog with a
// tailable cursor by OplogCursor, over a view by the aggregation it stands for; on a router in
// router_find.cc.
#include "commands/find_command.h"

#include "commands/aggregate_command.h"
#include "commands/collection_cursor.h"
#include "commands/cursor_commands.h"
#include "commands/oplog_cursor.h"
#include "commands/placement.h"
#include "commands/router_commands.h"
#include "commands/support.h"

namespace tessera::commands {

Result<query::ExpressionContext> make_expression_context(Node& node, const Request& request) {
    query::ExpressionContext context;
    context.now = node.clock.wall_now();
    context.random_seed = node.random_number();
    if (const Timestamp time = node.logical_clock.now(); !time.is_null())
        context.cluster_time = time;
    TRY(const bson::View let, object_argument(request.body, "let", request.name));
    if (let.is_empty()) return context;
    bson::Builder values;
    bson::Arena arena;
    for (const bson::Element& variable : let) {
        TRY(const auto expression, query::StandaloneExpression::parse(variable.value, context));
        TRY(const bson::Value value, expression->evaluate(bson::View(), arena));
        values.append(variable.name, value);
    }
    context.let = std::move(values).finish();
    return context;
}

Result<query::Hint> parse_hint(const bson::Value& hint) {
    query::Hint result;
    if (hint.is_nullish()) return result;
    if (hint.is_string())
        result.name = hint.as_string();
    else if (hint.is_object())
        result.pattern = bson::Document(hint.as_view());
    else
        return Error(ErrorCode::failed_to_parse, "Hint must be a string or an object");
    return result;
}

Status check_sort(bson::View sort) {
    for (const bson::Element& field : sort) {
        if (field.value.is_object() && field.value.as_view().has("$meta")) continue;
        const bool is_direction = field.value.is_number() &&
                                  (field.value.to_double() == 1 || field.value.to_double() == -1);
        if (!is_direction)
            return Error(location(field.value.is_number() ? 15975 : 15974),
                         field.value.is_number()
                             ? "$sort key ordering must be 1 (for ascending) or -1 (for descending)"
                             : "Illegal key in $sort specification: " + std::string(field.name));
    }
    return {};
}

namespace {

struct FindFields {
    bson::Value filter;
    bson::Value projection;
    bson::Value sort;
    bson::Value hint;
    bson::Value skip;
    bson::Value limit;
    bson::Value batch_size;
    bson::Value single_batch;
    bson::Value min;
    bson::Value max;
    bson::Value return_key;
    bson::Value show_record_id;
    bson::Value tailable;
    bson::Value no_cursor_timeout;
    bson::Value await_data;
    bson::Value allow_partial_results;
    bson::Value collation;
    bson::Value wants_sort_key;
    bson::Value elsewhere;  // Read by others, or of no effect on us.
};

constexpr Argument<FindFields> find_fields[] = {
    {"filter", &FindFields::filter},
    {"projection", &FindFields::projection},
    {"sort", &FindFields::sort},
    {"hint", &FindFields::hint},
    {"skip", &FindFields::skip},
    {"limit", &FindFields::limit},
    {"batchSize", &FindFields::batch_size},
    {"singleBatch", &FindFields::single_batch},
    {"min", &FindFields::min},
    {"max", &FindFields::max},
    {"returnKey", &FindFields::return_key},
    {"showRecordId", &FindFields::show_record_id},
    {"tailable", &FindFields::tailable},
    {"oplogReplay", &FindFields::elsewhere},
    {"noCursorTimeout", &FindFields::no_cursor_timeout},
    {"awaitData", &FindFields::await_data},
    {"allowPartialResults", &FindFields::allow_partial_results},
    {"collation", &FindFields::collation},
    {"allowDiskUse", &FindFields::elsewhere},
    {"let", &FindFields::elsewhere},
    {"term", &FindFields::elsewhere},
    {"readOnce", &FindFields::elsewhere},
    {"$_wantsSortKey", &FindFields::wants_sort_key},
};
constexpr ArgumentTable find_arguments(find_fields);

}  // namespace

Result<FindArguments> FindArguments::parse(const Request& request) {
    constexpr std::string_view name = "FindCommandRequest";
    TRY(const FindFields body, find_arguments.read(request, name));
    FindArguments args;
    TRY(args.ns, request.collection());
    if (!body.filter.is_nullish() && !body.filter.is_object())
        return Error(ErrorCode::type_mismatch, "Expected field filterto be of type object");
    TRY(args.filter, object_value(body.filter, "filter", name));
    TRY(args.projection, object_value(body.projection, "projection", name));
    TRY(args.sort, object_value(body.sort, "sort", name));
    TRY_OK(check_sort(args.sort));
    TRY(args.hint, parse_hint(body.hint));
    TRY(args.min, object_value(body.min, "min", name));
    TRY(args.max, object_value(body.max, "max", name));
    TRY(args.skip, count_value(body.skip, "skip", 0, name));
    TRY(args.limit, count_value(body.limit, "limit", 0, name));
    TRY(args.batch_size, count_value(body.batch_size, "batchSize", default_batch_size, name));
    TRY(args.is_single_batch, bool_value(body.single_batch, "singleBatch", false, name));
    TRY(args.returns_key, bool_value(body.return_key, "returnKey", false, name));
    TRY(args.shows_record_id, bool_value(body.show_record_id, "showRecordId", false, name));
    TRY(args.is_tailable, bool_value(body.tailable, "tailable", false, name));
    TRY(args.awaits_data, bool_value(body.await_data, "awaitData", false, name));
    TRY(args.never_times_out, bool_value(body.no_cursor_timeout, "noCursorTimeout", false, name));
    TRY(args.allows_partial_results,
        bool_value(body.allow_partial_results, "allowPartialResults", false, name));
    args.wants_sort_key = body.wants_sort_key.is_truthy();
    TRY_OK(query::check_collation(body.collation));
    args.collation = body.collation;
    if (args.awaits_data && !args.is_tailable)
        return Error(ErrorCode::failed_to_parse,
                     "Cannot set 'awaitData' without also setting 'tailable'");
    if (args.is_tailable && !args.sort.is_empty())
        return Error(ErrorCode::bad_value,
                     "cannot use tailable option with a sort other than {$natural: 1}");
    return args;
}

Result<CompiledFind> compile_find(Node& node, const Request& request, const FindArguments& args) {
    CompiledFind compiled;
    TRY(auto context, make_expression_context(node, request));
    compiled.expressions = std::make_unique<query::AggregationCompiler>(std::move(context));
    query::FilterOptions filter_options;
    filter_options.expressions = compiled.expressions.get();
    query::ReadRequest& read = compiled.request;
    TRY(read.filter, query::Filter::parse(args.filter, filter_options));
    read.sort = bson::Document(args.sort);
    read.skip = args.skip;
    read.limit = args.limit;
    read.hint = args.hint;
    read.min = bson::Document(args.min);
    read.max = bson::Document(args.max);
    read.is_tailable = args.is_tailable;
    read.sort_bytes_max = static_cast<std::size_t>(node.parameters.query_memory_bytes_max.load());
    compiled.returns_key = args.returns_key;
    compiled.shows_record_id = args.shows_record_id;
    compiled.wants_sort_key = args.wants_sort_key;
    if (args.projection.is_empty()) return compiled;

    query::ProjectionOptions options;
    options.expressions = compiled.expressions.get();
    options.query = &read.filter;
    TRY(compiled.projection, query::Projection::parse(args.projection, options));
    if (compiled.projection->needs_matched_index()) {
        TRY(compiled.positional, query::Filter::parse(args.filter, filter_options));
    }
    std::vector<std::string> paths;
    compiled.projection->add_dependencies(paths);
    bool needs_whole = args.wants_sort_key || !compiled.projection->is_inclusion();
    for (const std::string& path : paths)
        needs_whole |= path.empty();
    if (!needs_whole) read.projection.paths = std::move(paths);
    read.projection.transform_by = bson::Document(args.projection);
    read.projection.is_simple = compiled.projection->is_simple_inclusion();
    return compiled;
}

namespace {

async::Task<Status> find_on_member(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(const FindArguments args, FindArguments::parse(request));
    invocation.ns = args.ns;
    if (member.catalog->find_view(args.ns))
        co_return co_await find_on_view(member, invocation, args);
    CursorOptions options;
    options.ns = args.ns;
    options.is_tailable = args.is_tailable;
    options.awaits_data = args.awaits_data;
    options.never_times_out = args.never_times_out;
    FirstBatch first;
    first.batch_size = args.batch_size;
    first.is_single = args.is_single_batch;
    std::unique_ptr<CursorSource> source;
    if (args.ns.is_oplog() && args.is_tailable) {
        CO_TRY(source, make_oplog_cursor(member, request, args));
    } else {
        CO_TRY(CompiledFind compiled, compile_find(member, request, args));
        CO_TRY(Placement placement, check_placement(member, request, args.ns, false));
        CO_TRY(source,
               make_collection_cursor(
                   member, args.ns, std::move(compiled), std::move(placement), invocation.read_at));
    }
    co_return co_await reply_with_cursor(
        member, invocation, std::move(source), std::move(options), first);
}

}  // namespace

const Command find_documents_command = {"find",
                                        flags::reads,
                                        find_on_member,
                                        find_on_router,
                                        Counted::query,
                                        "Returns the documents that match."};

}  // namespace tessera::commands
