// SPDX-License-Identifier: Apache-2.0
#include "query/pipeline/project.h"

#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/node.h"
#include "query/pipeline/limits.h"

namespace tessera::query {

using bson::Value;
using bson::View;
using expression::failure;
using Field = FieldTree::Field;
using Kind = FieldTree::Kind;
using Mode = FieldTree::Mode;

namespace {

constexpr int nesting_max = 100;

Field* find(std::vector<Field>& fields, std::string_view name) {
    for (Field& field : fields)
        if (field.name == name) return &field;
    return nullptr;
}
const Field* find(const std::vector<Field>& fields, std::string_view name) {
    for (const Field& field : fields)
        if (field.name == name) return &field;
    return nullptr;
}

bool is_switch(const Value& value) {
    return value.is_number() || value.is_boolean();
}

}  // namespace

class FieldTreeParser {
public:
    FieldTreeParser(FieldTree& tree, bool is_add) : tree_(tree), is_add_(is_add) {}

    Status parse(View spec) {
        if (is_add_) {
            tree_.mode_ = Mode::add;
        } else {
            bool has_include = false;
            bool has_exclude = false;
            survey(spec, "", has_include, has_exclude);
            const Value id = spec["_id"];
            if (!has_include && !has_exclude)  // Only _id.
                has_exclude = is_switch(id) && !id.is_truthy();
            tree_.mode_ = has_include || !has_exclude ? Mode::include : Mode::exclude;
        }
        for (const auto& element : spec)
            TRY_OK(add(element.name, element.value, 0));
        if (tree_.mode_ == Mode::include && !find(tree_.root_.children, "_id")) {
            Field id;
            id.name = "_id";
            id.kind = Kind::include;
            tree_.root_.children.insert(tree_.root_.children.begin(), std::move(id));
        }
        mark(tree_.root_);
        return {};
    }

    Status add_leaf(std::string_view path, Kind kind, Expression expression) {
        TRY(const auto parts, expression::split_path(path));
        Field* at = &tree_.root_;
        for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
            Field* next = find(at->children, parts[i]);
            if (next && next->kind != Kind::inner) {
                std::string rest;
                for (std::size_t j = i + 1; j < parts.size(); ++j)
                    rest += (rest.empty() ? "" : ".") + parts[j];
                return collision(
                    fmt::format("Path collision at {} remaining portion {}", path, rest), 31249);
            }
            if (!next) {
                at->children.emplace_back();
                next = &at->children.back();
                next->name = parts[i];
            }
            at = next;
        }
        if (find(at->children, parts.back()))
            return collision(fmt::format("Path collision at {}", path), 31250);
        at->children.emplace_back();
        Field& leaf = at->children.back();
        leaf.name = parts.back();
        leaf.kind = kind;
        leaf.expression = std::move(expression);
        return {};
    }

    static bool mark(Field& field) {
        field.is_computing = field.kind == Kind::computed;
        for (Field& child : field.children)
            field.is_computing |= mark(child);
        return field.is_computing;
    }

private:
    static Error collision(std::string text, int code) { return failure(code, std::move(text)); }

    /// Finds whether the fields other than _id include or exclude.
    void survey(View spec, const std::string& prefix, bool& has_include, bool& has_exclude) {
        for (const auto& element : spec) {
            if (prefix.empty() && element.name == "_id") {
                if (!is_switch(element.value)) has_include = true;
                continue;
            }
            if (is_switch(element.value)) {
                (element.value.is_truthy() ? has_include : has_exclude) = true;
                if (has_include != has_exclude) return;
            } else if (element.value.is_object() && !element.value.as_view().is_empty() &&
                       !element.value.as_view().front().name.starts_with('$')) {
                survey(element.value.as_view(), prefix + ".", has_include, has_exclude);
            } else {
                has_include = true;
            }
            if (has_include || has_exclude) return;
        }
    }

