// SPDX-License-Identifier: Apache-2.0
#include "query/update/apply.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/update/messages.h"
#include "query/update/raw.h"

namespace tessera::query {

using bson::Type;
using Kind = Change::Kind;
using Step = UpdateNode::Step;

namespace {

Error bad_value(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

/// Keeps the path of the walk, for messages.
class PathScope {
public:
    PathScope(std::vector<std::string_view>& path, std::string_view name) : path_(path) {
        path_.push_back(name);
    }
    ~PathScope() { path_.pop_back(); }
    PathScope(const PathScope&) = delete;
    PathScope& operator=(const PathScope&) = delete;

private:
    std::vector<std::string_view>& path_;
};

void note_value(Change& change, Kind kind, Type type, std::size_t offset, const std::string& out) {
    change.kind = kind;
    change.type = type;
    change.offset = offset;
    change.size = out.size() - offset;
}

}  // namespace

UpdateApplier::UpdateApplier(const Update& update,
                             const ApplyOptions& options,
                             UpdateContext& context,
                             View document,
                             bool is_insert)
    : update_(update), options_(options), context_(context) {
    modifiers_.document = document;
    modifiers_.now = options.now;
    modifiers_.timestamp = options.timestamp;
    modifiers_.is_insert = is_insert;
    modifiers_.arena = &context.arena;
    modifiers_.match = &context.match;
}

std::string UpdateApplier::path() const {
    std::string result;
    for (const std::string_view part : path_) {
        if (!result.empty()) result.push_back('.');
        result.append(part);
    }
    return result;
}

Status UpdateApplier::run(View before, std::string& out, std::vector<Change>& changes) {
    return object(*update_.root_, before, out, changes);
}

Result<std::int32_t> UpdateApplier::index_of(const UpdateNode& child) const {
    if (child.step != Step::positional) return child.index;
    if (options_.matched_index < 0) {
        return bad_value("The positional operator did not find the match needed from the query.");
    }
    return options_.matched_index;
}

// --- Objects -----------------------------------------------------------------------------------

Status UpdateApplier::object(const UpdateNode& node,
                             View before,
                             std::string& out,
                             std::vector<Change>& changes) {
    const std::size_t count = node.children.size();
    const std::size_t base = changes.size();
    changes.resize(base + count);
    // Names: a "$" stands for the matched index, here as a field's name.
    for (std::size_t i = 0; i < count; ++i) {
        const UpdateNode& child = *node.children[i];
        Change& change = changes[base + i];
        change.order = static_cast<std::uint32_t>(i);
        change.name = child.name;
        if (child.step == Step::field) continue;
        ENSURE(child.step == Step::positional);  // element() and create() refused the others.
        TRY(const std::int32_t index, index_of(child));
        change.held_name = std::to_string(index);
        for (const auto& other : node.children) {
            if (other->name != change.held_name) continue;
            return Error(ErrorCode::conflicting_update_operators,
                         fmt::format("Update created a conflict at '{}.{}'", path(), index));
        }
    }
    std::vector<bool> is_done(count);
    std::size_t left = count;
    const std::size_t start = raw::open(out);
    const char* copied = before.data() + 4;
    const char* const end = before.data() + before.size() - 1;
    for (auto it = before.begin(); left > 0 && it != before.end(); ++it) {
        const std::string_view name = it->name;
        std::size_t i = 0;
        while (i < count && (is_done[i] || changes[base + i].field() != name))
            ++i;
        if (i == count) continue;
        is_done[i] = true;
        --left;
        raw::copy(out, copied, it.position());
        copied = it->value.bytes().data() + it->value.bytes().size();
        TRY_OK(element(*node.children[i], {name, it->value}, out, changes[base + i]));
    }
    raw::copy(out, copied, end);
    for (std::size_t i = 0; left > 0 && i < count; ++i) {
        if (is_done[i]) continue;
        Change& change = changes[base + i];
        TRY_OK(create(*node.children[i], change.field(), out, change));
    }
    raw::close(out, start);
    return {};
}

// --- One element -------------------------------------------------------------------------------

Error UpdateApplier::not_viable(const UpdateNode& node, const Before& old) const {
    std::string field = node.children.front()->name;
    for (const auto& child : node.children) {
        if (!child->creates(modifiers_.is_insert)) continue;
        field = child->name;
        if (child->step == Step::positional) field = std::to_string(options_.matched_index);
        break;
    }
    return {
        ErrorCode::path_not_viable,
        fmt::format(
            "Cannot create field '{}' in element {}", field, show_element(old.name, old.value))};
}

Status UpdateApplier::element(const UpdateNode& node,
                              const Before& old,
                              std::string& out,
                              Change& change) {
    const auto& [name, value, is_in_array] = old;
    const PathScope scope(path_, name);
    if (node.is_leaf()) return leaf(*node.modifier, old, out, change);
    if (value.is_object() || value.is_array()) {
        const bool has_array_step =
            std::any_of(node.children.begin(), node.children.end(), [](const auto& child) {
                return child->step == Step::all || child->step == Step::filtered;
            });
        if (value.is_object() && has_array_step) {
            return bad_value(fmt::format("Cannot apply array updates to non-array element {}: {}",
                                         name,
                                         bson::to_json(value, bson::JsonMode::message)));
        }
        raw::put_header(out, value.type(), name);
        change.is_array = value.is_array();
        TRY_OK(value.is_array() ? array(node, name, value.as_view(), out, change.below)
                                : object(node, value.as_view(), out, change.below));
        const bool is_changed =
            std::any_of(change.below.begin(), change.below.end(), [](const Change& below) {
                return below.kind != Kind::none;
            });
        if (is_changed) change.kind = Kind::below;
        return {};
    }
    for (const auto& child : node.children) {
        if (child->step == Step::all || child->step == Step::filtered) {
            return bad_value(fmt::format("Cannot apply array updates to non-array element {}: {}",
                                         name,
                                         bson::to_json(value, bson::JsonMode::message)));
        }
        if (child->step == Step::positional) TRY_OK(index_of(*child));
    }
    if (node.creates(modifiers_.is_insert)) return not_viable(node, old);
    raw::put(out, name, value);
    return {};
}

Status UpdateApplier::leaf(const Modifier& modifier,
                           const Before& old,
                           std::string& out,
                           Change& change) {
    const auto& [name, value, is_in_array] = old;
    if (modifier.kind == ModifierKind::rename_to && is_in_array) {
        return bad_value(fmt::format(
            "The destination field cannot be an array element, '{}' in doc with {} has an array "
            "field called '{}'",
            path(),
            show_id(modifiers_.document, false),
            path_.size() > 1 ? path_[path_.size() - 2] : std::string_view()));
    }
    TRY(const Outcome outcome, run_modifier(modifier, value, std::string(name), modifiers_));
    switch (outcome.kind) {
        case Outcome::Kind::nothing:
            if (!value.is_missing()) raw::put(out, name, value);
            return {};
        case Outcome::Kind::remove:
            if (!is_in_array) {
                change.kind = Kind::removed;
                return {};
            }
            raw::put_header(out, Type::null, name);  // Removing an element would move the others.
            if (!value.is_null()) note_value(change, Kind::updated, Type::null, out.size(), out);
            return {};
        case Outcome::Kind::append:
            return append(outcome, old, out, change);
        case Outcome::Kind::set:
            break;
    }
    raw::put_header(out, outcome.value.type(), name);
    const std::size_t offset = out.size();
    out.append(outcome.value.bytes());
    note_value(change,
               value.is_missing() ? Kind::inserted : Kind::updated,
               outcome.value.type(),
               offset,
               out);
    return {};
}

Status UpdateApplier::append(const Outcome& outcome,
                             const Before& old,
                             std::string& out,
                             Change& change) {
    raw::put_header(out, Type::array, old.name);
    const std::size_t start = raw::open(out);
    const View array = old.value.as_view();
    out.append(array.data() + 4, array.size() - 5);
    std::size_t index = array.count();
    for (const Value& value : *outcome.appended) {
        raw::put_header(out, value.type(), raw::IndexName(index));
        const std::size_t offset = out.size();
        out.append(value.bytes());
        Change& added = change.below.emplace_back();
        added.order = static_cast<std::uint32_t>(index);
        note_value(added, Kind::updated, value.type(), offset, out);
        ++index;
    }
    raw::close(out, start);
    change.kind = Kind::below;
    change.is_array = true;
    return {};
}

Status UpdateApplier::create(const UpdateNode& node,
                             std::string_view name,
                             std::string& out,
                             Change& change) {
    const PathScope scope(path_, name);
    if (node.is_leaf()) return leaf(*node.modifier, {name, Value()}, out, change);
    for (const auto& child : node.children) {
        if (child->step == Step::all || child->step == Step::filtered) {
            return bad_value(fmt::format(
                "The path '{}' must exist in the document in order to apply array updates.",
                path()));
        }
        if (child->step == Step::positional) TRY_OK(index_of(*child));
    }
    if (!node.creates(modifiers_.is_insert)) return {};
    const std::size_t mark = out.size();
    raw::put_header(out, Type::object, name);
    const std::size_t offset = out.size();
    std::vector<Change> below;
    TRY_OK(object(node, View(), out, below));
    const bool is_made = std::any_of(
        below.begin(), below.end(), [](const Change& c) { return c.kind != Kind::none; });
    if (!is_made) {
        out.resize(mark);
        return {};
    }
    note_value(change, Kind::inserted, Type::object, offset, out);
    return {};
}

// --- Arrays ------------------------------------------------------------------------------------

// What applies to one element: its index, "$", "$[]" and "$[id]" may all name it.
Result<std::shared_ptr<const UpdateNode>> UpdateApplier::node_for(const UpdateNode& node,
                                                                  std::int32_t index,
                                                                  const Value& value) {
    NodePointer result;
    for (const auto& child : node.children) {
        bool is_meant = false;
        if (child->step == Step::all) {
            is_meant = true;
        } else if (child->step == Step::filtered) {
            const Filter& filter = update_.array_filters_[child->filter].filter;
            TRY(is_meant, filter.matches_field(value, context_.match));
        } else {
            TRY(const std::int32_t wanted, index_of(*child));
            is_meant = wanted == index;
        }
        if (!is_meant) continue;
        if (!result) {
            result = child;
            continue;
        }
        TRY(result, merge(result, child, fmt::format("{}.{}", path(), index)));
    }
    return result;
}

Status UpdateApplier::array(const UpdateNode& node,
                            std::string_view name,
                            View before,
                            std::string& out,
                            std::vector<Change>& changes) {
    const std::size_t start = raw::open(out);
    const char* copied = before.data() + 4;
    std::int32_t index = 0;
    for (auto it = before.begin(); it != before.end(); ++it, ++index) {
        TRY(const NodePointer child, node_for(node, index, it->value));
        if (!child) continue;
        raw::copy(out, copied, it.position());
        copied = it->value.bytes().data() + it->value.bytes().size();
        Change change;
        change.order = static_cast<std::uint32_t>(index);
        TRY_OK(element(*child, {it->name, it->value, true}, out, change));
        if (change.kind != Kind::none) changes.push_back(std::move(change));
    }
    raw::copy(out, copied, before.data() + before.size() - 1);
    const Before old{name, before.as_array_value()};
    TRY_OK(pad_and_create(node, static_cast<std::size_t>(index), old, out, changes));
    raw::close(out, start);
    return {};
}

// Elements past the end: missing ones between are null.
Status UpdateApplier::pad_and_create(const UpdateNode& node,
                                     std::size_t count,
                                     const Before& old,
                                     std::string& out,
                                     std::vector<Change>& changes) {
    std::vector<std::pair<std::size_t, NodePointer>> wanted;
    for (const auto& child : node.children) {
        if (child->step == Step::all || child->step == Step::filtered) continue;
        TRY(const std::int32_t index, index_of(*child));
        if (index >= 0 && static_cast<std::size_t>(index) < count) continue;
        if (!child->creates(modifiers_.is_insert)) continue;
        if (index < 0) return not_viable(node, old);
        wanted.emplace_back(static_cast<std::size_t>(index), child);
    }
    std::stable_sort(wanted.begin(), wanted.end(), [](const auto& a, const auto& b) {
        return a.first < b.first;
    });
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const auto& [index, child] = wanted[i];
        if (i > 0 && wanted[i - 1].first == index) {
            TRY(auto merged,
                merge(wanted[i - 1].second, child, fmt::format("{}.{}", path(), index)));
            ENSURE(merged != nullptr);
            return bad_value(fmt::format("Update created a conflict at '{}.{}'", path(), index));
        }
        if (index - count > padding_max) {
            return bad_value(fmt::format("can't backfill more than {} elements", padding_max));
        }
        const std::size_t mark = out.size();
        std::size_t next = count;
        for (; next < index; ++next)
            raw::put_header(out, Type::null, raw::IndexName(next));
        const std::string text = std::string(raw::IndexName(index));
        Change change;
        change.order = static_cast<std::uint32_t>(index);
        if (child->is_leaf()) {
            const PathScope scope(path_, text);
            TRY_OK(leaf(*child->modifier, {text, Value(), true}, out, change));
        } else {
            TRY_OK(create(*child, text, out, change));
        }
        if (change.kind == Kind::none) {
            out.resize(mark);
            continue;
        }
        change.kind = Kind::updated;
        changes.push_back(std::move(change));
        count = index + 1;
    }
    return {};
}

// --- The diff ----------------------------------------------------------------------------------

namespace {

void put_change(const Change& change,
                std::string_view prefix,
                const std::string& document,
                std::string& out) {
    out.push_back(static_cast<char>(change.type));
    out.append(prefix);
    out.append(change.field());
    out.push_back('\0');
    out.append(document, change.offset, change.size);
}

void write_array_diff(const std::vector<Change>& changes,
                      const std::string& document,
                      std::string& out) {
    raw::put_header(out, Type::boolean, "a");
    out.push_back('\1');
    for (const Change& change : changes) {
        const raw::IndexName index(change.order);
        if (change.kind == Kind::below) {
            raw::put_header(out, Type::object, std::string("s").append(index));
            const std::size_t start = raw::open(out);
            if (change.is_array) {
                write_array_diff(change.below, document, out);
            } else {
                UpdateApplier::write_diff(change.below, document, out);
            }
            raw::close(out, start);
        } else {
            put_change(change, std::string("u").append(index), document, out);
        }
    }
}

}  // namespace

void UpdateApplier::write_diff(const std::vector<Change>& changes,
                               const std::string& document,
                               std::string& out) {
    const auto section = [&](Kind kind, std::string_view name) {
        std::size_t start = 0;
        for (const Change& change : changes) {
            if (change.kind != kind) continue;
            if (start == 0) {
                raw::put_header(out, Type::object, name);
                start = raw::open(out);
            }
            if (kind == Kind::removed) {
                raw::put_header(out, Type::boolean, change.field());
                out.push_back('\0');
            } else {
                put_change(change, "", document, out);
            }
        }
        if (start != 0) raw::close(out, start);
    };
    section(Kind::removed, "d");
    section(Kind::updated, "u");
    section(Kind::inserted, "i");
    for (const Change& change : changes) {
        if (change.kind != Kind::below) continue;
        raw::put_header(out, Type::object, std::string("s").append(change.field()));
        const std::size_t start = raw::open(out);
        if (change.is_array) {
            write_array_diff(change.below, document, out);
        } else {
            write_diff(change.below, document, out);
        }
        raw::close(out, start);
    }
}

}  // namespace tessera::query
