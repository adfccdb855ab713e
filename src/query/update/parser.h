// SPDX-License-Identifier: Apache-2.0
//
// Parses updates into the tree; see update.h for what callers use.
#pragma once

#include "query/update/tree.h"
#include "query/update/update.h"

namespace tessera::query {

class UpdateParser {
public:
    UpdateParser(Update& update, const UpdateOptions& options)
        : update_(update), options_(options) {}

    /// The statement's arrayFilters, before the operators that name them.
    Status parse_array_filters();
    /// {$set: {...}, $inc: {...}}: fills the update's tree.
    Status parse_operators(bson::View update);
    /// Checks a replacement's field names.
    static Status check_replacement(bson::View replacement);
    Status parse_pipeline(bson::View pipeline);

private:
    using Element = bson::Element;

    Status parse_operator(const Element& element);
    Status parse_field(std::string_view name, const Element& field);
    Status parse_rename(const Element& field);
    Status parse_arithmetic(ModifierKind kind, const Element& field);
    Status parse_current_date(const Element& field);
    Status parse_bit(const Element& field);
    Status parse_push(const Element& field);
    Status parse_add_to_set(const Element& field);
    Status parse_pull(const Element& field);
    Status check_all_filters_used(bson::View update);

    Status add(std::string_view dotted, std::shared_ptr<Modifier> modifier);
    Result<UpdateNode> make_step(std::string_view name, std::string_view dotted, bool is_first);
    Status add_simple(ModifierKind kind, const Element& field) {
        auto modifier = std::make_shared<Modifier>();
        modifier->kind = kind;
        modifier->operand = field.value;
        return add(field.name, std::move(modifier));
    }

    Update& update_;
    const UpdateOptions& options_;
};

}  // namespace tessera::query