    Status add(const std::string& path, const Value& value, int depth) {
        return add(std::string_view(path), value, depth);
    }
    Status add(std::string_view path, const Value& value, int depth) {
        if (depth > nesting_max)
            return Error(ErrorCode::overflow, "projection is nested too deeply");
        if (is_switch(value) && !is_add_) return add_switch(path, value);
        if (value.is_object() && value.as_view().is_empty() && !is_add_)
            return failure(51270,
                           fmt::format("An empty sub-projection is not a valid value. Found "
                                       "empty object at path: {}",
                                       path));
        if (value.is_object() && !value.as_view().is_empty()) {
            const View object = value.as_view();
            if (object.front().name.starts_with('$')) {
                if (object.count() != 1)
                    return failure(40181,
                                   fmt::format("Bad projection specification, cannot use an "
                                               "expression with more than one field: {}",
                                               to_json(object, bson::JsonMode::message)));
                if (object.front().name == "$slice" && depth >= 0 &&
                    !object.front().value.is_array())
                    return failure(28667,
                                   "Expression $slice takes at least 2 arguments, and at "
                                   "most 3, but 1 were passed in.");
                if (!Program::has_operator(object.front().name))
                    return failure(31325,
                                   fmt::format("Unknown expression {}", object.front().name));
                return add_computed(path, value);
            }
            for (const auto& element : object)
                TRY_OK(add(
                    std::string(path) + "." + std::string(element.name), element.value, depth + 1));
            return {};
        }
        return add_computed(path, value);
    }

    Status add_switch(std::string_view path, const Value& value) {
        const bool includes = value.is_truthy();
        const bool is_id = path == "_id";
        if (includes && tree_.mode_ == Mode::exclude && !is_id)
            return failure(31253,
                           fmt::format("Cannot do inclusion on field {} in exclusion "
                                       "projection",
                                       path));
        if (!includes && tree_.mode_ == Mode::include && !is_id)
            return failure(31254,
                           fmt::format("Cannot do exclusion on field {} in inclusion "
                                       "projection",
                                       path));
        return add_leaf(path, includes ? Kind::include : Kind::exclude, Expression());
    }

    Status add_computed(std::string_view path, const Value& value) {
        if (tree_.mode_ == Mode::exclude)
            return failure(31252,
                           "Cannot use an expression other than $meta in exclusion "
                           "projection");
        TRY(Expression expression, tree_.program_.parse(value));
        return add_leaf(path, Kind::computed, std::move(expression));
    }

    FieldTree& tree_;
    bool is_add_;
};

Result<std::unique_ptr<FieldTree>> FieldTree::parse(View spec,
                                                    bool is_add,
                                                    const ExpressionContext& context) {
    std::unique_ptr<FieldTree> tree(new FieldTree(context));
    TRY_OK(FieldTreeParser(*tree, is_add).parse(spec));
    return tree;
}

Result<std::unique_ptr<FieldTree>> FieldTree::exclude(const std::vector<std::string>& paths,
                                                      const ExpressionContext& context) {
    std::unique_ptr<FieldTree> tree(new FieldTree(context));
    tree->mode_ = Mode::exclude;
    FieldTreeParser parser(*tree, false);
    for (const std::string& path : paths)
        TRY_OK(parser.add_leaf(path, Kind::exclude, Expression()));
    return tree;
}

namespace {

class Writer {
public:
    Writer(Mode mode, Evaluation& evaluation) : mode_(mode), evaluation_(evaluation) {}

    /// Writes the fields of `in` as `node` says.
    Status write_object(const Field& node, View in, bson::Builder& out) {
        std::uint64_t seen = 0;  // Of the first 64 children: those the document has.
        for (const auto& element : in) {
            const Field* const child = find(node.children, element.name);
            if (!child) {
                if (mode_ != Mode::include) out.append(element);
                continue;
            }
            const auto index = static_cast<std::size_t>(child - node.children.data());
            switch (child->kind) {
                case Kind::include:
                    out.append(element);
                    break;
                case Kind::exclude:
                    break;
                case Kind::computed:
                    if (mode_ == Mode::add) TRY_OK(write_computed(*child, out));
                    if (mode_ == Mode::add && index < 64) seen |= std::uint64_t{1} << index;
                    break;
                case Kind::inner:
                    TRY_OK(write_inner(*child, element.name, element.value, out));
                    if (index < 64) seen |= std::uint64_t{1} << index;
                    break;
            }
        }
        for (std::size_t i = 0; i < node.children.size(); ++i) {
            const Field& child = node.children[i];
            if (!child.is_computing) continue;
            if (i < 64 ? (seen >> i & 1) != 0
                       : in.has(child.name) && (child.kind == Kind::inner || mode_ == Mode::add))
                continue;
            if (child.kind == Kind::computed)
                TRY_OK(write_computed(child, out));
            else
                TRY_OK(write_inner(child, child.name, Value(), out));
        }
        return {};
    }

private:
    Status write_computed(const Field& field, bson::Builder& out) {
        TRY(const Value value, field.expression.evaluate(evaluation_));
        // Many fields, each a large one of the document again, must not exceed a BSON length.
        written_ += value.bytes().size();
        TRY_OK(expression::check_memory(evaluation_, written_));
        out.append(field.name, value);
        return {};
    }

