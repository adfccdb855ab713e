// SPDX-License-Identifier: Apache-2.0
#include "query/plan/planner.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/plan/index_range.h"
#include "query/plan/index_selection.h"
#include "query/plan/planner_parts.h"

namespace tessera::query {

using Kind = PlanNode::Kind;

namespace {

PlanNodePtr make_node(Kind kind) {
    return std::make_unique<PlanNode>(kind);
}
PlanNodePtr wrap(Kind kind, PlanNodePtr child) {
    return std::make_unique<PlanNode>(kind, std::move(child));
}

PlanNodePtr fetch(PlanNodePtr child, std::vector<const Node*> filter) {
    PlanNodePtr node = wrap(Kind::fetch, std::move(child));
    node->filter = std::move(filter);
    return node;
}

bool is_bounded(const IndexCandidate& candidate) {
    return !is_all(candidate.scan->bounds[0]);
}

/// A plan on its way: rows of the matching documents, with or without the documents themselves.
struct Access {
    PlanNodePtr node;
    std::vector<const Node*> residual;
    std::vector<const Node*> used;
    std::size_t points = 0;
    std::size_t bounded = 0;
    bool is_fetched = false;
    bool is_sorted = false;
    bool is_unique_point = false;  // At most one document.
};

class Planner {
public:
    Planner(const ReadRequest& request, const CollectionSource& source, bson::Arena& arena)
        : request_(request), source_(source), arena_(arena) {}

    Result<std::vector<PlanNodePtr>> run() {
        const Node& root = request_.filter.root();
        if (root.kind == NodeKind::always_false) return one(make_node(Kind::eof));
        if (root.kind == NodeKind::conjunction) {
            for (const Node& child : root.children)
                conjuncts_.push_back(&child);
        } else if (root.kind != NodeKind::always_true) {
            conjuncts_.push_back(&root);
        }
        TRY_OK(read_hint());
        if (!request_.min.is_empty() || !request_.max.is_empty()) return plan_min_max();
        if (natural_ != 0 || hinted_none_) return one(finish(collection_scan(natural_ >= 0)));
        if (auto lookup = plan_id_lookup()) return one(finish(*std::move(lookup)));
        if (request_.purpose == ReadPurpose::distinct) {
            if (auto node = plan_distinct()) return one(std::move(node));
        }
        return plan_with_indexes();
    }

private:
    static std::vector<PlanNodePtr> one(PlanNodePtr node) {
        std::vector<PlanNodePtr> result;
        result.push_back(std::move(node));
        return result;
    }

    Error planner_error(ErrorCode code, std::string_view reason) const {
        return planning_error(request_, source_, code, reason);
    }

    // ---- What the client asked for ---------------------------------------------------------
    Status read_hint() {
        const bson::View sort = request_.sort;
        if (!sort.is_empty() && sort.front().name == "$natural") {
            natural_ = sort.front().value.to_double() < 0 ? -1 : 1;
        }
        const Hint& hint = request_.hint;
        if (!hint.is_given()) return ok();
        if (hint.name.empty() && hint.pattern.view().front().name == "$natural") {
            natural_ = hint.pattern.view().front().value.to_double() < 0 ? -1 : 1;
            if (has_sort() && sort.front().name != "$natural") hinted_none_ = true;
            return ok();
        }
        if (natural_ != 0) {
            return planner_error(ErrorCode::bad_value, "hints with $natural sort are not allowed");
        }
        for (std::size_t i = 0; i < source_.indexes().size(); ++i) {
            const IndexInfo& index = source_.indexes()[i];
            const bool is_it = hint.name.empty()
                                   ? index.key_pattern.view() == hint.pattern ||
                                         is_same_pattern(index.key_pattern, hint.pattern)
                                   : index.name == hint.name;
            if (is_it && is_usable(index)) hinted_ = i;
        }
        if (!hinted_) {
            return planner_error(ErrorCode::bad_value,
                                 "hint provided does not correspond to an existing index");
        }
        return ok();
    }

