// SPDX-License-Identifier: Apache-2.0
#include "query/projection/projection.h"

#include <algorithm>

#include "query/pipeline/limits.h"
#include "query/projection/node.h"
#include "query/update/raw.h"

namespace tessera::query {

using bson::Type;
using bson::Value;
using bson::View;
using Kind = ProjectionNode::Kind;

bool ProjectionNode::makes_fields() const {
    if (kind != Kind::inner) return is_appended();
    return std::any_of(children.begin(), children.end(), [](const ProjectionNode& child) {
        return child.makes_fields();
    });
}

bool ProjectionNode::has_positional() const {
    if (kind == Kind::positional) return true;
    return std::any_of(children.begin(), children.end(), [](const ProjectionNode& child) {
        return child.has_positional();
    });
}

namespace {

class Projector {
public:
    Projector(View document,
              const ProjectionInput& input,
              ProjectionContext& context,
              bool is_inclusion)
        : document_(document), input_(input), context_(context), is_inclusion_(is_inclusion) {}

    /// Writes what `node`'s children leave of an object.
    Status object(const ProjectionNode& node, View before, std::string& out);

private:
    Status field(const ProjectionNode& node,
                 std::string_view name,
                 const Value& value,
                 std::string& out);
    Status below(const ProjectionNode& node,
                 std::string_view name,
                 const Value& value,
                 std::string& out);
    Status array(const ProjectionNode& node, View before, std::string& out);
    Status positional(const ProjectionNode& node,
                      std::string_view name,
                      const Value& value,
                      std::string& out);
    Status appended(const ProjectionNode& node, std::string& out);
    static void slice(const ProjectionNode& node,
                      std::string_view name,
                      const Value& value,
                      std::string& out);