    Status write_inner(const Field& node,
                       std::string_view name,
                       const Value& value,
                       bson::Builder& out) {
        if (value.is_object()) {
            auto object = out.object(name);
            return write_object(node, value.as_view(), object);
        }
        if (value.is_array()) {
            auto array = out.array(name);
            return write_array(node, value.as_view(), array);
        }
        if (node.is_computing) {
            auto object = out.object(name);
            return write_object(node, View(), object);
        }
        if (mode_ != Mode::include) out.append(name, value);
        return {};
    }

    Status write_array(const Field& node, View in, bson::ArrayBuilder& out) {
        for (const auto& element : in) {
            if (element.value.is_object()) {
                auto object = out.object();
                TRY_OK(write_object(node, element.value.as_view(), object));
            } else if (element.value.is_array()) {
                auto array = out.array();
                TRY_OK(write_array(node, element.value.as_view(), array));
            } else if (node.is_computing) {
                auto object = out.object();
                TRY_OK(write_object(node, View(), object));
            } else if (mode_ != Mode::include) {
                out.append(element.value);
            }
        }
        return {};
    }

    Mode mode_;
    Evaluation& evaluation_;
    std::size_t written_ = 0;  // Bytes of computed fields.
};

Status optimize_fields(Field& field, Program& program) {
    if (field.expression.is_set()) TRY_OK(field.expression.optimize(program));
    for (Field& child : field.children)
        TRY_OK(optimize_fields(child, program));
    return {};
}

void add_paths(const Field& field,
               const std::string& prefix,
               std::set<std::string, std::less<>>& paths) {
    for (const Field& child : field.children) {
        const std::string path = prefix.empty() ? child.name : prefix + "." + child.name;
        // A path with computed fields in it is written for what stands there now, arrays above all.
        if (child.kind == Kind::include || (child.kind == Kind::inner && child.is_computing))
            paths.insert(path);
        else if (child.kind == Kind::inner)
            add_paths(child, path, paths);
    }
}

}  // namespace

Status FieldTree::apply(View document, Evaluation& evaluation, std::string& out) const {
    bson::Builder builder(out);
    evaluation.bind(document);
    return Writer(mode_, evaluation).write_object(root_, document, builder);
}

Status FieldTree::optimize() {
    return optimize_fields(root_, program_);
}

void FieldTree::add_included(std::set<std::string, std::less<>>& paths) const {
    add_paths(root_, "", paths);
}

namespace {

class FieldsTransform final : public Transform {
public:
    explicit FieldsTransform(std::unique_ptr<FieldTree> tree) : tree_(std::move(tree)) {}
    Status apply(View document, Evaluation& evaluation, std::string& out) const override {
        return tree_->apply(document, evaluation, out);
    }
    Status optimize() override { return tree_->optimize(); }
    const Program& program() const override { return tree_->program(); }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.add(tree_->program());
        if (tree_->mode() != Mode::include) return false;
        tree_->add_included(dependencies.fields);
        return true;
    }

private:
    std::unique_ptr<FieldTree> tree_;
};

/// $replaceRoot: the document becomes a value of its own.
class ReplaceRoot final : public Transform {
public:
    ReplaceRoot(const ExpressionContext& context, bool is_with)
        : program_(context), is_with_(is_with) {}
    Status parse(const Value& spec) {
        TRY(expression_, program_.parse(spec));
        return {};
    }
    Status apply(View document, Evaluation& evaluation, std::string& out) const override {
        evaluation.bind(document);
        TRY(const Value value, expression_.evaluate(evaluation));
        if (!value.is_object())
            return failure(
                40228,
                fmt::format(
                    "'{}' expression  must evaluate to an object, but resulting "
                    "value was: {}. Type of resulting value: '{}'. Input "
                    "document: {}",
                    is_with_ ? "replacement document" : "newRoot",
                    value.is_missing() ? "MISSING" : bson::to_json(value, bson::JsonMode::message),
                    bson::type_name(value.type()),
                    bson::to_json(document, bson::JsonMode::message)));
        out.append(value.as_view().bytes());
        return {};
    }
    Status optimize() override { return expression_.optimize(program_); }
    const Program& program() const override { return program_; }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.add(program_);
        return true;
    }