    bool has_sort() const { return !request_.sort.is_empty(); }
    bool needs_sorting() const {
        return has_sort() && request_.sort.view().front().name != "$natural" &&
               request_.purpose == ReadPurpose::documents;
    }

    // ---- Accesses ----------------------------------------------------------------------------
    Access collection_scan(bool is_forward) {
        Access access;
        access.node = make_node(Kind::collection_scan);
        access.node->is_forward = is_forward;
        access.node->filter = conjuncts_;
        if (source_.is_oplog()) bound_by_timestamp(conjuncts_, *access.node);
        access.is_fetched = true;
        return access;
    }

    std::optional<Access> plan_id_lookup() {
        const auto id = request_.filter.exact_id();
        if (!id || request_.hint.is_given() || request_.is_tailable || request_.skip != 0 ||
            request_.purpose == ReadPurpose::distinct) {
            return std::nullopt;
        }
        for (const IndexInfo& index : source_.indexes()) {
            if (!index.is_id()) continue;
            Access access;
            access.node = make_node(Kind::id_lookup);
            access.node->index = &index;
            access.node->id = *id;
            access.is_fetched = true;
            access.is_sorted = true;  // One document is in any order.
            return access;
        }
        return std::nullopt;
    }

    Access from_scan(IndexCandidate candidate) {
        Access access;
        access.node = std::move(candidate.scan);
        access.residual = std::move(candidate.residual);
        access.used = std::move(candidate.used);
        access.points = candidate.points;
        access.bounded = candidate.bounded;
        const IndexInfo& index = *access.node->index;
        access.is_unique_point =
            index.is_unique && index.paths.size() == access.points && !index.partial_filter;
        return access;
    }

    bool is_usable(const IndexInfo& index) const {
        return !index.is_hidden && index.is_ready(request_.read_at);
    }

    bool is_candidate(std::size_t index) const {
        if (hinted_) return index == *hinted_;
        return is_usable(source_.indexes()[index]);
    }

    /// Scans of single indexes that bound something; of the hinted one in any case.
    std::vector<IndexCandidate> index_scans(const std::vector<const Node*>& conjuncts,
                                            bool with_unbounded) {
        const std::vector<Predicate> predicates = list_predicates(conjuncts);
        std::vector<IndexCandidate> result;
        for (std::size_t i = 0; i < source_.indexes().size(); ++i) {
            if (!is_candidate(i)) continue;
            IndexCandidate candidate = make_index_scan(source_, i, conjuncts, predicates, arena_);
            const bool is_sparse_hint = hinted_ && !candidate.scan->index->partial_filter;
            if (!candidate.is_usable && !is_sparse_hint) continue;
            if (!with_unbounded && !is_bounded(candidate)) continue;
            result.push_back(std::move(candidate));
        }
        return result;
    }

    /// The best way by rule alone to read what `conjuncts` demand, fetched where anything is left
    /// to ask; nothing when no index helps.
    std::optional<Access> plan_branch(const std::vector<const Node*>& conjuncts) {
        std::optional<IndexCandidate> best;
        for (IndexCandidate& candidate : index_scans(conjuncts, false)) {
            const auto score = [](const IndexCandidate& it) {
                return it.points * 100 + it.bounded * 10 + (it.residual.empty() ? 1U : 0U);
            };
            if (!best || score(candidate) > score(*best)) best = std::move(candidate);
        }
        if (best) {
            if (best->is_empty) {
                Access nothing;
                nothing.node = make_node(Kind::eof);
                nothing.is_fetched = true;
                return nothing;
            }
            return from_scan(*std::move(best));
        }
        for (const Node* conjunct : conjuncts) {
            if (conjunct->kind != NodeKind::disjunction) continue;
            if (auto access = plan_disjunction(*conjunct, conjuncts)) return access;
        }
        return std::nullopt;
    }

