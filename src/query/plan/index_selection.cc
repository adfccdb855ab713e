// SPDX-License-Identifier: Apache-2.0
#include "query/plan/index_selection.h"

#include <algorithm>

#include "query/plan/planner_parts.h"

namespace tessera::query {

namespace {

std::size_t count_components(std::string_view path) {
    return static_cast<std::size_t>(std::count(path.begin(), path.end(), '.')) + 1;
}

Predicate describe_leaf(const Node& leaf,
                        const Node& holder,
                        const Node* conjunct,
                        const std::string& prefix,
                        const std::vector<Predicate::Group>& groups) {
    Predicate predicate;
    predicate.node = &holder;
    predicate.conjunct = conjunct;
    predicate.path = prefix.empty() ? leaf.path.dotted() : prefix + "." + leaf.path.dotted();
    predicate.components = count_components(predicate.path);
    const Path path(predicate.path);  // Named: a range-for does not keep a temporary's owner.
    for (const Path::Part& part : path.parts()) {
        predicate.has_number = predicate.has_number || part.index >= 0;
    }
    predicate.groups = groups;
    return predicate;
}

/// The leaf a negation is of; null when it is of something else.
const Node* negated_leaf(const Node& node) {
    const Node* child = &node.children[0];
    if (child->kind == NodeKind::conjunction && child->children.size() == 1) {
        child = &child->children[0];
    }
    return child->is_leaf() ? child : nullptr;
}

void list_node(const Node& node,
               const Node* conjunct,
               const std::string& prefix,
               std::vector<Predicate::Group> groups,
               std::vector<Predicate>& out) {
    if (node.kind == NodeKind::conjunction) {
        for (const Node& child : node.children)
            list_node(child, conjunct, prefix, groups, out);
        return;
    }
    if (node.kind == NodeKind::negation) {
        const Node* const leaf = negated_leaf(node);
        if (leaf != nullptr && leaf->kind != NodeKind::element_match_object) {
            out.push_back(describe_leaf(*leaf, node, conjunct, prefix, groups));
        }
        return;
    }
    if (!node.is_leaf()) return;
    if (node.kind != NodeKind::element_match_object) {
        out.push_back(describe_leaf(node, node, conjunct, prefix, groups));
        return;
    }
    const std::string path =
        prefix.empty() ? node.path.dotted() : prefix + "." + node.path.dotted();
    groups.push_back({&node, count_components(path)});
    list_node(node.children[0], conjunct, path, groups, out);
}

/// How many leading components two paths share.
std::size_t shared_components(std::string_view one, std::string_view two) {
    std::size_t shared = 0;
    while (true) {
        const std::size_t end_one = one.find('.');
        const std::size_t end_two = two.find('.');
        if (one.substr(0, end_one) != two.substr(0, end_two)) return shared;
        ++shared;
        if (end_one == std::string_view::npos || end_two == std::string_view::npos) return shared;
        one.remove_prefix(end_one + 1);
        two.remove_prefix(end_two + 1);
    }
}

bool is_multikey_at(std::uint32_t bits, std::size_t component) {
    return (bits >> std::min<std::size_t>(component, 31) & 1U) != 0;
}

/// Whether two predicates speak of the same array elements, so that both may bound one key.
bool are_compatible(const Predicate& one, const Predicate& two, std::uint32_t multikey) {
    const std::size_t shared = shared_components(one.path, two.path);
    for (std::size_t component = 0; component < shared; ++component) {
        if (!is_multikey_at(multikey, component)) continue;
        // Only inside one $elemMatch on this array do both mean the same element.
        const bool is_joined =
            std::any_of(one.groups.begin(), one.groups.end(), [&](const Predicate::Group& group) {
                return group.prefix == component + 1 &&
                       std::any_of(two.groups.begin(),
                                   two.groups.end(),
                                   [&](const Predicate::Group& other) {
                                       return other.element_match == group.element_match;
                                   });
            });
        if (!is_joined) return false;
    }
    return true;
}

bool has_missing(const Intervals& intervals) {
    return contains(intervals, bson::Arena::make_null());
}

struct Use {
    const Predicate* predicate;
    FieldBounds bounds;
};

/// How good bounds are to have: one value, some values, a range.
int rank_of(const FieldBounds& bounds) {
    if (bounds.intervals.empty()) return -1;
    if (is_one_point(bounds.intervals)) return 0;
    if (are_points(bounds.intervals)) return 1;
    return is_all(bounds.intervals) ? 3 : 2;
}

class ScanBuilder {
public:
    ScanBuilder(const CollectionSource& source, std::size_t index, bson::Arena& arena)
        : info_(source.indexes()[index]), arena_(arena) {
        result_.scan = std::make_unique<PlanNode>(PlanNode::Kind::index_scan);
        result_.scan->index = &info_;
        result_.scan->multikey = source.multikey_paths(index);
        result_.scan->multikey.resize(info_.paths.size());
    }

