// SPDX-License-Identifier: Apache-2.0
#include "query/plan/planner_parts.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/compare.h"
#include "bson/json.h"
#include "query/plan/index_range.h"

namespace tessera::query {

using bson::Type;
using bson::View;

namespace {

/// The filter as the reference's debug text shows it.
void append_tree(std::string& out, const Node& node, int depth) {
    out.append(static_cast<std::size_t>(depth) * 4, ' ');
    if (!node.is_leaf()) {
        out += name_of(node.kind);
        out += '\n';
        for (const Node& child : node.children)
            append_tree(out, child, depth + 1);
        return;
    }
    out += node.path.dotted();
    out += ' ';
    out += name_of(node.kind);
    if (!node.operand.is_missing()) {
        out += ' ' + bson::to_json(node.operand, bson::JsonMode::message);
    }
    out += '\n';
}

std::int64_t packed(const bson::Value& value) {
    return static_cast<std::int64_t>(value.as_timestamp().packed());
}

/// The key bytes of min or max, which names the index's fields in order.
Result<std::string> bound_key(const IndexInfo& index, View bound) {
    bson::KeyBuilder builder(index.ordering);
    std::size_t field = 0;
    for (const bson::Element& element : bound) {
        if (field >= index.paths.size() || index.paths[field].dotted() != element.name) break;
        builder.append(element.value);
        ++field;
    }
    if (field != index.paths.size() || bound.count() != field) {
        return Error(location(51174),
                     "The index chosen by the hint does not correspond to the fields of "
                     "min()/max()");
    }
    return std::string(builder.key());
}

}  // namespace

Error planning_error(const ReadRequest& request,
                     const CollectionSource& source,
                     ErrorCode code,
                     std::string_view reason) {
    std::string tree;
    append_tree(tree, request.filter.root(), 0);
    return {code,
            fmt::format("error processing query: ns={}Tree: {}Sort: {}\nProj: {}\n planner "
                        "returned error :: caused by :: {}",
                        source.ns().to_string(),
                        tree,
                        bson::to_json(request.sort, bson::JsonMode::message),
                        bson::to_json(request.projection.transform_by, bson::JsonMode::message),
                        reason)};
}

bool is_same_pattern(View one, View two) {
    return bson::compare(one, two) == 0;
}

void bound_by_timestamp(const std::vector<const Node*>& conjuncts, PlanNode& scan) {
    for (const Node* node : conjuncts) {
        if (!node->is_leaf() || node->path.dotted() != "ts" ||
            node->operand.type() != Type::timestamp) {
            continue;
        }
        const std::int64_t at = packed(node->operand);
        const bool is_low =
            node->kind == NodeKind::greater || node->kind == NodeKind::greater_or_equal;
        const bool is_high = node->kind == NodeKind::less || node->kind == NodeKind::less_or_equal;
        if (is_low || node->kind == NodeKind::equal) {
            scan.first_record = std::max(scan.first_record, at);
        }
        if (is_high || node->kind == NodeKind::equal) {
            scan.last_record = std::min(scan.last_record, at);
        }
    }
}

PlanNodePtr copy_scan(const PlanNode& scan) {
    auto copy = std::make_unique<PlanNode>(scan.kind);
    copy->filter = scan.filter;
    copy->is_forward = scan.is_forward;
    copy->index = scan.index;
    copy->multikey = scan.multikey;
    copy->bounds = scan.bounds;
    return copy;
}

bool are_nested(const std::vector<std::string>& paths) {
    for (const std::string& outer : paths) {
        for (const std::string& inner : paths) {
            if (inner.starts_with(outer + ".")) return true;
        }
    }
    return false;
}

bool can_make_documents(const PlanNode& scan, const std::vector<std::string>& paths) {
    if (scan.index == nullptr || are_nested(paths)) return false;
    for (const std::string& path : paths) {
        bool is_there = false;
        for (std::size_t i = 0; i < scan.index->paths.size() && !is_there; ++i) {
            const Path& field = scan.index->paths[i];
            const bool has_number =
                std::any_of(field.parts().begin(), field.parts().end(), [](const Path::Part& part) {
                    return part.index >= 0;
                });
            is_there = field.dotted() == path && !scan.index->is_hashed(i) &&
                       scan.multikey[i] == 0 && !has_number;
        }
        if (!is_there) return false;
    }
    return true;
}

bool can_count_keys(const PlanNode& node) {
    if (node.kind != PlanNode::Kind::index_scan || !node.filter.empty() || node.low) return false;
    return IndexRange(node.bounds, node.index->ordering, true).is_simple();
}

Result<PlanNodePtr> make_min_max_scan(const ReadRequest& request,
                                      const CollectionSource& source,
                                      std::size_t index) {
    const IndexInfo& info = source.indexes()[index];
    auto scan = std::make_unique<PlanNode>(PlanNode::Kind::index_scan);
    scan->index = &info;
    scan->multikey = source.multikey_paths(index);
    scan->multikey.resize(info.paths.size());
    scan->bounds.assign(info.paths.size(), all_values());
    scan->low.emplace();
    scan->high.emplace("\xfe");
    if (!request.min.is_empty()) {
        TRY(scan->low, bound_key(info, request.min));
    }
    if (!request.max.is_empty()) {
        TRY(scan->high, bound_key(info, request.max));
    }
    if (*scan->low > *scan->high) {
        return Error(location(51175),
                     "The value provided for min() is not less than the one for "
                     "max() in the order of the index");
    }
    return scan;
}

}  // namespace tessera::query