    /// Every branch of a $or by an index, each with all else that is demanded.
    std::optional<Access> plan_disjunction(const Node& disjunction,
                                           const std::vector<const Node*>& conjuncts) {
        if (disjunction.children.size() > branches_max) return std::nullopt;
        std::vector<Access> branches;
        for (const Node& child : disjunction.children) {
            std::vector<const Node*> demands;
            if (child.kind == NodeKind::conjunction) {
                for (const Node& part : child.children)
                    demands.push_back(&part);
            } else {
                demands.push_back(&child);
            }
            for (const Node* conjunct : conjuncts) {
                if (conjunct != &disjunction) demands.push_back(conjunct);
            }
            auto branch = plan_branch(demands);
            if (!branch) return std::nullopt;
            if (branch->node->kind != Kind::eof) branches.push_back(*std::move(branch));
        }
        Access result;
        result.used.push_back(&disjunction);
        result.is_fetched = true;
        if (branches.empty()) {
            result.node = make_node(Kind::eof);
            return result;
        }
        const bool is_sorted = needs_sorting() && can_merge(branches);
        result.node = make_node(is_sorted ? Kind::merge_sort : Kind::disjunction);
        if (is_sorted) result.node->pattern = request_.sort;
        result.is_sorted = is_sorted;
        for (Access& branch : branches) {
            if (!branch.is_fetched && (is_sorted || !branch.residual.empty())) {
                branch.node = fetch(std::move(branch.node), std::move(branch.residual));
                branch.is_fetched = true;
            }
            result.is_fetched = result.is_fetched && branch.is_fetched;
            result.node->children.push_back(std::move(branch.node));
        }
        return result;
    }

    /// Whether each branch is an index scan in the wanted order; then they are set to it.
    bool can_merge(std::vector<Access>& branches) {
        for (const Access& branch : branches) {
            if (branch.node->kind != Kind::index_scan) return false;
            if (sort_order(*branch.node, request_.sort) == SortOrder::none) return false;
        }
        for (Access& branch : branches) {
            branch.node->is_forward = sort_order(*branch.node, request_.sort) == SortOrder::forward;
        }
        return true;
    }

    /// {a: {$in: [1, 2]}} sorted by b with an index on {a, b}: a scan for each a, merged.
    std::optional<Access> explode(const Access& access) {
        const PlanNode& scan = *access.node;
        if (scan.kind != Kind::index_scan) return std::nullopt;
        std::size_t count = 1;
        std::size_t fields = 0;
        while (fields < scan.bounds.size() && !scan.bounds[fields].empty() &&
               are_points(scan.bounds[fields]) &&
               count * scan.bounds[fields].size() <= explode_max) {
            count *= scan.bounds[fields].size();
            ++fields;
        }
        if (count < 2) return std::nullopt;
        Access result;
        result.node = make_node(Kind::merge_sort);
        result.node->pattern = request_.sort;
        for (std::size_t number = 0; number < count; ++number) {
            PlanNodePtr part = copy_scan(scan);
            std::size_t rest = number;
            for (std::size_t field = 0; field < fields; ++field) {
                const Intervals& points = scan.bounds[field];
                part->bounds[field] = {points[rest % points.size()]};
                rest /= points.size();
            }
            const SortOrder order = sort_order(*part, request_.sort);
            if (order == SortOrder::none) return std::nullopt;
            part->is_forward = order == SortOrder::forward;
            result.node->children.push_back(fetch(std::move(part), access.residual));
        }
        result.used = access.used;
        result.points = access.points;
        result.bounded = access.bounded;
        result.is_fetched = true;
        result.is_sorted = true;
        return result;
    }

    // ---- Whole plans -------------------------------------------------------------------------
    Result<std::vector<PlanNodePtr>> plan_with_indexes() {
        std::vector<Access> accesses;
        for (IndexCandidate& candidate : index_scans(conjuncts_, hinted_.has_value())) {
            if (candidate.is_empty) return one(make_node(Kind::eof));
            add(accesses, from_scan(std::move(candidate)));
        }
        if (!hinted_) {
            for (const Node* conjunct : conjuncts_) {
                if (conjunct->kind != NodeKind::disjunction) continue;
                if (auto access = plan_disjunction(*conjunct, conjuncts_)) {
                    accesses.push_back(*std::move(access));
                }
            }
        }
        add_scans_for_sort(accesses);
        if (hinted_ && accesses.empty()) {
            return planner_error(ErrorCode::no_query_execution_plans, "No query solutions");
        }
        if (accesses.empty()) return one(finish(collection_scan(true)));
        prune(accesses);
        std::vector<PlanNodePtr> result;
        for (Access& access : accesses)
            result.push_back(finish(std::move(access)));
        return result;
    }