    IndexCandidate build(const std::vector<const Node*>& conjuncts,
                         const std::vector<Predicate>& predicates) {
        bool is_leading = true;
        bool has_existing = false;
        for (std::size_t field = 0; field < info_.paths.size(); ++field) {
            const Intervals bounds = bound_field(field, predicates);
            if (bounds.empty()) result_.is_empty = true;
            is_leading = is_leading && is_one_point(bounds);
            if (is_leading) ++result_.points;
            if (!is_all(bounds)) ++result_.bounded;
            has_existing = has_existing || !has_missing(bounds);
            result_.scan->bounds.push_back(bounds);
        }
        if (info_.is_sparse && !has_existing) result_.is_usable = false;
        if (info_.partial_filter && !covers_query(info_, conjuncts, arena_)) {
            result_.is_usable = false;
        }
        for (const Node* conjunct : conjuncts)
            sort_out(conjunct);
        return std::move(result_);
    }

private:
    Intervals bound_field(std::size_t field, const std::vector<Predicate>& predicates) {
        const std::string& path = info_.paths[field].dotted();
        const std::uint32_t multikey = result_.scan->multikey[field];
        std::vector<Use> uses;
        for (const Predicate& predicate : predicates) {
            if (predicate.path != path || predicate.has_number) continue;
            auto bounds =
                bounds_of(*predicate.node, {info_.is_hashed(field), multikey != 0}, arena_);
            if (!bounds) continue;
            if (!predicate.groups.empty()) bounds->tightness = Tightness::inexact_fetch;
            uses.push_back({&predicate, *std::move(bounds)});
        }
        std::stable_sort(uses.begin(), uses.end(), [](const Use& one, const Use& two) {
            return rank_of(one.bounds) < rank_of(two.bounds);
        });
        Intervals result = all_values();
        std::vector<const Predicate*> chosen;
        for (const Use& use : uses) {
            if (!fits(*use.predicate, multikey) || !fits_all(*use.predicate, chosen, multikey)) {
                continue;
            }
            result = intersect(result, use.bounds.intervals);
            chosen.push_back(use.predicate);
            note_use(use);
        }
        for (const Predicate* predicate : chosen)
            earlier_.push_back({predicate, multikey});
        return result;
    }

    bool fits(const Predicate& predicate, std::uint32_t multikey) const {
        return std::all_of(earlier_.begin(), earlier_.end(), [&](const auto& other) {
            return are_compatible(predicate, *other.first, multikey | other.second);
        });
    }
    static bool fits_all(const Predicate& predicate,
                         const std::vector<const Predicate*>& others,
                         std::uint32_t multikey) {
        return std::all_of(others.begin(), others.end(), [&](const Predicate* other) {
            return are_compatible(predicate, *other, multikey);
        });
    }

    void note_use(const Use& use) {
        const Node* const conjunct = use.predicate->conjunct;
        if (std::find(result_.used.begin(), result_.used.end(), conjunct) == result_.used.end() &&
            !is_all(use.bounds.intervals)) {
            result_.used.push_back(conjunct);
        }
        // A conjunct that is one predicate is settled by exact bounds.
        if (use.predicate->node != conjunct) return;
        if (use.bounds.tightness == Tightness::exact) settled_.push_back(conjunct);
        if (use.bounds.tightness == Tightness::inexact_covered) covered_.push_back(conjunct);
    }

