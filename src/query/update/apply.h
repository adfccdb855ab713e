// SPDX-License-Identifier: Apache-2.0
//
// Applies the tree of an update to a document; see update.h for what callers use.
//
// One walk writes the new document, copying runs of elements that no path names, and keeps a tree
// of Changes that point into what was written; from it the oplog's diff is written at the end.
#pragma once

#include <string>
#include <vector>

#include "query/update/tree.h"
#include "query/update/update.h"

namespace tessera::query {

/// What happened to one field or element. Its value, if any, stands in the written document.
struct Change {
    enum class Kind : std::uint8_t { none, updated, inserted, removed, below };
    Kind kind = Kind::none;
    bool is_array = false;  // below: of an array's elements.
    bson::Type type = bson::Type::missing;
    std::uint32_t order = 0;  // The update's order of fields; an array's: the index.
    std::size_t offset = 0;   // Where its value's bytes start.
    std::size_t size = 0;
    std::string_view name;  // Of a field; views the update, or the document before it.
    std::string held_name;  // For a name made while applying.
    std::vector<Change> below;

    std::string_view field() const { return held_name.empty() ? name : held_name; }
};

class UpdateApplier {
public:
    /// Elements an update may pad an array with.
    static constexpr std::size_t padding_max = 1'500'000;

    UpdateApplier(const Update& update,
                  const ApplyOptions& options,
                  UpdateContext& context,
                  bson::View document,
                  bool is_insert);

    /// Writes the new document at the end of `out`; the changes come back in `changes`.
    Status run(bson::View before, std::string& out, std::vector<Change>& changes);
    /// Writes the sections of a diff.
    static void write_diff(const std::vector<Change>& changes,
                           const std::string& document,
                           std::string& out);

private:
    using Value = bson::Value;
    using View = bson::View;
    using NodePointer = std::shared_ptr<const UpdateNode>;

    Status object(const UpdateNode& node,
                  View before,
                  std::string& out,
                  std::vector<Change>& changes);
    Status array(const UpdateNode& node,
                 std::string_view name,
                 View before,
                 std::string& out,
                 std::vector<Change>& changes);
    /// A field or an array's element as it was.
    struct Before {
        std::string_view name;
        Value value;  // Missing when there was none.
        bool is_in_array = false;
    };
    Status element(const UpdateNode& node, const Before& old, std::string& out, Change& change);
    Status leaf(const Modifier& modifier, const Before& old, std::string& out, Change& change);
    Status append(const Outcome& outcome, const Before& old, std::string& out, Change& change);
    /// Makes a field that is absent; leaves `change` at none when there is nothing to make.
    Status create(const UpdateNode& node, std::string_view name, std::string& out, Change& change);
    Status pad_and_create(const UpdateNode& node,
                          std::size_t count,
                          const Before& old,
                          std::string& out,
                          std::vector<Change>& changes);
    Result<NodePointer> node_for(const UpdateNode& node, std::int32_t index, const Value& value);
    /// The field's name or array index a component stands for here.
    Result<std::int32_t> index_of(const UpdateNode& child) const;
    Error not_viable(const UpdateNode& node, const Before& old) const;
    std::string path() const;

    const Update& update_;
    const ApplyOptions& options_;
    UpdateContext& context_;
    ModifierContext modifiers_;
    std::vector<std::string_view> path_;
};

}  // namespace tessera::query
