// SPDX-License-Identifier: Apache-2.0
#include "commands/statement.h"

#include "commands/support.h"
#include "commands/update_pipeline_compiler.h"
#include "query/plan/executor.h"

namespace tessera::commands {
namespace {

constexpr std::int64_t inline_scan_max = 256;

class Interrupt : public query::InterruptCheck {
public:
    Interrupt(const async::Clock& clock, const Operation& operation)
        : clock_(clock), operation_(operation) {}
    Status check() override { return operation_.check(clock_); }

private:
    const async::Clock& clock_;
    const Operation& operation_;
};

}  // namespace

struct Statement::State {
    State(WriteCommand& its_command, const StatementSpec& its_spec)
        : command(its_command),
          spec(its_spec),
          interrupt(its_command.member.clock, *its_command.invocation.operation) {}

    WriteCommand& command;
    StatementSpec spec;
    Interrupt interrupt;
    std::unique_ptr<query::AggregationCompiler> expressions;
    std::unique_ptr<UpdatePipelines> pipelines;
    query::Filter filter;
    std::optional<query::Update> update;
    query::UpdateContext update_context;
    query::MatchContext match_context;
    std::vector<std::string> immutable_paths;
    std::optional<bson::Uuid> candidates_of;  // The collection they were found in.
    StatementResult result;

    bool is_delete() const { return spec.update.is_missing(); }
    query::ApplyOptions apply_options() const;
    Result<query::ReadRequest> read_request() const;
    Result<std::vector<bson::RecordId>> find_candidates();
    enum class Outcome { written, unchanged, gone };
    Result<Outcome> write_one(bson::RecordId id);
    Result<Outcome> write_found(catalog::Collection& collection, replication::WriteUnit& unit,
                                bson::RecordId id, bson::View document);
    Result<bool> write_by_id(const bson::Value& id);
    Result<bool> attempt_single();
    Status upsert();
    Status delete_found(catalog::Collection& collection, replication::WriteUnit& unit,
                        bson::RecordId id, const bson::Document& before);
    async::Task<Status> run_single();
    async::Task<Status> run_multi();
    async::Task<Status> run_upsert(bool& needs_rerun);
};

Statement::Statement(std::unique_ptr<State> state) : state_(std::move(state)) {}
Statement::Statement(Statement&&) noexcept = default;
Statement::~Statement() = default;

Result<Statement> Statement::parse(WriteCommand& command, const StatementSpec& spec) {
    auto state = std::make_unique<State>(command, spec);
    TRY(auto context, make_expression_context(command.member, command.invocation.request));
    if (!spec.constants.is_nullish() && spec.constants.is_object()) {
        bson::Builder let;
        let.append_all(context.let);
        let.append_all(spec.constants.as_view());
        context.let = std::move(let).finish();
    }
    state->pipelines = std::make_unique<UpdatePipelines>(context);
    state->expressions = std::make_unique<query::AggregationCompiler>(std::move(context));
    query::FilterOptions filter_options;
    filter_options.expressions = state->expressions.get();
    TRY(state->filter, query::Filter::parse(spec.query, filter_options));
    TRY_OK(check_sort(spec.sort));
    if (!spec.update.is_missing()) {
        query::UpdateOptions options;
        options.is_multi = spec.is_multi;
        options.array_filters = spec.array_filters;
        options.pipelines = state->pipelines.get();
        options.constants = spec.constants;
        TRY(auto update, query::Update::parse(spec.update, options));
        state->update.emplace(std::move(update));
    }
    for (const bson::Element& field : command.placement.shard_key.view())
        if (field.name != "_id") state->immutable_paths.emplace_back(field.name);
    return Statement(std::move(state));
}

query::ApplyOptions Statement::State::apply_options() const {
    query::ApplyOptions options;
    options.now = command.member.clock.wall_now();
    options.timestamp = command.member.logical_clock.now();
    options.matched_index = match_context.matched_index;
    options.immutable_paths = immutable_paths;
    options.wants_oplog = command.member.replication->is_replica_set();
    return options;
}

Result<query::ReadRequest> Statement::State::read_request() const {
    query::ReadRequest request;
    query::FilterOptions options;
    options.expressions = expressions.get();
    TRY(request.filter, query::Filter::parse(spec.query, options));
    request.sort = bson::Document(spec.sort);
    request.hint = spec.hint;
    request.ownership = command.placement.filter.get();
    return request;
}

// The records that match, in the plan's order: one, or all of them (eight bytes each).
Result<std::vector<bson::RecordId>> Statement::State::find_candidates() {
    std::vector<bson::RecordId> found;
    const catalog::CollectionLock lock = command.member.catalog->lock_shared(command.ns);
    if (!lock) return found;
    candidates_of = lock->uuid();
    TRY(auto request, read_request());
    if (!spec.is_multi) request.limit = 1;
    TRY(const auto transaction, command.member.engine->begin());
    query::Executor executor(lock->source(), std::move(request), &interrupt);
    TRY_OK(executor.start(*transaction));
    while (true) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        found.push_back(executor.record_id());
    }
    command.invocation.operation->stats.examined(executor.keys_examined(),
                                                 executor.docs_examined());
    command.invocation.operation->stats.has_sort_stage |= executor.has_sort_stage();
    executor.save_state();
    command.member.operations.set_plan_summary(*command.invocation.operation,
                                               executor.plan_summary());
    return found;
}

