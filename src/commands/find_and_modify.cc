// SPDX-License-Identifier: Apache-2.0
//
// findAndModify: one statement that also returns the document, before or after. Retries answer from
// the image kept with the first execution (config.image_collection).
#include "commands/statement.h"
#include "commands/support.h"
#include "commands/write_commands.h"
#include "commands/write_on_router.h"
#include "query/projection/projection.h"

namespace tessera::commands {
namespace {

constexpr std::string_view name = "findAndModify";

struct Arguments {
    StatementSpec spec;
    bool is_remove = false;
    bool returns_new = false;
    bson::View fields;
};

Result<Arguments> parse(const Request& request) {
    const bson::View body = request.body;
    TRY_OK(request.check_known_fields(
        name, {"query", "sort", "remove", "update", "new", "fields", "upsert", "arrayFilters",
               "hint", "collation", "bypassDocumentValidation", "let", "stmtId", "stmtIds",
               "encryptionInformation", "sampleId", "bypassEmptyTsReplacement"}));
    Arguments args;
    TRY(args.spec.query, object_argument(body, "query", name));
    TRY(args.spec.sort, object_argument(body, "sort", name));
    TRY(args.is_remove, bool_argument(body, "remove", false, name));
    TRY(args.returns_new, bool_argument(body, "new", false, name));
    TRY(args.fields, object_argument(body, "fields", name));
    TRY(args.spec.is_upsert, bool_argument(body, "upsert", false, name));
    TRY(args.spec.hint, parse_hint(body["hint"]));
    TRY_OK(query::check_collation(body["collation"]));
    args.spec.update = body["update"];
    args.spec.array_filters = body["arrayFilters"];
    const bool has_update = !args.spec.update.is_missing();
    if (args.is_remove && has_update)
        return Error(ErrorCode::failed_to_parse, "Cannot specify both an update and remove=true");
    if (!args.is_remove && !has_update)
        return Error(ErrorCode::failed_to_parse,
                     "Either an update or remove=true must be specified");
    if (args.is_remove && args.spec.is_upsert)
        return Error(ErrorCode::failed_to_parse, "Cannot specify both upsert=true and remove=true");
    if (args.is_remove && args.returns_new)
        return Error(ErrorCode::failed_to_parse,
                     "Cannot specify both new=true and remove=true; 'remove' always returns the "
                     "deleted document");
    if (has_update && !args.spec.update.is_object() && !args.spec.update.is_array())
        return Error(ErrorCode::failed_to_parse,
                     "Update argument must be either an object or an array");
    args.spec.keeps_image = true;
    args.spec.wants_post_image = args.returns_new;
    return args;
}

Status append_value(Member& member, const Request& request, const Arguments& args,
                    const std::optional<bson::Document>& value, bson::Builder& reply) {
    if (!value) {
        reply.append_null("value");
        return {};
    }
    if (args.fields.is_empty()) {
        reply.append("value", *value);
        return {};
    }
    TRY(auto context, make_expression_context(member, request));
    const query::AggregationCompiler expressions(std::move(context));
    query::FilterOptions filter_options;
    filter_options.expressions = &expressions;
    TRY(const auto filter, query::Filter::parse(args.spec.query, filter_options));
    query::ProjectionOptions options;
    options.expressions = &expressions;
    options.query = &filter;
    TRY(const auto projection, query::Projection::parse(args.fields, options));
    query::ProjectionContext projection_context;
    query::ProjectionInput input;
    if (projection.needs_matched_index()) {
        TRY([[maybe_unused]] const bool matches,
            filter.matches(*value, projection_context.match));
        input.matched_index = projection_context.match.matched_index;
    }
    std::string projected;
    TRY_OK(projection.apply(*value, input, projection_context, projected));
    reply.append("value", bson::View(projected.data()));
    return {};
}

void append_last_error(const Arguments& args, const StatementResult& result, bson::Builder& reply) {
    bson::Builder last = reply.object("lastErrorObject");
    last.append("n", static_cast<std::int32_t>(result.matched));
    if (args.is_remove) return;
    last.append("updatedExisting", result.matched > 0 && !result.upserted_id);
    if (result.upserted_id) last.append("upserted", (*result.upserted_id)["_id"]);
}

// The answer of a statement executed before, from its oplog entry and image.
Result<StatementResult> answer_again(WriteCommand& command, const Arguments& args, OpTime at) {
    TRY(const bson::Document bytes, command.member.sessions->entry_at(at));
    TRY(auto entry, replication::ParsedEntry::parse(bytes));
    StatementResult result;
    command.wrote(at);
    // Executed on another shard, before the document moved here: that shard's entry stands for it.
    bson::Document original;
    if (entry.object.has("$sessionMigrateInfo") && entry.object2) {
        original = bson::Document(*entry.object2);
        TRY(entry, replication::ParsedEntry::parse(original));
    }
    if (entry.kind == replication::OpKind::no_op) return result;
    const bool was_removed = entry.kind == replication::OpKind::remove;
    if (was_removed != args.is_remove)
        return Error(location(40606),
                     "findAndModify retry request does not match the operation it repeats");
    result.matched = 1;
    if (entry.kind == replication::OpKind::insert) {
        result.upserted_id = bson::make("_id", entry.object["_id"]);
        if (args.returns_new) result.image = bson::Document(entry.object);
        return result;
    }
    TRY(result.image,
        command.member.sessions->image_of(command.invocation.session->id(),
                                          command.invocation.session->txn_number(), at));
    return result;
}

async::Task<Status> find_and_modify(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(const Arguments args, parse(request));
    CO_TRY(WriteCommand command, parse_write_command(member, invocation, 1));
    CO_TRY(const auto executed, command.executed(0));
    StatementResult result;
    if (executed) {
        CO_TRY(result, answer_again(command, args, *executed));
    } else {
        auto& counters = member.metrics.operations;
        (args.is_remove ? counters.remove : counters.update).fetch_add(1);
        CO_TRY(Statement statement, Statement::parse(command, args.spec));
        CO_TRY(result, co_await statement.run());
        OperationStats& stats = invocation.operation->stats;
        const std::int64_t upserted = result.upserted_id ? 1 : 0;
        if (args.is_remove) {
            stats.deleted = result.matched;
        } else {
            stats.matched = result.matched - upserted;
            stats.modified = result.modified;
            stats.upserted = upserted;
        }
    }
    append_last_error(args, result, invocation.reply);
    CO_TRY_OK(append_value(member, request, args, result.image, invocation.reply));
    if (executed) {
        auto list = invocation.reply.array("retriedStmtIds");
        list.append(command.statement_id(0));
        list.done();
        invocation.reply.append("retriedStmtId", command.statement_id(0));
    }
    co_return Status();
}

}  // namespace

const Command find_and_modify_command = {"findAndModify", flags::writes | flags::retryable,
                                         find_and_modify, find_and_modify_on_router,
                                         Counted::update,
                                         "Changes or removes one document and returns it."};
const Command find_and_modify_lower_command = {"findandmodify",
                                               flags::writes | flags::retryable | flags::hidden,
                                               find_and_modify, find_and_modify_on_router,
                                               Counted::update, "findAndModify"};

}  // namespace tessera::commands
