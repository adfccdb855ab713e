// SPDX-License-Identifier: Apache-2.0
//
// Executor: reads what a request asks for, one document at a time.
//
//     Executor executor(source, std::move(request));
//     TRY_OK(executor.start(transaction));                 // Plans; tries plans where unclear.
//     while (true) {
//         TRY(const bool has_document, executor.next());
//         if (!has_document) break;
//         use(executor.document(), executor.record_id());  // Views until the next next().
//     }
//
// Between batches of a cursor: save_state() before the transaction ends, restore_state() in the
// next one. The executor projects nothing (see ProjectionNeeds), and a filter that an index has
// settled is not asked again: for positional projections match the document anew. Whoever writes to
// what it reads must expect to be given a document again whose index keys moved ahead of the scan.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "query/plan/planner.h"
#include "query/plan/stage.h"

namespace tessera::query {

/// Asked every so many steps whether to go on (killOp, maxTimeMS).
class InterruptCheck {
public:
    virtual ~InterruptCheck() = default;
    virtual Status check() = 0;
};

class Executor {
public:
    /// Requires: `source` outlives the executor.
    Executor(CollectionSource& source, ReadRequest request, InterruptCheck* interrupt = nullptr);
    /// On a collection that does not exist: plans and gives nothing.
    Executor(Namespace ns, ReadRequest request);
    ~Executor();
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    /// Plans. Fails as the planner does (BadValue 2, 51173 ...) and as execution does.
    Status start(storage::Transaction& transaction);
    /// Moves to the next document; false at the end, and again after it unless tailable.
    /// Requires: start() succeeded, not saved.
    Result<bool> next();
    bson::View document() const { return row_.document; }
    bson::RecordId record_id() const { return row_.id; }
    /// The index key the document was found by, {a: 1}, for returnKey; empty when by none.
    Result<bson::Document> index_key() const;

    /// Counts what is left. For ReadPurpose::count, where documents need not be read.
    Result<std::int64_t> count();

    /// Lets go of the transaction; documents given before are void.
    void save_state();
    /// Fails with QueryPlanKilled (175) when the plan does not hold any more, with
    /// CappedPositionLost (136) when a capped collection has dropped the place.
    Status restore_state(storage::Transaction& transaction);

    bool is_eof() const { return is_eof_; }
    std::uint64_t keys_examined() const;
    std::uint64_t docs_examined() const;
    /// "IXSCAN { a: 1 }", "COLLSCAN", ...: for the profile and the slow log.
    std::string plan_summary() const;
    /// Whether a blocking sort was needed.
    bool has_sort_stage() const;
    const ReadRequest& request() const { return request_; }

    // ---- Explain -------------------------------------------------------------------------------
    /// Adds "queryPlanner". Requires: start().
    void explain_plan(bson::Builder& out) const;
    /// Adds "executionStats" after the execution, with allPlansExecution if asked.
    void explain_stats(bson::Builder& out, std::int64_t milliseconds, bool with_all_plans) const;

private:
    struct Candidate {
        PlanNodePtr plan;
        PlanStagePtr root;
        std::vector<std::pair<bson::RecordId, bson::Document>> results;  // Of the trial.
        bool is_eof = false;
        bool has_failed = false;
        double score = 0;
        std::uint64_t trial_works = 0;
    };

    Status try_candidates();
    void step_trial(Candidate& candidate);
    void choose();
    Result<StepResult> step();
    Status check_plan_holds() const;

    Namespace ns_;
    ReadRequest request_;
    InterruptCheck* interrupt_ = nullptr;
    bson::Arena arena_;  // Values of plans.
    ExecutionContext context_;
    std::vector<Candidate> candidates_;  // The winner first, once chosen.
    Row row_;
    std::size_t replayed_ = 0;  // Results of the trial given so far.
    std::uint64_t returned_ = 0;
    std::uint32_t steps_ = 0;
    bool is_eof_ = false;
    std::optional<Error> failure_;  // Of the execution, for explain.
};

}  // namespace tessera::query