    /// Adds an index scan, in the wanted order if it can be had.
    void add(std::vector<Access>& accesses, Access access) {
        if (needs_sorting()) {
            const SortOrder order = sort_order(*access.node, request_.sort);
            access.is_sorted = order != SortOrder::none;
            access.node->is_forward = order != SortOrder::backward;
            if (!access.is_sorted) {
                if (auto exploded = explode(access)) access = *std::move(exploded);
            }
        }
        accesses.push_back(std::move(access));
    }

    /// Without any access in the wanted order a scan of a whole index may still be worth it.
    void add_scans_for_sort(std::vector<Access>& accesses) {
        const bool has_sorted = std::any_of(accesses.begin(),
                                            accesses.end(),
                                            [](const Access& access) { return access.is_sorted; });
        if (!needs_sorting() || has_sorted || hinted_) return;
        for (IndexCandidate& candidate : index_scans(conjuncts_, true)) {
            if (is_bounded(candidate)) continue;
            const SortOrder order = sort_order(*candidate.scan, request_.sort);
            if (order == SortOrder::none) continue;
            candidate.scan->is_forward = order == SortOrder::forward;
            Access access = from_scan(std::move(candidate));
            access.is_sorted = true;
            accesses.push_back(std::move(access));
        }
    }

    /// Whether `one` is at least as good as `two` in every way that rules can tell.
    static bool dominates(const Access& one, const Access& two) {
        const bool uses_all = std::all_of(two.used.begin(), two.used.end(), [&](const Node* node) {
            return std::find(one.used.begin(), one.used.end(), node) != one.used.end();
        });
        return uses_all && one.points >= two.points && one.bounded >= two.bounded &&
               one.residual.size() <= two.residual.size() && one.is_sorted >= two.is_sorted &&
               (one.points > two.points || one.is_sorted > two.is_sorted ||
                one.used.size() > two.used.size() || one.residual.size() < two.residual.size() ||
                (one.node->kind == Kind::index_scan && two.node->kind == Kind::index_scan &&
                 one.node->index->paths.size() <= two.node->index->paths.size() && &one < &two));
    }

    static void prune(std::vector<Access>& accesses) {
        for (Access& access : accesses) {
            if (!access.is_unique_point) continue;
            Access best = std::move(access);
            accesses.clear();
            accesses.push_back(std::move(best));
            return;
        }
        std::vector<bool> is_dominated(accesses.size());
        for (std::size_t i = 0; i < accesses.size(); ++i) {
            for (std::size_t j = 0; j < accesses.size(); ++j) {
                if (i != j && !is_dominated[j] && dominates(accesses[j], accesses[i])) {
                    is_dominated[i] = true;
                }
            }
        }
        std::vector<Access> kept;
        for (std::size_t i = 0; i < accesses.size(); ++i) {
            if (!is_dominated[i]) kept.push_back(std::move(accesses[i]));
        }
        std::stable_sort(kept.begin(), kept.end(), [](const Access& one, const Access& two) {
            if (one.points != two.points) return one.points > two.points;
            if (one.is_sorted != two.is_sorted) return one.is_sorted;
            return one.bounded > two.bounded;
        });
        if (kept.size() > candidates_max) kept.resize(candidates_max);
        accesses = std::move(kept);
    }

    /// Whether the keys of the scan hold all that the projection reads.
    bool is_covered(const Access& access) const {
        const PlanNode& scan = *access.node;
        if (scan.kind != Kind::index_scan || request_.ownership != nullptr) return false;
        if (!access.residual.empty() || !request_.projection.paths) return false;
        if (needs_sorting() && !access.is_sorted) return false;
        return can_make_documents(scan, *request_.projection.paths);
    }