Status Statement::State::delete_found(catalog::Collection& collection,
                                      replication::WriteUnit& unit,
                                      bson::RecordId id,
                                      const bson::Document& before) {
    if (spec.keeps_image) {
        unit.keep_image(false, before);
        result.image = before;
    }
    TRY_OK(unit.remove(collection, id, before, command.statement_id(spec.index)));
    TRY(const OpTime at, unit.commit());
    command.wrote(at);
    ++result.matched;
    command.member.metrics.documents_deleted.fetch_add(1, std::memory_order_relaxed);
    notify_write(command.member, command, before, before, true);
    return {};
}

// Writes a document just read in the unit's transaction.
Result<Statement::State::Outcome> Statement::State::write_found(catalog::Collection& collection,
                                                                replication::WriteUnit& unit,
                                                                bson::RecordId id,
                                                                bson::View document) {
    TRY(const bool matches, filter.matches(document, match_context));
    if (!matches) return Outcome::gone;
    if (command.placement.filter && !command.placement.filter->owns(document))
        return Outcome::gone;
    const bson::Document before(document);
    if (is_delete()) {
        TRY_OK(delete_found(collection, unit, id, before));
        return Outcome::written;
    }
    TRY(auto applied, update->apply(before, apply_options(), update_context));
    if (applied.is_noop) {
        ++result.matched;
        if (spec.keeps_image) result.image = before;
        note_no_op_write(command);
        return Outcome::unchanged;
    }
    if (spec.keeps_image) {
        unit.keep_image(spec.wants_post_image, spec.wants_post_image ? applied.after : before);
        result.image = spec.wants_post_image ? applied.after : before;
    }
    TRY_OK(unit.update(collection,
                       {id, before, applied.after, applied.oplog, command.statement_id(spec.index)},
                       command.validates));
    TRY(const OpTime at, unit.commit());
    command.wrote(at);
    ++result.matched;
    ++result.modified;
    command.member.metrics.documents_updated.fetch_add(1, std::memory_order_relaxed);
    notify_write(command.member, command, applied.after, applied.after, false);
    return Outcome::written;
}

Result<Statement::State::Outcome> Statement::State::write_one(bson::RecordId id) {
    const catalog::CollectionLock lock = command.member.catalog->lock_shared(command.ns);
    if (!lock || lock->uuid() != candidates_of) {
        // One is looked for again; of many, some are written already.
        if (!spec.is_multi) return Outcome::gone;
        return Error(ErrorCode::query_plan_killed,
                     "collection dropped or renamed while the write was running");
    }
    TRY(auto unit, command.begin_unit());
    TRY(const auto document, lock->find_record(unit.transaction(), id));
    if (!document) return Outcome::gone;
    return write_found(*lock, unit, id, *document);
}

// The common case of one document by its _id: no plan, one read. Returns whether it was there.
Result<bool> Statement::State::write_by_id(const bson::Value& id) {
    const catalog::CollectionLock lock = command.member.catalog->lock_shared(command.ns);
    if (!lock) return false;
    TRY(auto unit, command.begin_unit());
    TRY(const auto found, lock->find_by_id(unit.transaction(), id));
    command.invocation.operation->stats.examined(found ? 1 : 0, found ? 1 : 0);
    if (!found) return false;
    TRY(const Outcome outcome, write_found(*lock, unit, found->id, found->document));
    return outcome != Outcome::gone;
}

// Returns whether something matched; another try is due when a candidate slipped away.
Result<bool> Statement::State::attempt_single() {
    if (const auto id = filter.exact_id(); id && spec.sort.is_empty() && !spec.hint.is_given())
        return write_by_id(*id);
    while (true) {
        TRY_OK(command.invocation.operation->check(command.member.clock));
        TRY(const auto candidates, find_candidates());
        if (candidates.empty()) return false;
        TRY(const Outcome outcome, write_one(candidates.front()));
        if (outcome != Outcome::gone) return true;
    }
}

