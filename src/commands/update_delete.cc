// SPDX-License-Identifier: Apache-2.0
//
// update and delete: each statement through Statement, the answers gathered as for insert.
#include <algorithm>
#include <utility>

#include "commands/profile.h"
#include "commands/statement.h"
#include "commands/support.h"
#include "commands/write_commands.h"
#include "commands/write_on_router.h"

namespace tessera::commands {
namespace {

constexpr std::string_view update_statement = "update.updates";
constexpr std::string_view delete_statement = "delete.deletes";

Status check_statement_fields(bson::View statement,
                              std::string_view struct_name,
                              std::initializer_list<std::string_view> known) {
    for (const bson::Element& field : statement)
        if (std::find(known.begin(), known.end(), field.name) == known.end())
            return Error(ErrorCode::idl_unknown_field,
                         "BSON field '" + std::string(struct_name) + "." + std::string(field.name) +
                             "' is an unknown field.");
    return {};
}

Result<StatementSpec> parse_update(bson::View statement, std::size_t index) {
    TRY_OK(check_statement_fields(statement,
                                  update_statement,
                                  {"q",
                                   "u",
                                   "c",
                                   "multi",
                                   "upsert",
                                   "collation",
                                   "arrayFilters",
                                   "hint",
                                   "sort",
                                   "upsertSupplied",
                                   "sampleId",
                                   "includeQueryStatsMetrics",
                                   "allowShardKeyUpdatesWithoutFullShardKeyInQuery"}));
    StatementSpec spec;
    spec.index = index;
    TRY(spec.query, required_object(statement, "q", update_statement));
    spec.update = statement["u"];
    if (spec.update.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'update.updates.u' is missing but a required field");
    if (!spec.update.is_object() && !spec.update.is_array())
        return Error(ErrorCode::failed_to_parse,
                     "Update argument must be either an object or an array");
    spec.array_filters = statement["arrayFilters"];
    spec.constants = statement["c"];
    TRY(spec.is_multi, bool_argument(statement, "multi", false, update_statement));
    TRY(spec.is_upsert, bool_argument(statement, "upsert", false, update_statement));
    TRY(spec.hint, parse_hint(statement["hint"]));
    TRY(spec.sort, object_argument(statement, "sort", update_statement));
    TRY_OK(query::check_collation(statement["collation"]));
    if (spec.is_multi && !spec.sort.is_empty())
        return Error(ErrorCode::failed_to_parse, "Cannot specify sort with multi=true");
    return spec;
}

Result<StatementSpec> parse_delete(bson::View statement, std::size_t index) {
    TRY_OK(check_statement_fields(
        statement, delete_statement, {"q", "limit", "collation", "hint", "sampleId"}));
    StatementSpec spec;
    spec.index = index;
    TRY(spec.query, required_object(statement, "q", delete_statement));
    const bson::Value limit = statement["limit"];
    if (limit.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'delete.deletes.limit' is missing but a required field");
    if (!limit.is_number() || (limit.to_int64() != 0 && limit.to_int64() != 1))
        return Error(ErrorCode::failed_to_parse,
                     "The limit field in delete objects must be 0 or 1. Got " +
                         std::to_string(limit.to_int64()));
    spec.is_multi = limit.to_int64() == 0;
    TRY(spec.hint, parse_hint(statement["hint"]));
    TRY_OK(query::check_collation(statement["collation"]));
    return spec;
}

struct Totals {
    WriteReply reply;
    std::int64_t modified = 0;
    std::vector<std::pair<std::int64_t, bson::Document>> upserted;
};

// What a statement executed before answered: one document; an upsert's _id from its entry.
Status add_retried(
    WriteCommand& command, std::size_t index, OpTime at, bool is_update, Totals& totals) {
    TRY(const bson::Document bytes, command.member.sessions->entry_at(at));
    TRY(const auto entry, replication::ParsedEntry::parse(bytes));
    if (entry.kind == replication::OpKind::no_op) {
        // Executed on the shard the document was on: its entry says what it did.
        const bool has_moved = entry.object.has("$sessionMigrateInfo") && entry.object2;
        const bson::Value done = has_moved ? (*entry.object2)["op"] : bson::Value();
        if (done.is_string() && done.as_string() != "n") {
            ++totals.reply.count;
            if (is_update && done.as_string() == "i")
                totals.upserted.emplace_back(
                    static_cast<std::int64_t>(index),
                    bson::make("_id", (*entry.object2)["o"].as_view()["_id"]));
            else if (is_update)
                ++totals.modified;
        }
        totals.reply.add_retried(command.statement_id(index));
        return {};
    }
    ++totals.reply.count;
    if (is_update && entry.kind == replication::OpKind::insert)
        totals.upserted.emplace_back(static_cast<std::int64_t>(index),
                                     bson::make("_id", entry.object["_id"]));
    else if (is_update)
        ++totals.modified;
    totals.reply.add_retried(command.statement_id(index));
    command.wrote(at);
    return {};
}

void add(std::int64_t& counter, std::int64_t number) {
    counter = std::max<std::int64_t>(counter, 0) + number;
}

// For the profiler and the log of slow operations.
void note_statement(OperationStats& stats, const StatementResult& result, bool is_update) {
    if (!is_update) {
        add(stats.deleted, result.matched);
        return;
    }
    const std::int64_t upserted = result.upserted_id ? 1 : 0;
    add(stats.matched, result.matched - upserted);
    add(stats.modified, result.modified);
    add(stats.upserted, upserted);
}

async::Task<Status> run_statement(
    WriteCommand& command, bson::View given, std::size_t index, bool is_update, Totals& totals) {
    CO_TRY(const auto executed, command.executed(index));
    if (executed) co_return add_retried(command, index, *executed, is_update, totals);
    CO_TRY(const StatementSpec spec,
           is_update ? parse_update(given, index) : parse_delete(given, index));
    if (command.invocation.session != nullptr && spec.is_multi)
        co_return Error(ErrorCode::invalid_options,
                        is_update ? "Cannot use retryable writes with multi=true"
                                  : "Cannot use retryable writes with limit=0");
    auto& counters = command.member.metrics.operations;
    (is_update ? counters.update : counters.remove).fetch_add(1, std::memory_order_relaxed);
    CO_TRY(Statement statement, Statement::parse(command, spec));
    auto done = co_await statement.run();
    if (!done) co_return std::move(done).error();
    const StatementResult& result = *done;
    note_statement(command.invocation.operation->stats, result, is_update);
    totals.reply.count += result.matched;
    totals.modified += result.modified;
    if (result.upserted_id)
        totals.upserted.emplace_back(static_cast<std::int64_t>(index), *result.upserted_id);
    co_return Status();
}

void append_totals(const WriteCommand& command,
                   const Totals& totals,
                   bool is_update,
                   bson::Builder& reply) {
    totals.reply.append_head(reply);
    if (!totals.upserted.empty()) {
        auto list = reply.array("upserted");
        for (const auto& [index, id] : totals.upserted) {
            bson::Builder entry = list.object();
            entry.append_integer("index", index);
            entry.append_all(id);
        }
    }
    if (is_update) append_count(reply, "nModified", totals.modified);
    totals.reply.append_tail(command, reply);
}

// A statement's own document in the profile.
class StatementProfile {
public:
    explicit StatementProfile(WriteCommand& command)
        : command_(command),
          operation_(*command.invocation.operation),
          before_(std::exchange(operation_.stats, OperationStats())),
          started_(command.member.clock.now()) {}

    void record(bson::View statement, bool is_update, const Status& status) {
        Member& member = command_.member;
        bson::Builder shown;
        for (const bson::Element& field : statement)
            shown.append(field);
        if (is_update && !statement.has("multi")) shown.append("multi", false);
        if (is_update && !statement.has("upsert")) shown.append("upsert", false);
        const ProfileEntry entry{.operation = operation_,
                                 .stats = operation_.stats,
                                 .op = is_update ? "update" : "remove",
                                 .db = command_.ns.db,
                                 .ns = command_.ns.to_string(),
                                 .command = shortened(std::move(shown).finish()),
                                 .plan_summary = member.operations.plan_summary(operation_),
                                 .taken = member.clock.now() - started_,
                                 .error = status ? nullptr : &status.error(),
                                 .is_logged_apart = true};
        record_profile(member, &member, entry);
        operation_.stats.add(before_);
        operation_.stats.is_profiled = true;
    }

private:
    WriteCommand& command_;
    Operation& operation_;
    const OperationStats before_;
    const Instant started_;
};

async::Task<Status> run_statements(Member& member, Invocation& invocation, bool is_update) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields(is_update ? "update" : "delete",
                                         {is_update ? "updates" : "deletes",
                                          "ordered",
                                          "bypassDocumentValidation",
                                          "let",
                                          "stmtId",
                                          "stmtIds",
                                          "encryptionInformation",
                                          "isTimeseriesNamespace",
                                          "bypassEmptyTsReplacement"}));
    CO_TRY(const auto statements, request.documents(is_update ? "updates" : "deletes"));
    CO_TRY(WriteCommand command, parse_write_command(member, invocation, statements.size()));
    Totals totals;
    for (std::size_t i = 0; i < statements.size(); ++i) {
        CO_TRY_OK(invocation.operation->check(member.clock));
        std::optional<StatementProfile> profile;
        if (member.profiler.is_watching()) profile.emplace(command);
        const auto status = co_await run_statement(command, statements[i], i, is_update, totals);
        if (profile) profile->record(statements[i], is_update, status);
        if (status) continue;
        if (ends_command(status.error())) co_return status.error();
        totals.reply.add_error(static_cast<std::int64_t>(i), status.error());
        if (command.is_ordered) break;
    }
    append_totals(command, totals, is_update, invocation.reply);
    co_return Status();
}

async::Task<Status> update_on_member(Member& member, Invocation& invocation) {
    co_return co_await run_statements(member, invocation, true);
}
async::Task<Status> delete_on_member(Member& member, Invocation& invocation) {
    co_return co_await run_statements(member, invocation, false);
}

}  // namespace

const Command update_command = {"update",
                                flags::writes | flags::retryable,
                                update_on_member,
                                update_on_router,
                                Counted::update,
                                "Changes documents."};
const Command delete_command = {"delete",
                                flags::writes | flags::retryable,
                                delete_on_member,
                                delete_on_router,
                                Counted::remove,
                                "Removes documents."};

}  // namespace tessera::commands