    PlanNodePtr finish(Access access) {
        const bool is_count = request_.purpose == ReadPurpose::count;
        const bool covers = !is_count && is_covered(access);
        PlanNodePtr node = std::move(access.node);
        if (is_count && !access.is_fetched && access.residual.empty() &&
            request_.ownership == nullptr) {
            if (can_count_keys(*node)) node->kind = Kind::count_scan;
            access.is_fetched = true;
        }
        if (!access.is_fetched && !covers) {
            node = fetch(std::move(node), std::move(access.residual));
        }
        if (request_.ownership != nullptr) node = wrap(Kind::ownership, std::move(node));
        bool has_limit = request_.limit > 0;
        if (needs_sorting() && !access.is_sorted) {
            node = wrap(Kind::sort, std::move(node));
            node->pattern = request_.sort;
            const bool fits = request_.skip <= INT64_MAX - request_.limit;
            if (has_limit && fits) node->amount = request_.limit + request_.skip;
            has_limit = has_limit && !fits;  // The sort itself gives no more than are wanted.
        }
        if (request_.skip > 0) {
            node = wrap(Kind::skip, std::move(node));
            node->amount = request_.skip;
        }
        if (covers || !request_.projection.transform_by.is_empty()) {
            node = projection(std::move(node), covers);
        }
        if (has_limit) {
            node = wrap(Kind::limit, std::move(node));
            node->amount = request_.limit;
        }
        return node;
    }

    PlanNodePtr projection(PlanNodePtr child, bool covers) const {
        PlanNodePtr node = wrap(Kind::projection, std::move(child));
        node->is_covered = covers;
        node->is_simple = request_.projection.is_simple;
        node->pattern = request_.projection.transform_by;
        return node;
    }

    PlanNodePtr plan_distinct() {
        if (request_.ownership != nullptr) return nullptr;
        PlanNodePtr best;
        for (IndexCandidate& candidate : index_scans(conjuncts_, true)) {
            PlanNode& scan = *candidate.scan;
            if (candidate.is_empty) return make_node(Kind::eof);
            if (!candidate.residual.empty() || !scan.filter.empty()) continue;
            if (!can_make_documents(scan, {request_.distinct_path})) continue;
            std::size_t field = 0;
            while (scan.index->paths[field].dotted() != request_.distinct_path)
                ++field;
            // Points before it keep the values together.
            if (candidate.points < field) continue;
            scan.distinct_fields = field + 1;
            if (best && best->distinct_fields <= scan.distinct_fields) continue;
            scan.kind = Kind::distinct_scan;
            best = std::move(candidate.scan);
        }
        if (!best) return nullptr;
        PlanNodePtr node = wrap(Kind::projection, std::move(best));
        node->is_covered = true;
        return node;
    }

    Result<std::vector<PlanNodePtr>> plan_min_max() {
        if (!hinted_) {
            return Error(location(51173),
                         "When using min()/max() a hint of which index to use must be provided");
        }
        TRY(PlanNodePtr scan, make_min_max_scan(request_, source_, *hinted_));
        Access access;
        access.residual = conjuncts_;
        if (needs_sorting()) {
            const SortOrder order = sort_order(*scan, request_.sort);
            access.is_sorted = order != SortOrder::none;
            scan->is_forward = order != SortOrder::backward;
        }
        access.node = std::move(scan);
        return one(finish(std::move(access)));
    }

    const ReadRequest& request_;
    const CollectionSource& source_;
    bson::Arena& arena_;
    std::vector<const Node*> conjuncts_;
    int natural_ = 0;           // 1 or -1: no index is wanted.
    bool hinted_none_ = false;  // {$natural: 1} as a hint, with another sort.
    std::optional<std::size_t> hinted_;
};

}  // namespace

Result<std::vector<PlanNodePtr>> make_plans(const ReadRequest& request,
                                            const CollectionSource& source,
                                            bson::Arena& arena) {
    return Planner(request, source, arena).run();
}

}  // namespace tessera::query
