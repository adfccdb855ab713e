// SPDX-License-Identifier: Apache-2.0
//
// The tree of an update's paths: inner nodes are path components, leaves the operators.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/view.h"
#include "query/match/filter.h"

namespace tessera::query {

enum class ModifierKind : std::uint8_t {
    set,
    set_on_insert,
    unset,
    increment,
    multiply,
    minimum,
    maximum,
    current_date,
    current_timestamp,
    rename_to,  // Holds the source's path: sets this path to the source's old value.
    push,
    add_to_set,
    pop,
    pull,
    pull_all,
    bit,
};

/// "$set", ...
std::string_view name_of(ModifierKind kind);

/// One operator at one path.
struct Modifier {
    ModifierKind kind = ModifierKind::set;
    bson::Value operand;                   // As the operator says; views the update's own bytes.
    std::vector<bson::Value> values;       // push and add_to_set: $each; pull_all: the list.
    std::optional<std::int64_t> slice;     // push
    std::optional<std::int64_t> position;  // push
    bson::Value sort;                      // push: a direction, or a pattern; missing for none.
    Path source;                           // rename_to
    std::size_t depth = 0;                 // Components of the path it stands at.
    std::unique_ptr<Filter> filter;        // pull
    bool is_document_filter = false;       // pull: the filter is over elements that are documents.

    /// Whether it makes a field that is absent.
    bool creates(bool is_insert) const;
};

struct UpdateNode {
    enum class Step : std::uint8_t { field, positional, all, filtered };

    std::string name;  // Path component as written: "a", "3", "$", "$[]", "$[x]".
    Step step = Step::field;
    std::int32_t index = -1;                   // field: the array index it denotes, if any.
    std::size_t filter = 0;                    // filtered: which array filter.
    std::shared_ptr<const Modifier> modifier;  // Leaves. Shared by merged nodes.
    std::vector<std::shared_ptr<const UpdateNode>> children;  // Sorted. Shared by merged nodes.

    bool is_leaf() const { return modifier != nullptr; }
    bool creates(bool is_insert) const;
};

/// The order in which new fields are created: numbers by value, other names as text.
bool is_created_before(std::string_view one, std::string_view two);

/// Joins what two components that denote the same element demand. Fails with
/// ConflictingUpdateOperators when both change the same field.
Result<std::shared_ptr<const UpdateNode>> merge(const std::shared_ptr<const UpdateNode>& one,
                                                const std::shared_ptr<const UpdateNode>& two,
                                                const std::string& path);

/// What a modifier does to the value it finds.
struct Outcome {
    enum class Kind : std::uint8_t { nothing, set, remove, append };
    Kind kind = Kind::nothing;
    bson::Value value;                                   // set
    const std::vector<bson::Value>* appended = nullptr;  // append: at the end of the old array
};

/// The surroundings a modifier needs.
struct ModifierContext {
    bson::View document;  // Before the update; for messages and $rename.
    WallTime now;
    Timestamp timestamp;
    bool is_insert = false;
    bson::Arena* arena = nullptr;
    MatchContext* match = nullptr;
};

/// Computes a modifier's outcome on `old` (missing when the field is absent). `path` is for
/// messages.
Result<Outcome> run_modifier(const Modifier& modifier,
                             const bson::Value& old,
                             const std::string& field,
                             const ModifierContext& context);

/// Parts of run_modifier for arrays ($push, $addToSet, $pop, $pull, $pullAll).
Result<Outcome> run_array_modifier(const Modifier& modifier,
                                   const bson::Value& old,
                                   const std::string& field,
                                   const ModifierContext& context);

}  // namespace tessera::query