Status Statement::State::upsert() {
    bson::Arena arena;
    const bson::Value fresh = arena.make(command.member.make_object_id());
    TRY(const bson::Document document,
        update->make_upsert(filter, fresh, apply_options(), update_context));
    TRY(const bson::Document fixed,
        catalog::fix_document(document, command.member.make_object_id()));
    TRY_OK(ensure_collection(command.member, command.invocation, command.ns));
    const catalog::CollectionLock lock = command.member.catalog->lock_shared(command.ns);
    if (!lock) return storage::write_conflict();  // Dropped in between: once more.
    TRY(auto unit, command.begin_unit());
    if (spec.keeps_image && spec.wants_post_image) unit.keep_image(true, fixed);
    TRY_OK(unit.insert(*lock, fixed, command.statement_id(spec.index), command.validates));
    TRY(const OpTime at, unit.commit());
    command.wrote(at);
    if (spec.keeps_image && spec.wants_post_image) result.image = fixed;
    result.matched = 1;
    result.upserted_id = bson::make("_id", fixed["_id"]);
    command.member.metrics.documents_inserted.fetch_add(1, std::memory_order_relaxed);
    notify_write(command.member, command, fixed, fixed, false);
    return {};
}

async::Task<Status> Statement::State::run_single() {
    ConflictBackoff backoff(command.member, *command.invocation.operation);
    while (true) {
        auto found = attempt_single();
        if (found && *found) co_return Status();
        if (found && !spec.is_upsert) {
            note_no_op_write(command);
            co_return Status();
        }
        if (found) {
            bool needs_rerun = false;
            CO_TRY_OK(co_await run_upsert(needs_rerun));
            if (!needs_rerun) co_return Status();
            continue;
        }
        CO_TRY(const bool again, co_await backoff.again(found.error()));
        if (!again) co_return found.error();
    }
}

// Two upserts of one key may meet: the loser finds the winner's document and updates it, when the
// duplicate key is one the query names by equality.
async::Task<Status> Statement::State::run_upsert(bool& needs_rerun) {
    ConflictBackoff backoff(command.member, *command.invocation.operation);
    while (true) {
        const auto status = upsert();
        if (status) co_return Status();
        if (status.error().code() == ErrorCode::duplicate_key) {
            bool is_named = true;
            const bson::View details(status.error().details().data());
            if (status.error().details().empty()) is_named = false;
            else if (const bson::Value key = details["keyValue"]; key.is_object()) {
                for (const bson::Element& field : key.as_view()) {
                    const bson::Value asked = spec.query[field.name];
                    is_named = is_named && !asked.is_missing() &&
                               asked.type() == field.value.type() &&
                               asked.bytes() == field.value.bytes();
                }
            }
            bool is_there = false;
            if (is_named) {
                CO_TRY(const auto candidates, find_candidates());
                is_there = !candidates.empty();
            }
            if (is_there) {
                needs_rerun = true;
                co_return Status();
            }
            co_return status.error();
        }
        CO_TRY(const bool again, co_await backoff.again(status.error()));
        if (!again) co_return status.error();
        needs_rerun = true;  // Somebody may have inserted it meanwhile.
        co_return Status();
    }
}

async::Task<Status> Statement::State::run_multi() {
    CO_TRY(const auto candidates, find_candidates());
    for (const bson::RecordId id : candidates) {
        ConflictBackoff backoff(command.member, *command.invocation.operation);
        while (true) {
            CO_TRY_OK(command.invocation.operation->check(command.member.clock));
            const auto outcome = write_one(id);
            if (outcome) break;
            CO_TRY(const bool again, co_await backoff.again(outcome.error()));
            if (!again) co_return outcome.error();
        }
    }
    if (result.matched == 0 && spec.is_upsert) {
        bool needs_rerun = false;
        CO_TRY_OK(co_await run_upsert(needs_rerun));
        if (needs_rerun) co_return co_await run_multi();
    }
    if (result.matched == 0) note_no_op_write(command);
    co_return Status();
}

async::Task<Result<StatementResult>> Statement::run() {
    State& state = *state_;
    const auto collection = state.command.member.catalog->find(state.command.ns);
    const bool is_quick = !state.spec.is_multi && state.filter.exact_id() &&
                          state.spec.sort.is_empty();
    const bool is_small = !collection || collection->count() <= inline_scan_max ||
                          (!state.spec.is_multi && collection->indexes().size() > 1);
    if (!is_quick && !is_small &&
        async::Executor::current() != &state.command.member.workers) {
        async::resume_on hop(state.command.member.workers);
        co_await hop;
    }
    if (state.spec.is_multi) {
        CO_TRY_OK(co_await state.run_multi());
    } else {
        CO_TRY_OK(co_await state.run_single());
    }
    co_return std::move(state.result);
}

}  // namespace tessera::commands
