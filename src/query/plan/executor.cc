// SPDX-License-Identifier: Apache-2.0
#include "query/plan/executor.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/plan/explain.h"
#include "query/plan/key_document.h"

namespace tessera::query {

using Kind = PlanNode::Kind;

namespace {

template <class Visit>
void visit_stages(const PlanStage& stage, const Visit& visit) {
    visit(stage);
    for (const PlanStagePtr& child : stage.children())
        visit_stages(*child, visit);
}

template <class Visit>
void visit_nodes(const PlanNode& node, const Visit& visit) {
    visit(node);
    for (const PlanNodePtr& child : node.children)
        visit_nodes(*child, visit);
}

bool has_kind(const PlanNode& root, Kind kind) {
    bool has = false;
    visit_nodes(root, [&](const PlanNode& node) { has = has || node.kind == kind; });
    return has;
}

}  // namespace

Executor::Executor(CollectionSource& source, ReadRequest request, InterruptCheck* interrupt)
    : ns_(source.ns()), request_(std::move(request)), interrupt_(interrupt) {
    context_.source = &source;
    context_.request = &request_;
}

Executor::Executor(Namespace ns, ReadRequest request)
    : ns_(std::move(ns)), request_(std::move(request)) {
    context_.request = &request_;
}

Executor::~Executor() = default;

Status Executor::start(storage::Transaction& transaction) {
    context_.transaction = &transaction;
    std::vector<PlanNodePtr> plans;
    if (context_.source == nullptr) {
        plans.push_back(std::make_unique<PlanNode>(Kind::eof));
    } else {
        TRY(plans, make_plans(request_, *context_.source, arena_));
    }
    for (PlanNodePtr& plan : plans) {
        Candidate candidate;
        candidate.root = make_stage(context_, *plan);
        candidate.plan = std::move(plan);
        candidates_.push_back(std::move(candidate));
    }
    return candidates_.size() > 1 ? try_candidates() : ok();
}

/// Runs the candidates a step each in turn until one has shown itself.
Status Executor::try_candidates() {
    const double documents = static_cast<double>(context_.source->count());
    const auto works_max =
        std::max(trial_works_min, static_cast<std::uint64_t>(documents * trial_works_fraction));
    bool is_over = false;
    for (std::uint64_t works = 0; works < works_max && !is_over; ++works) {
        if (interrupt_ != nullptr && works % steps_per_check == 0) TRY_OK(interrupt_->check());
        bool has_running = false;
        for (Candidate& candidate : candidates_) {
            if (candidate.has_failed) continue;
            has_running = true;
            step_trial(candidate);
            if (candidate.is_eof || candidate.results.size() >= trial_results_max) is_over = true;
        }
        if (!has_running) break;
    }
    choose();
    if (candidates_[0].has_failed && failure_) return *failure_;
    return ok();
}

void Executor::step_trial(Candidate& candidate) {
    Row row;
    const Result<StepResult> step = candidate.root->step(row);
    ++candidate.trial_works;
    if (!step) {
        candidate.has_failed = true;
        failure_ = step.error();
        return;
    }
    if (*step == StepResult::eof) candidate.is_eof = true;
    if (*step != StepResult::advanced) return;
    candidate.results.emplace_back(
        row.id, row.has_document ? bson::Document(row.document) : bson::Document());
}

/// Ranks by results a step; reaching the end counts, and small advantages break ties: no fetch, no
/// blocking sort.
void Executor::choose() {
    for (Candidate& candidate : candidates_) {
        const auto works = static_cast<double>(std::max<std::uint64_t>(candidate.trial_works, 1));
        const double tie = std::min(1.0 / (10 * works), 1e-4);
        candidate.score = 1 + static_cast<double>(candidate.results.size()) / works;
        if (!has_kind(*candidate.plan, Kind::fetch)) candidate.score += tie;
        if (!has_kind(*candidate.plan, Kind::sort)) candidate.score += tie;
        if (candidate.is_eof) candidate.score += 1;
        if (candidate.has_failed) candidate.score = 0;
    }
    std::stable_sort(
        candidates_.begin(), candidates_.end(), [](const Candidate& one, const Candidate& two) {
            return one.score > two.score;
        });
    for (std::size_t i = 1; i < candidates_.size(); ++i) {
        candidates_[i].root->save();  // They run no further, and must hold nothing.
        candidates_[i].results.clear();
    }
}

Result<StepResult> Executor::step() {
    if (++steps_ % steps_per_check == 0 && interrupt_ != nullptr) TRY_OK(interrupt_->check());
    return candidates_[0].root->step(row_);
}

Result<bool> Executor::next() {
    ENSURE(context_.transaction != nullptr && !candidates_.empty());
    Candidate& winner = candidates_[0];
    if (replayed_ < winner.results.size()) {
        row_ = {};
        row_.id = winner.results[replayed_].first;
        row_.document = winner.results[replayed_].second;
        row_.has_document = true;
        ++replayed_;
        ++returned_;
        return true;
    }
    if (winner.is_eof && !request_.is_tailable) is_eof_ = true;
    if (is_eof_ && !request_.is_tailable) return false;
    while (true) {
        const auto step = this->step();
        if (!step) {
            failure_ = step.error();
            return step.error();
        }
        if (*step == StepResult::advanced) {
            ++returned_;
            return true;
        }
        if (*step == StepResult::eof) {
            is_eof_ = true;
            row_ = {};
            return false;
        }
    }
}

Result<std::int64_t> Executor::count() {
    std::int64_t count = 0;
    while (true) {
        TRY(const bool has_document, next());
        if (!has_document) return count;
        ++count;
    }
}

Result<bson::Document> Executor::index_key() const {
    if (row_.index == nullptr) return bson::Document();
    KeyDocument document(*row_.index, {});
    bson::Arena arena;
    std::vector<bson::Value> values;
    TRY_OK(bson::decode_key(row_.key, row_.type_bits, row_.index->ordering, arena, values));
    bson::Builder builder;
    for (std::size_t i = 0; i < values.size() && i < row_.index->paths.size(); ++i) {
        builder.append(row_.index->paths[i].dotted(), values[i]);
    }
    return std::move(builder).finish();
}

void Executor::save_state() {
    if (!candidates_.empty()) candidates_[0].root->save();
    context_.records.save();
    context_.transaction = nullptr;
}

Status Executor::restore_state(storage::Transaction& transaction) {
    context_.transaction = &transaction;
    if (candidates_.empty()) return ok();
    TRY_OK(check_plan_holds());
    return candidates_[0].root->restore();
}

/// A covered plan makes documents from keys, which is wrong once a field of the index is an array.
Status Executor::check_plan_holds() const {
    Status result;
    visit_nodes(*candidates_[0].plan, [&](const PlanNode& node) {
        if (node.kind != Kind::projection || !node.is_covered) return;
        const PlanNode& scan = *node.children[0];
        const auto number =
            static_cast<std::size_t>(scan.index - context_.source->indexes().data());
        MultikeyPaths now = context_.source->multikey_paths(number);
        now.resize(scan.multikey.size());
        if (now != scan.multikey) {
            result = Error(
                ErrorCode::query_plan_killed,
                fmt::format("query plan killed :: index '{}' became multikey", scan.index->name));
        }
    });
    return result;
}

std::uint64_t Executor::keys_examined() const {
    std::uint64_t result = 0;
    if (candidates_.empty()) return result;
    visit_stages(*candidates_[0].root,
                 [&](const PlanStage& stage) { result += stage.stats().keys_examined; });
    return result;
}

std::uint64_t Executor::docs_examined() const {
    std::uint64_t result = 0;
    if (candidates_.empty()) return result;
    visit_stages(*candidates_[0].root,
                 [&](const PlanStage& stage) { result += stage.stats().docs_examined; });
    return result;
}

bool Executor::has_sort_stage() const {
    return !candidates_.empty() && has_kind(*candidates_[0].plan, Kind::sort);
}

std::string Executor::plan_summary() const {
    std::string result;
    if (candidates_.empty()) return result;
    visit_nodes(*candidates_[0].plan, [&](const PlanNode& node) {
        if (!node.children.empty()) return;
        if (!result.empty()) result += ", ";
        result += stage_name(node);
        if (node.index == nullptr || node.kind == Kind::id_lookup) return;
        result += ' ' + bson::to_json(node.index->key_pattern, bson::JsonMode::message);
    });
    return result;
}

void Executor::explain_plan(bson::Builder& out) const {
    std::vector<const PlanNode*> plans;
    for (const Candidate& candidate : candidates_)
        plans.push_back(candidate.plan.get());
    query::explain_plan(out, ns_, request_, plans);
}

void Executor::explain_stats(bson::Builder& out,
                             std::int64_t milliseconds,
                             bool with_all_plans) const {
    ExecutionSummary summary;
    summary.is_success = !failure_;
    if (failure_) {
        summary.error_message = failure_->reason();
        summary.error_code = static_cast<std::int32_t>(failure_->code());
    }
    summary.returned = returned_;
    summary.milliseconds = milliseconds;
    summary.keys_examined = keys_examined();
    summary.docs_examined = docs_examined();
    bson::Builder stats = out.object("executionStats");
    query::explain_stats(stats, summary, *candidates_[0].root);
    if (!with_all_plans) return;
    auto all = stats.array("allPlansExecution");
    if (candidates_.size() < 2) return;
    for (const Candidate& candidate : candidates_) {
        auto plan = all.object();
        explain_trial(plan, *candidate.root, candidate.results.size(), candidate.score);
    }
}

}  // namespace tessera::query
