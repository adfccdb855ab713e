// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "query/match/parser.h"
#include "query/projection/node.h"

namespace tessera::query {

using bson::Element;
using bson::Value;
using bson::View;
using Kind = ProjectionNode::Kind;

class ProjectionParser {
public:
    ProjectionParser(Projection& projection, const ProjectionOptions& options)
        : projection_(projection), options_(options) {}

    Status parse(View document);

private:
    enum class Form : std::uint8_t { unknown, inclusion, exclusion };

    Status parse_object(View object, const std::string& prefix, int depth);
    Status parse_field(const std::string& path, const Value& value, int depth);
    Status parse_operator(const std::string& path, const Element& element, const Value& whole);
    Status parse_slice(const std::string& path, const Value& operand, const Value& whole);
    Status parse_element_match(const std::string& path, const Value& operand);
    Status parse_meta(const std::string& path, const Value& operand);
    Status parse_positional(const std::string& path, const Value& value);
    Status compute(const std::string& path, const Value& value);
    Status include(const std::string& path);
    Status exclude(const std::string& path);
    Result<ProjectionNode*> add(const std::string& dotted, Kind kind);

    Projection& projection_;
    const ProjectionOptions& options_;
    Form form_ = Form::unknown;
    bool has_id_ = false;
    bool is_id_excluded_ = false;
    bool has_slice_ = false;
    bool has_element_match_ = false;
    bool has_positional_ = false;
};

namespace {

Error error(std::int32_t code, std::string reason) {
    return {location(code), std::move(reason)};
}

Status check_path(std::string_view dotted) {
    if (dotted.empty()) return error(40352, "FieldPath cannot be constructed with empty string");
    if (dotted.ends_with('.')) return error(40353, "FieldPath must not end with a '.'.");
    const Path path(dotted);
    for (const auto& part : path.parts()) {
        if (part.name.empty()) {
            return error(15998, "FieldPath field names may not be empty strings.");
        }
        if (part.name[0] == '$') {
            return error(
                16410,
                "FieldPath field names may not start with '$'. Consider using $getField or "
                "$setField.");
        }
    }
    return {};
}

}  // namespace

Result<ProjectionNode*> ProjectionParser::add(const std::string& dotted, Kind kind) {
    TRY_OK(check_path(dotted));
    const Path path(dotted);
    ProjectionNode* node = projection_.root_.get();
    std::size_t consumed = 0;
    for (std::size_t i = 0; i < path.size(); ++i) {
        const std::string& name = path[i].name;
        consumed += name.size() + 1;
        const bool is_last = i + 1 == path.size();
        const auto at = std::find_if(
            node->children.begin(), node->children.end(), [&](const ProjectionNode& child) {
                return child.name == name;
            });
        if (at == node->children.end()) {
            ProjectionNode child;
            child.name = name;
            if (is_last) child.kind = kind;
            node->children.push_back(std::move(child));
            node = &node->children.back();
            continue;
        }
        if (is_last) return error(31250, fmt::format("Path collision at {}", dotted));
        if (at->kind != Kind::inner) {
            return error(
                31249,
                fmt::format(
                    "Path collision at {} remaining portion {}", dotted, dotted.substr(consumed)));
        }
        node = &*at;
    }
    if (kind != Kind::include && kind != Kind::exclude) projection_.is_simple_ = false;
    return node;
}

Status ProjectionParser::include(const std::string& path) {
    TRY(ProjectionNode* const node, add(path, Kind::include));
    (void)node;
    if (path == "_id") {
        has_id_ = true;
        return {};
    }
    if (form_ == Form::exclusion) {
        return error(31253,
                     fmt::format("Cannot do inclusion on field {} in exclusion projection", path));
    }
    form_ = Form::inclusion;
    return {};
}

Status ProjectionParser::exclude(const std::string& path) {
    TRY(ProjectionNode* const node, add(path, Kind::exclude));
    (void)node;
    if (path == "_id") {
        has_id_ = true;
        is_id_excluded_ = true;
        return {};
    }
    if (form_ == Form::inclusion) {
        return error(31254,
                     fmt::format("Cannot do exclusion on field {} in inclusion projection", path));
    }
    form_ = Form::exclusion;
    return {};
}

Status ProjectionParser::compute(const std::string& path, const Value& value) {
    if (form_ == Form::exclusion) {
        return error(31252, "Cannot use an expression other than $meta in exclusion projection");
    }
    if (options_.expressions == nullptr) {
        return Error(ErrorCode::not_implemented, "computed fields are not supported here");
    }
    form_ = Form::inclusion;
    TRY(ProjectionNode* const node, add(path, Kind::computed));
    TRY(node->expression, options_.expressions->compile(value));
    return {};
}

Status ProjectionParser::parse(View document) {
    projection_.root_ = std::make_unique<ProjectionNode>();
    TRY_OK(parse_object(document, "", 0));
    if (form_ == Form::unknown) {
        // Neither side was taken: _id alone, or operators alone.
        const bool includes = (has_id_ && !is_id_excluded_) || has_element_match_;
        form_ = includes ? Form::inclusion : Form::exclusion;
    }
    projection_.is_inclusion_ = form_ == Form::inclusion;
    projection_.is_empty_ = document.is_empty();
    auto& children = projection_.root_->children;
    const auto id = std::find_if(children.begin(), children.end(), [](const ProjectionNode& child) {
        return child.name == "_id";
    });
    if (projection_.is_inclusion_) {
        if (id == children.end()) {
            ProjectionNode node;
            node.name = "_id";
            node.kind = Kind::include;
            children.insert(children.begin(), std::move(node));
        } else if (id->kind == Kind::exclude) {
            children.erase(id);
        }
    } else if (id != children.end() && id->kind == Kind::include) {
        children.erase(id);
    }
    return {};
}

Status ProjectionParser::parse_object(View object, const std::string& prefix, int depth) {
    if (depth > Projection::nesting_max) {
        return Error(ErrorCode::overflow, "projection is nested too deeply");
    }
    for (const auto& element : object) {
        const std::string path =
            prefix.empty() ? std::string(element.name) : fmt::format("{}.{}", prefix, element.name);
        TRY_OK(parse_field(path, element.value, depth));
    }
    return {};
}

Status ProjectionParser::parse_field(const std::string& path, const Value& value, int depth) {
    if (path == "$" || path.ends_with(".$")) return parse_positional(path, value);
    if (value.is_boolean() || value.is_number()) {
        return value.is_truthy() ? include(path) : exclude(path);
    }
    if (!value.is_object()) return compute(path, value);
    const View object = value.as_view();
    if (object.is_empty()) {
        return error(51270,
                     fmt::format("An empty sub-projection is not a valid value. Found empty "
                                 "object at path {}",
                                 path));
    }
    if (object.front().name.starts_with('$')) return parse_operator(path, object.front(), value);
    return parse_object(object, path, depth + 1);
}

Status ProjectionParser::parse_operator(const std::string& path,
                                        const Element& element,
                                        const Value& whole) {
    if (element.name == "$slice") return parse_slice(path, element.value, whole);
    if (element.name == "$elemMatch") return parse_element_match(path, element.value);
    if (element.name == "$meta") return parse_meta(path, element.value);
    return compute(path, whole);
}

Status ProjectionParser::parse_slice(const std::string& path,
                                     const Value& operand,
                                     const Value& whole) {
    std::int64_t skip = 0;
    std::int64_t limit = 0;
    const auto clamp = [](const Value& value) {
        return std::clamp<std::int64_t>(value.to_int64(), INT32_MIN, INT32_MAX);
    };
    if (operand.is_number()) {
        limit = clamp(operand);
        if (limit < 0) {
            skip = limit;
            limit = -limit;
        }
    } else if (operand.is_array() && operand.as_view()["0"].is_number() &&
               operand.as_view().count() == 2) {
        const Value second = operand.as_view()["1"];
        if (!second.is_number() || second.to_int64() <= 0) {
            return error(28724,
                         fmt::format("First argument to $slice must be an array, but is of "
                                     "type: {}",
                                     bson::type_name(operand.as_view()["0"].type())));
        }
        skip = clamp(operand.as_view()["0"]);
        limit = clamp(second);
    } else if (operand.is_array()) {
        return compute(path, whole);  // The expression of that name.
    } else {
        return error(28667,
                     fmt::format("Invalid $slice syntax. The given syntax {} did not match the "
                                 "find() syntax because :: Location31273: $slice only supports "
                                 "numbers and [skip, limit] arrays :: The given syntax did not "
                                 "match the expression $slice syntax. :: caused by :: Expression "
                                 "$slice takes at least 2 arguments, and at most 3, but 1 were "
                                 "passed in.",
                                 bson::to_json(whole, bson::JsonMode::message)));
    }
    if (has_positional_) {
        return error(31256, "Cannot specify positional operator and $slice in one projection.");
    }
    has_slice_ = true;
    TRY(ProjectionNode* const node, add(path, Kind::slice));
    node->skip = skip;
    node->limit = limit;
    return {};
}

Status ProjectionParser::parse_element_match(const std::string& path, const Value& operand) {
    if (!operand.is_object()) {
        return error(31274,
                     fmt::format("elemMatch: Invalid argument, object required, but got {}",
                                 bson::type_name(operand.type())));
    }
    if (has_positional_) {
        return error(31255, "Cannot specify positional operator and $elemMatch.");
    }
    if (path.find('.') != std::string::npos) {
        return error(31275, "Cannot use $elemMatch projection on a nested field.");
    }
    has_element_match_ = true;
    TRY(ProjectionNode* const node, add(path, Kind::element_match));
    bson::Builder holder;
    {
        auto inner = holder.object(path);
        inner.append("$elemMatch", operand);
    }
    const bson::Document document = std::move(holder).finish();
    FilterOptions filter_options;
    TRY(Filter filter, Filter::parse(document, filter_options));
    node->filter = std::make_unique<Filter>(std::move(filter));
    return {};
}

Status ProjectionParser::parse_meta(const std::string& path, const Value& operand) {
    if (!operand.is_string()) {
        return Error(ErrorCode::type_mismatch, "Expression $meta: argument must be a string");
    }
    const std::string_view name = operand.as_string();
    Kind kind;
    if (name == "sortKey") {
        kind = Kind::sort_key;
        projection_.needs_sort_key_ = true;
    } else if (name == "recordId") {
        kind = Kind::record_id;
        projection_.needs_record_id_ = true;
    } else if (name == "textScore") {
        return error(40218, "query requires text score metadata, but it is not available");
    } else {
        return error(17308, fmt::format("Unsupported argument to $meta: {}", name));
    }
    TRY(ProjectionNode* const node, add(path, kind));
    (void)node;
    return {};
}

Status ProjectionParser::parse_positional(const std::string& path, const Value& value) {
    const std::string array = path.size() > 2 ? path.substr(0, path.size() - 2) : std::string();
    if (!value.is_boolean() && !value.is_number()) {
        return error(31271,
                     "positional projection cannot be used with an expression or sub object");
    }
    if (!value.is_truthy()) {
        return error(31395, "positional projection cannot be used with exclusion");
    }
    if (has_positional_) {
        return error(31276, "Cannot specify more than one positional projection per query.");
    }
    if (has_element_match_) {
        return error(31256, "Cannot specify positional operator and $elemMatch.");
    }
    if (has_slice_) {
        return error(31256, "Cannot specify positional operator and $slice in one projection.");
    }
    if (form_ == Form::exclusion) {
        return error(31253,
                     fmt::format("Cannot do inclusion on field {} in exclusion projection", path));
    }
    has_positional_ = true;
    form_ = Form::inclusion;
    projection_.needs_matched_index_ = true;
    TRY(ProjectionNode* const node, add(array, Kind::positional));
    (void)node;
    return {};
}

Projection::Projection() = default;
Projection::Projection(Projection&&) noexcept = default;
Projection& Projection::operator=(Projection&&) noexcept = default;
Projection::~Projection() = default;

Result<Projection> Projection::parse(View projection, const ProjectionOptions& options) {
    Projection result;
    result.source_ = std::make_unique<bson::Document>(projection);
    TRY_OK(ProjectionParser(result, options).parse(result.source_->view()));
    return result;
}

}  // namespace tessera::query