    View document_;
    const ProjectionInput& input_;
    ProjectionContext& context_;
    bool is_inclusion_;
    bool is_position_used_ = false;  // Below the array that a positional projection reduced.
    std::size_t computed_bytes_ = 0;
};

Status Projector::object(const ProjectionNode& node, View before, std::string& out) {
    const auto& children = node.children;
    const std::size_t start = raw::open(out);
    std::vector<bool> is_seen;
    for (const auto& element : before) {
        std::size_t i = 0;
        while (i < children.size() && children[i].name != element.name)
            ++i;
        if (i == children.size()) {
            if (!is_inclusion_) raw::put(out, element.name, element.value);
            continue;
        }
        const ProjectionNode& child = children[i];
        if (child.is_appended()) continue;
        if (child.kind == Kind::inner && child.makes_fields()) {
            is_seen.resize(children.size());
            is_seen[i] = true;
        }
        TRY_OK(field(child, element.name, element.value, out));
    }
    for (std::size_t i = 0; i < children.size(); ++i) {
        const ProjectionNode& child = children[i];
        if (child.is_appended()) {
            TRY_OK(appended(child, out));
        } else if (child.kind == Kind::inner && child.makes_fields() &&
                   (is_seen.empty() || !is_seen[i])) {
            raw::put_header(out, Type::object, child.name);
            TRY_OK(object(child, View(), out));
        }
    }
    raw::close(out, start);
    return {};
}

Status Projector::field(const ProjectionNode& node,
                        std::string_view name,
                        const Value& value,
                        std::string& out) {
    switch (node.kind) {
        case Kind::include:
            raw::put(out, name, value);
            return {};
        case Kind::exclude:
            return {};
        case Kind::slice:
            slice(node, name, value, out);
            return {};
        case Kind::positional:
            return positional(node, name, value, out);
        default:
            return below(node, name, value, out);
    }
}

Status Projector::below(const ProjectionNode& node,
                        std::string_view name,
                        const Value& value,
                        std::string& out) {
    if (value.is_object()) {
        raw::put_header(out, Type::object, name);
        return object(node, value.as_view(), out);
    }
    if (value.is_array()) {
        if (!is_position_used_ && node.has_positional()) {
            return positional(node, name, value, out);
        }
        raw::put_header(out, Type::array, name);
        return array(node, value.as_view(), out);
    }
    if (node.makes_fields()) {
        raw::put_header(out, Type::object, name);
        return object(node, View(), out);
    }
    if (!is_inclusion_) raw::put(out, name, value);
    return {};
}

// An inclusion drops elements that are no documents; an exclusion keeps them.
Status Projector::array(const ProjectionNode& node, View before, std::string& out) {
    const std::size_t start = raw::open(out);
    std::size_t index = 0;
    for (const auto& element : before) {
        const raw::IndexName name(index);
        const std::size_t mark = out.size();
        TRY_OK(below(node, name, element.value, out));
        if (out.size() != mark) ++index;
    }
    raw::close(out, start);
    return {};
}

Status Projector::positional(const ProjectionNode& node,
                             std::string_view name,
                             const Value& value,
                             std::string& out) {
    if (!value.is_array() || is_position_used_) {
        raw::put(out, name, value);
        return {};
    }
    std::int32_t index = 0;
    for (const auto& element : value.as_view()) {
        if (index++ != input_.matched_index) continue;
        raw::put_header(out, Type::array, name);
        const std::size_t start = raw::open(out);
        if (node.kind == Kind::positional) {
            raw::put(out, "0", element.value);
        } else if (element.value.is_object()) {
            // Deeper arrays of the path stay whole.
            is_position_used_ = true;
            raw::put_header(out, Type::object, "0");
            TRY_OK(object(node, element.value.as_view(), out));
            is_position_used_ = false;
        }
        raw::close(out, start);
        return {};
    }
    return Error(location(51246),
                 "Executor error during find command :: caused by :: positional operator '.$' "
                 "couldn't find a matching element in the array");
}

Status Projector::appended(const ProjectionNode& node, std::string& out) {
    switch (node.kind) {
        case Kind::sort_key:
            if (!input_.sort_key.is_missing()) raw::put(out, node.name, input_.sort_key);
            return {};
        case Kind::record_id:
            if (!input_.record_id.is_missing()) raw::put(out, node.name, input_.record_id);
            return {};
        case Kind::computed: {
            TRY(const Value value, node.expression->evaluate(document_, context_.arena));
            // Many fields, each a large one of the document again, must not exceed a BSON length.
            computed_bytes_ += value.bytes().size();
            if (computed_bytes_ > evaluation_memory_max)
                return Error(ErrorCode::exceeded_memory_limit,
                             "Exceeded memory limit while projecting a document");
            if (!value.is_missing()) raw::put(out, node.name, value);
            return {};
        }
        default:
            break;
    }
    TRY(const bool is_match, node.filter->matches(document_, context_.match));
    if (!is_match) return {};
    const Value list = document_[node.name];
    std::int32_t index = 0;
    for (const auto& element : list.as_view()) {
        if (index++ != context_.match.matched_index) continue;
        raw::put_header(out, Type::array, node.name);
        const std::size_t start = raw::open(out);
        raw::put(out, "0", element.value);
        raw::close(out, start);
        break;
    }
    return {};
}

void Projector::slice(const ProjectionNode& node,
                      std::string_view name,
                      const Value& value,
                      std::string& out) {
    if (!value.is_array()) {
        raw::put(out, name, value);
        return;
    }
    const View list = value.as_view();
    std::int64_t from = node.skip;
    if (from < 0) from = std::max<std::int64_t>(static_cast<std::int64_t>(list.count()) + from, 0);
    raw::put_header(out, Type::array, name);
    const std::size_t start = raw::open(out);
    std::int64_t at = 0;
    std::size_t index = 0;
    for (const auto& element : list) {
        if (at - from >= node.limit) break;
        if (at++ >= from) raw::put(out, raw::IndexName(index++), element.value);
    }
    raw::close(out, start);
}

void add_paths(const ProjectionNode& node,
               const std::string& prefix,
               std::vector<std::string>& paths) {
    for (const ProjectionNode& child : node.children) {
        const std::string path = prefix.empty() ? child.name : prefix + "." + child.name;
        if (child.kind == Kind::inner) {
            add_paths(child, path, paths);
        } else if (child.kind == Kind::computed) {
            child.expression->add_dependencies(paths);
        } else if (child.kind != Kind::sort_key && child.kind != Kind::record_id) {
            paths.push_back(path);
        }
    }
}

}  // namespace

Status Projection::apply(View document,
                         const ProjectionInput& input,
                         ProjectionContext& context,
                         std::string& out) const {
    if (is_empty_) {
        out.append(document.bytes());
        return {};
    }
    if (context.arena.used() != 0) context.arena.clear();
    const std::size_t mark = out.size();
    Status status =
        Projector(document, input, context, is_inclusion_).object(*root_, document, out);
    if (!status) out.resize(mark);
    return status;
}

void Projection::add_dependencies(std::vector<std::string>& paths) const {
    if (!is_inclusion_) {
        paths.emplace_back();
        return;
    }
    add_paths(*root_, "", paths);
}

}  // namespace tessera::query