    void sort_out(const Node* conjunct) {
        const auto is_in = [&](const std::vector<const Node*>& list) {
            return std::find(list.begin(), list.end(), conjunct) != list.end();
        };
        if (is_in(settled_)) return;
        if (is_in(covered_) && !result_.scan->is_multikey() && !has_nested_paths()) {
            result_.scan->filter.push_back(conjunct);
        } else {
            result_.residual.push_back(conjunct);
        }
    }

    bool has_nested_paths() const {
        std::vector<std::string> paths;
        for (const Path& path : info_.paths)
            paths.push_back(path.dotted());
        return are_nested(paths);
    }

    const IndexInfo& info_;
    bson::Arena& arena_;
    IndexCandidate result_;
    std::vector<std::pair<const Predicate*, std::uint32_t>> earlier_;
    std::vector<const Node*> settled_;
    std::vector<const Node*> covered_;
};

/// Matches the fields of a sort against an index's.
class SortMatcher {
public:
    explicit SortMatcher(const PlanNode& scan) : scan_(scan), index_(*scan.index) {}

    SortOrder match(bson::View sort) {
        std::size_t field = 0;
        for (const bson::Element& element : sort) {
            if (!element.value.is_number()) return SortOrder::none;
            while (field < index_.paths.size() && index_.paths[field].dotted() != element.name) {
                // A field of one value does not disturb the order of the next.
                if (!is_one_point(scan_.bounds[field])) return SortOrder::none;
                ++field;
            }
            if (field == index_.paths.size() || !can_order(field)) return SortOrder::none;
            const bool wants_descending = element.value.to_double() < 0;
            if (!is_fixed(field) && !agree(wants_descending != is_descending(field))) {
                return SortOrder::none;
            }
            ++field;
        }
        return needs_backward_.value_or(false) ? SortOrder::backward : SortOrder::forward;
    }

private:
    bool is_descending(std::size_t field) const { return index_.ordering.is_descending(field); }
    bool is_fixed(std::size_t field) const {
        return is_one_point(scan_.bounds[field]) && scan_.multikey[field] == 0;
    }
    bool can_order(std::size_t field) const {
        if (index_.is_hashed(field)) return false;
        if (scan_.multikey[field] == 0) return true;
        // A document's place is by its least element, so every key of it must be seen, which
        // bounds on the same array anywhere in the index would prevent.
        for (std::size_t other = 0; other < index_.paths.size(); ++other) {
            if (!is_all(scan_.bounds[other]) && (other == field || scan_.multikey[other] != 0)) {
                return false;
            }
        }
        return true;
    }
    bool agree(bool is_backward) {
        if (!needs_backward_) needs_backward_ = is_backward;
        return *needs_backward_ == is_backward;
    }

    const PlanNode& scan_;
    const IndexInfo& index_;
    std::optional<bool> needs_backward_;
};

}  // namespace

std::vector<Predicate> list_predicates(const std::vector<const Node*>& conjuncts) {
    std::vector<Predicate> result;
    for (const Node* conjunct : conjuncts)
        list_node(*conjunct, conjunct, "", {}, result);
    return result;
}

IndexCandidate make_index_scan(const CollectionSource& source,
                               std::size_t index,
                               const std::vector<const Node*>& conjuncts,
                               const std::vector<Predicate>& predicates,
                               bson::Arena& arena) {
    return ScanBuilder(source, index, arena).build(conjuncts, predicates);
}

SortOrder sort_order(const PlanNode& scan, bson::View sort) {
    return SortMatcher(scan).match(sort);
}

bool covers_query(const IndexInfo& index,
                  const std::vector<const Node*>& conjuncts,
                  bson::Arena& arena) {
    const Node& demanded = index.partial_filter->root();
    const auto is_implied = [&](const Node& part) {
        return std::any_of(conjuncts.begin(), conjuncts.end(), [&](const Node* conjunct) {
            return implies(*conjunct, part, arena);
        });
    };
    if (demanded.kind != NodeKind::conjunction) return is_implied(demanded);
    return std::all_of(demanded.children.begin(), demanded.children.end(), is_implied);
}

}  // namespace tessera::query
