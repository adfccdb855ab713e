// SPDX-License-Identifier: Apache-2.0
//
// Filter: the compiled form of a query predicate ({a: 1, b: {$gt: 5}}). Parsed once for a query,
// then asked about many documents, without allocation once its MatchContext is warm; and read by
// the planner as a tree of Nodes.
//
//     TRY(auto filter, query::Filter::parse(document, {}));
//     query::MatchContext context;                       // One for each thread.
//     TRY(bool is_match, filter.matches(view, context));
//
// The tree is MongoDB's: $ne is negation(equal), $nin negation(in), $exists: false
// negation(exists), $all a conjunction of leaves of one path, implicit "and" a conjunction
// (flattened; {} is a conjunction of nothing; one predicate alone is not wrapped).
//
// One walk over the document's top-level fields finds the first components of all paths of the
// filter; predicates then work on what was found.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "bson/arena.h"
#include "bson/builder.h"
#include "bson/view.h"
#include "query/match/expression_hook.h"
#include "query/match/path.h"
#include "query/match/regex.h"
#include "query/match/type_set.h"

namespace tessera::query {

/// What a node of the tree demands.
enum class NodeKind : std::uint8_t {
    always_true,
    always_false,
    conjunction,  // All children; none: true.
    disjunction,  // Any child.
    nor,          // No child.
    negation,     // Not its one child.
    // Leaves with a path; an array at the path's end is matched by itself and by its elements.
    equal,             // operand
    less,              // operand
    less_or_equal,     // operand
    greater,           // operand
    greater_or_equal,  // operand
    in,                // values (sorted, distinct), regexes
    regex,             // regexes[0]
    mod,               // divisor, remainder
    type,              // types
    bits_all_set,      // bits
    bits_all_clear,    // bits
    bits_any_set,      // bits
    bits_any_clear,    // bits
    // Leaves with a path; an array at the path's end is one value.
    exists,
    size,                  // count
    element_match_object,  // children[0], over each element's fields
    element_match_value,   // children[0]: a conjunction of leaves with an empty path
    // Whole-document predicates without a path.
    expression,   // expression
    sample_rate,  // rate
    // The whole document against a schema; see match/json_schema.h.
    schema,
};

/// "$and", "$eq", ...
std::string_view name_of(NodeKind kind);

class SchemaPredicate;

/// Numbers of the bits a $bits... operator looks at.
struct BitPositions {
    std::vector<std::uint32_t> positions;  // Ascending, distinct.
    std::uint64_t mask = 0;                // Those below 64.
    bool has_high = false;  // Some position is 64 or more (sign-extended for numbers).
};

struct Node {
    explicit Node(NodeKind node_kind) : kind(node_kind) {}

    NodeKind kind;
    Path path;                        // Leaves; empty below element_match_value.
    bson::Value operand;              // Comparisons. Lives as long as the Filter.
    std::vector<Node> children;       // Logical kinds and $elemMatch.
    std::vector<bson::Value> values;  // in: sorted by bson::compare, distinct, regexes left out.
    std::vector<Regex> regexes;       // in, regex.
    TypeSet types;                    // type.
    std::int64_t divisor = 0;         // mod.
    std::int64_t remainder = 0;       // mod.
    std::int64_t count = 0;           // size; -1 matches no array.
    BitPositions bits;                // bits_...
    double rate = 0;                  // sample_rate.
    std::shared_ptr<const CompiledExpression> expression;  // Shared by copies of this node.
    std::shared_ptr<const SchemaPredicate> schema;         // Shared by copies of this node.
    bson::Value source;  // What the user wrote: the operand of $expr, $bits..., $jsonSchema, $type.

    std::uint32_t slot = 0;           // Where the path's first component's value is found.
    std::vector<std::string> fields;  // element_match_object: names of its children's slots.

    bool is_leaf() const {
        return kind >= NodeKind::equal && kind <= NodeKind::element_match_value;
    }
    /// Appends the predicate to an object, in the form explain shows: {a: {$eq: 1}}.
    void serialize(bson::Builder& out) const;
};

/// What one thread needs to run filters; reusable for any number of them.
class MatchContext {
public:
    /// The index of the element that matched in the outermost array the last predicate traversed,
    /// for the positional operators; -1 when there was none. Set by matches().
    std::int32_t matched_index = -1;

    /// Randomness for $sampleRate; without one it samples by a fixed seed.
    Random random{0x5eed};

private:
    friend class Evaluator;
    friend class Filter;
    friend class SchemaPredicate;
    std::vector<bson::Value> slots_;
    RegexScratch regex_;
    bson::Arena arena_;
    std::optional<Error> error_;  // Of $expr, during one matches().
    bool wants_index_ = true;
};

struct FilterOptions {
    /// For $expr; without one $expr is refused.
    const ExpressionCompiler* expressions = nullptr;
    /// Refuses $where, $near, $text with "not allowed in this context" (aggregation's $match).
    bool is_pipeline = false;
};

class Filter {
public:
    /// The filter that matches everything.
    Filter();

    /// Parses and compiles; copies what it needs of `filter`. Fails with the codes of
    /// docs/compatibility.md: BadValue above all.
    static Result<Filter> parse(bson::View filter, const FilterOptions& options);
    /// Parses the operand of {field: operand} alone (conditions such as {$gt: 5} or a value), as
    /// $pull and arrayFilters on scalars need. The nodes have an empty path; use matches_value().
    static Result<Filter> parse_value(const bson::Value& operand, const FilterOptions& options);

    /// Whether the document matches. Fails only when $expr does.
    Result<bool> matches(bson::View document, MatchContext& context) const;
    /// As matches(), for a filter made by parse_value().
    Result<bool> matches_value(const bson::Value& value, MatchContext& context) const;

    /// As matches() on {name: value}, where `name` is the one top-level field the filter speaks of
    /// (the identifier of an arrayFilters entry).
    Result<bool> matches_field(const bson::Value& value, MatchContext& context) const;

    const Node& root() const { return *root_; }
    /// A filter that demands all of `nodes`, nodes of this filter's tree. It views this filter's
    /// bytes, so this filter must outlive it.
    Filter subset(const std::vector<const Node*>& nodes) const;
    /// Whether it matches every document.
    bool is_empty() const {
        return root_->kind == NodeKind::conjunction && root_->children.empty();
    }
    /// Whether it is {_id: <value>} with a value that is no array, regex, null or object operator.
    std::optional<bson::Value> exact_id() const;
    /// Adds every path it reads; "" when it needs the whole document.
    void add_dependencies(std::vector<std::string>& paths) const;
    /// The filter as parsed, as explain's parsedQuery shows it.
    bson::Document serialize() const;
    /// The bytes it was parsed from.
    bson::View source() const { return source_->view(); }

private:
    friend class Evaluator;

    std::unique_ptr<bson::Document> source_;
    std::unique_ptr<Node> root_;
    std::vector<std::string> fields_;  // Names of the root's slots.
};

/// Checks a command's collation document: absent, empty or {locale: "simple"} pass. Fails with
/// BadValue for what is no collation, with NotImplemented for every other locale.
Status check_collation(const bson::Value& collation);

}  // namespace tessera::query