private:
    Program program_;
    Expression expression_;
    bool is_with_;
};

Status add_transform(std::string_view name,
                     const Value& spec,
                     std::unique_ptr<Transform> transform,
                     std::vector<StagePtr>& out) {
    out.push_back(std::make_unique<TransformStage>(name, spec, std::move(transform)));
    return {};
}

}  // namespace

Status parse_project(const Value& spec,
                     const PipelineContext& context,
                     std::vector<StagePtr>& out) {
    if (!spec.is_object()) return failure(15969, "$project specification must be an object");
    if (spec.as_view().is_empty())
        return failure(51272,
                       "Invalid $project :: caused by :: projection specification must have "
                       "at least one field");
    auto tree = FieldTree::parse(spec.as_view(), false, context.expression);
    if (!tree) return tree.error().with_prefix("Invalid $project :: caused by :: ");
    return add_transform(
        "$project", spec, std::make_unique<FieldsTransform>(*std::move(tree)), out);
}

Status parse_add_fields(const Value& spec,
                        const PipelineContext& context,
                        std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return failure(40272,
                       fmt::format("$addFields specification stage must be an object, got {}",
                                   bson::type_name(spec.type())));
    if (spec.as_view().is_empty())
        return failure(40177,
                       "Invalid $addFields :: caused by :: specification must have at least "
                       "one field");
    auto tree = FieldTree::parse(spec.as_view(), true, context.expression);
    if (!tree) return tree.error().with_prefix("Invalid $addFields :: caused by :: ");
    return add_transform(
        "$addFields", spec, std::make_unique<FieldsTransform>(*std::move(tree)), out);
}

Status parse_unset(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    std::vector<std::string> paths;
    if (spec.is_string()) {
        paths.emplace_back(spec.as_string());
    } else if (spec.is_array()) {
        if (spec.as_view().is_empty())
            return failure(31119,
                           "$unset specification must be a string or an array with at least "
                           "one field");
        for (const auto& element : spec.as_view()) {
            if (!element.value.is_string())
                return failure(31120,
                               "$unset specification must be a string or an array containing "
                               "only string values");
            paths.emplace_back(element.value.as_string());
        }
    } else {
        return failure(31002, "$unset specification must be a string or an array");
    }
    auto tree = FieldTree::exclude(paths, context.expression);
    if (!tree) return tree.error().with_prefix("Invalid $unset :: caused by :: ");
    return add_transform("$unset", spec, std::make_unique<FieldsTransform>(*std::move(tree)), out);
}

Status parse_replace_root(const Value& spec,
                          const PipelineContext& context,
                          std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return failure(40229,
                       fmt::format("expected an object as specification for $replaceRoot "
                                   "stage, got {}",
                                   bson::type_name(spec.type())));
    Value root;
    for (const auto& element : spec.as_view()) {
        if (element.name != "newRoot")
            return failure(
                40415,
                fmt::format("BSON field '$replaceRoot.{}' is an unknown field.", element.name));
        root = element.value;
    }
    if (root.is_missing())
        return failure(40414, "BSON field '$replaceRoot.newRoot' is missing but a required field");
    auto transform = std::make_unique<ReplaceRoot>(context.expression, false);
    TRY_OK(transform->parse(root));
    return add_transform("$replaceRoot", spec, std::move(transform), out);
}

Status parse_replace_with(const Value& spec,
                          const PipelineContext& context,
                          std::vector<StagePtr>& out) {
    auto transform = std::make_unique<ReplaceRoot>(context.expression, true);
    TRY_OK(transform->parse(spec));
    return add_transform("$replaceWith", spec, std::move(transform), out);
}

Result<Batch> TransformStage::next() {
    if (!evaluation_) evaluation_ = std::make_unique<Evaluation>(transform_->program(), arena_);
    if (at_ >= in_.size()) {
        TRY(in_, pull());
        at_ = 0;
    }
    Batch out;
    // A document may become much larger than it was.
    while (at_ < in_.size() && out.bytes() < batch_bytes_max) {
        TRY_OK(transform_->apply(in_[at_++], *evaluation_, out.begin()));
        arena_.clear();
    }
    out.is_last = in_.is_last && at_ >= in_.size();
    return out;
}

}  // namespace tessera::query
