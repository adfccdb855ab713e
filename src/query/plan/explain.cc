// SPDX-License-Identifier: Apache-2.0
#include "query/plan/explain.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/compare.h"

namespace tessera::query {

using Kind = PlanNode::Kind;

namespace {

void append_filter(bson::Builder& out, const PlanNode& node) {
    if (node.filter.empty()) return;
    bson::Builder filter = out.object("filter");
    if (node.filter.size() == 1) {
        node.filter[0]->serialize(filter);
        return;
    }
    auto list = filter.array("$and");
    for (const Node* part : node.filter) {
        auto inner = list.object();
        part->serialize(inner);
    }
}

void append_multikey_paths(bson::Builder& out, const PlanNode& node) {
    bson::Builder paths = out.object("multiKeyPaths");
    for (std::size_t i = 0; i < node.index->paths.size(); ++i) {
        const Path& path = node.index->paths[i];
        auto list = paths.array(path.dotted());
        std::string prefix;
        for (std::size_t part = 0; part < path.size(); ++part) {
            prefix += (part == 0 ? "" : ".") + path[part].name;
            if ((node.multikey[i] >> std::min<std::size_t>(part, 31) & 1U) != 0) {
                list.append(prefix);
            }
        }
    }
}

/// An interval as the scan meets it: its ends change places against the field's order.
std::string interval_text(const Interval& interval, bool is_reversed) {
    if (!is_reversed) return interval.to_string();
    return Interval{interval.end, interval.start, interval.has_end, interval.has_start}.to_string();
}

void append_bounds(bson::Builder& out, const PlanNode& node) {
    bson::Builder bounds = out.object("indexBounds");
    for (std::size_t i = 0; i < node.bounds.size(); ++i) {
        const bool is_reversed = node.index->ordering.is_descending(i) == node.is_forward;
        std::vector<std::string> texts;
        for (const Interval& interval : node.bounds[i]) {
            texts.push_back(interval_text(interval, is_reversed));
        }
        if (is_reversed) std::reverse(texts.begin(), texts.end());
        auto list = bounds.array(node.index->paths[i].dotted());
        for (const std::string& text : texts)
            list.append(text);
    }
}

/// The range of a COUNT_SCAN as two keys.
void append_count_bounds(bson::Builder& out, const PlanNode& node) {
    bson::Builder bounds = out.object("indexBounds");
    const auto append_key = [&](std::string_view name, bool is_start) {
        bool is_inclusive = true;
        {
            bson::Builder key = bounds.object(name);
            for (std::size_t i = 0; i < node.bounds.size(); ++i) {
                const Interval& interval = node.bounds[i].front();
                const bool uses_start = is_start != node.index->ordering.is_descending(i);
                key.append(node.index->paths[i].dotted(),
                           uses_start ? interval.start : interval.end);
                is_inclusive = is_inclusive && (uses_start ? interval.has_start : interval.has_end);
            }
        }
        bounds.append(std::string(name) + "Inclusive", is_inclusive);
    };
    append_key("startKey", true);
    append_key("endKey", false);
}

void append_index(bson::Builder& out, const PlanNode& node) {
    const IndexInfo& index = *node.index;
    out.append("keyPattern", index.key_pattern).append("indexName", index.name);
    out.append("isMultiKey", node.is_multikey());
    append_multikey_paths(out, node);
    out.append("isUnique", index.is_unique).append("isSparse", index.is_sparse);
    out.append("isPartial", index.partial_filter != nullptr);
    out.append("indexVersion", index.version);
    if (node.kind == Kind::count_scan) {
        append_count_bounds(out, node);
        return;
    }
    out.append("direction", node.is_forward ? "forward" : "backward");
    append_bounds(out, node);
}

void append_common_stats(bson::Builder& out, const StageStats& stats) {
    const auto number = [&](std::string_view name, std::uint64_t value) {
        out.append_integer(name, static_cast<std::int64_t>(value));
    };
    number("nReturned", stats.advanced);
    out.append("executionTimeMillisEstimate", 0);
    number("works", stats.works);
    number("advanced", stats.advanced);
    number("needTime", stats.need_time);
    out.append("needYield", 0);
    number("saveState", stats.saves);
    number("restoreState", stats.restores);
    out.append("isEOF", stats.is_eof ? 1 : 0);
}

/// What each kind of stage has beside its name, filter and children.
void append_details(bson::Builder& out, const PlanNode& node) {
    switch (node.kind) {
        case Kind::index_scan:
        case Kind::count_scan:
        case Kind::distinct_scan:
            append_index(out, node);
            return;
        case Kind::collection_scan:
            out.append("direction", node.is_forward ? "forward" : "backward");
            return;
        case Kind::limit:
            out.append_integer("limitAmount", node.amount);
            return;
        case Kind::sort:
            out.append("sortPattern", node.pattern);
            out.append("memLimit", static_cast<std::int32_t>(sort_memory_max));
            if (node.amount > 0) out.append_integer("limitAmount", node.amount);
            out.append("type", "simple");
            return;
        case Kind::merge_sort:
            out.append("sortPattern", node.pattern);
            return;
        case Kind::projection:
            out.append("transformBy", node.pattern);
            return;
        default:
            return;
    }
}

void append_detail_stats(bson::Builder& out, const PlanNode& node, const StageStats& stats) {
    const auto number = [&](std::string_view name, std::uint64_t value) {
        out.append_integer(name, static_cast<std::int64_t>(value));
    };
    switch (node.kind) {
        case Kind::collection_scan:
            number("docsExamined", stats.docs_examined);
            return;
        case Kind::id_lookup:
            number("keysExamined", stats.keys_examined);
            number("docsExamined", stats.docs_examined);
            return;
        case Kind::index_scan:
            number("keysExamined", stats.keys_examined);
            number("seeks", stats.seeks);
            number("dupsTested", stats.dups_tested);
            number("dupsDropped", stats.dups_dropped);
            return;
        case Kind::count_scan:
        case Kind::distinct_scan:
            number("keysExamined", stats.keys_examined);
            return;
        case Kind::fetch:
            number("docsExamined", stats.docs_examined);
            number("alreadyHasObj", stats.already_has_document);
            return;
        case Kind::disjunction:
        case Kind::merge_sort:
            number("dupsTested", stats.dups_tested);
            number("dupsDropped", stats.dups_dropped);
            return;
        case Kind::sort:
            number("totalDataSizeSorted", stats.bytes_sorted);
            out.append("usedDisk", false).append("spills", 0);
            return;
        default:
            return;
    }
}

/// Writes a node and what is below it; `stage` has its numbers, or is null.
void append_node(bson::Builder& out, const PlanNode& node, const PlanStage* stage) {
    out.append("stage", stage_name(node));
    append_filter(out, node);
    if (stage != nullptr) append_common_stats(out, stage->stats());
    if (node.kind == Kind::skip) out.append_integer("skipAmount", node.amount);
    append_details(out, node);
    if (stage != nullptr) append_detail_stats(out, node, stage->stats());
    if (node.children.size() == 1 && node.kind != Kind::disjunction &&
        node.kind != Kind::merge_sort) {
        bson::Builder child = out.object("inputStage");
        append_node(child, *node.children[0], stage ? stage->children()[0].get() : nullptr);
        return;
    }
    if (node.children.empty()) return;
    auto list = out.array("inputStages");
    for (std::size_t i = 0; i < node.children.size(); ++i) {
        bson::Builder child = list.object();
        append_node(child, *node.children[i], stage ? stage->children()[i].get() : nullptr);
    }
}

/// What is left of a filter when its values are taken out.
void append_shape(std::string& out, const Node& node) {
    out += name_of(node.kind);
    if (node.is_leaf()) out += node.path.dotted();
    out += '(';
    for (const Node& child : node.children)
        append_shape(out, child);
    out += ')';
}

std::string hash_text(std::string_view text) {
    // FNV-1a (Fowler, Noll, Vo), folded to the 8 digits of the reference.
    std::uint32_t hash = 2166136261U;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    return fmt::format("{:08X}", hash);
}

}  // namespace

std::string_view stage_name(const PlanNode& node) {
    switch (node.kind) {
        case Kind::eof:
            return "EOF";
        case Kind::collection_scan:
            return "COLLSCAN";
        case Kind::id_lookup:
            return "IDHACK";
        case Kind::index_scan:
            return "IXSCAN";
        case Kind::count_scan:
            return "COUNT_SCAN";
        case Kind::distinct_scan:
            return "DISTINCT_SCAN";
        case Kind::fetch:
            return "FETCH";
        case Kind::disjunction:
            return "OR";
        case Kind::merge_sort:
            return "SORT_MERGE";
        case Kind::ownership:
            return "SHARDING_FILTER";
        case Kind::sort:
            return "SORT";
        case Kind::skip:
            return "SKIP";
        case Kind::limit:
            return "LIMIT";
        case Kind::projection:
            if (node.is_covered) return "PROJECTION_COVERED";
            return node.is_simple ? "PROJECTION_SIMPLE" : "PROJECTION_DEFAULT";
    }
    return "";
}

void append_plan(bson::Builder& out, const PlanNode& node) {
    append_node(out, node, nullptr);
}

void explain_plan(bson::Builder& out,
                  const Namespace& ns,
                  const ReadRequest& request,
                  const std::vector<const PlanNode*>& plans) {
    std::string shape;
    append_shape(shape, request.filter.root());
    for (const bson::Element& element : request.sort.view()) {
        shape += fmt::format("s{}{}", element.name, element.value.to_int64());
    }
    for (const bson::Element& element : request.projection.transform_by.view()) {
        shape += fmt::format("p{}", element.name);
    }
    std::string indexed = shape;
    for (const PlanNode* plan : plans) {
        const PlanNode* leaf = plan;
        while (!leaf->children.empty())
            leaf = leaf->children[0].get();
        if (leaf->index != nullptr) indexed += leaf->index->name;
    }
    bson::Builder planner = out.object("queryPlanner");
    planner.append("namespace", ns.to_string()).append("indexFilterSet", false);
    planner.append("parsedQuery", request.filter.serialize());
    planner.append("queryHash", hash_text(shape)).append("planCacheKey", hash_text(indexed));
    planner.append("maxIndexedOrSolutionsReached", false);
    planner.append("maxIndexedAndSolutionsReached", false);
    planner.append("maxScansToExplodeReached", false);
    {
        bson::Builder winner = planner.object("winningPlan");
        const bool is_count = request.purpose == ReadPurpose::count;
        if (is_count) {
            winner.append("stage", "COUNT");
            bson::Builder child = winner.object("inputStage");
            append_plan(child, *plans[0]);
        } else {
            append_plan(winner, *plans[0]);
        }
    }
    auto rejected = planner.array("rejectedPlans");
    for (std::size_t i = 1; i < plans.size(); ++i) {
        bson::Builder plan = rejected.object();
        append_plan(plan, *plans[i]);
    }
}

void explain_stats(bson::Builder& out, const ExecutionSummary& summary, const PlanStage& root) {
    out.append("executionSuccess", summary.is_success);
    if (!summary.is_success) {
        out.append("errorMessage", summary.error_message).append("errorCode", summary.error_code);
    }
    out.append_integer("nReturned", static_cast<std::int64_t>(summary.returned));
    out.append_integer("executionTimeMillis", summary.milliseconds);
    out.append_integer("totalKeysExamined", static_cast<std::int64_t>(summary.keys_examined));
    out.append_integer("totalDocsExamined", static_cast<std::int64_t>(summary.docs_examined));
    bson::Builder stages = out.object("executionStages");
    append_node(stages, root.node(), &root);
}

void explain_trial(bson::Builder& out,
                   const PlanStage& root,
                   std::uint64_t returned,
                   double score) {
    out.append_integer("nReturned", static_cast<std::int64_t>(returned));
    out.append("executionTimeMillisEstimate", 0);
    out.append("score", score);
    bson::Builder stages = out.object("executionStages");
    append_node(stages, root.node(), &root);
}

}  // namespace tessera::query
