// SPDX-License-Identifier: Apache-2.0
//
// $out and $merge.
#include <fmt/format.h>

#include "bson/ids.h"
#include "bson/json.h"
#include "query/expression/node.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

using bson::Arena;
using bson::Value;
using bson::View;
using expression::failure;

namespace {

class Out final : public Stage {
public:
    Out(const Value& spec, PipelineNamespace target)
        : Stage("$out", spec), target_(std::move(target)) {}
    bool writes() const override { return true; }
    void add_namespaces(std::vector<InvolvedNamespace>& out) const override {
        out.push_back({target_, true});
    }
    Result<Batch> next() override {
        ENSURE(services_ != nullptr);
        TRY(auto writer, services_->open_out(target_));
        bool is_last = false;
        while (!is_last) {
            TRY(const Batch batch, pull());
            is_last = batch.is_last;
            TRY_OK(writer->write(batch));
        }
        TRY_OK(writer->finish());
        Batch none;
        none.is_last = true;
        return none;
    }

private:
    PipelineNamespace target_;
};

enum class Matched { replace, keep_existing, merge, fail, pipeline };
enum class NotMatched { insert, discard, fail };

class Merge final : public Stage {
public:
    Merge(const Value& spec, const PipelineContext& context)
        : Stage("$merge", spec),
          program_(context.expression),
          random_(context.expression.random_seed),
          ids_(random_),
          now_(context.expression.now) {}

    Status parse(const PipelineContext& context);
    bool writes() const override { return true; }
    void add_namespaces(std::vector<InvolvedNamespace>& out) const override {
        out.push_back({target_, true});
    }
    Status optimize() override {
        for (Expression& value : let_values_)
            TRY_OK(value.optimize(program_));
        return {};
    }
    Result<Batch> next() override {
        ENSURE(services_ != nullptr);
        TRY_OK(check_key());
        Arena arena;
        Evaluation evaluation(program_, arena);
        std::vector<MergeWrite> writes;
        bool is_last = false;
        while (!is_last) {
            TRY(const Batch batch, pull());
            is_last = batch.is_last;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                TRY(MergeWrite write, make_write(batch[i], evaluation));
                writes.push_back(std::move(write));
                arena.clear();
                if (writes.size() >= merge_writes_max) TRY_OK(flush(writes));
            }
            TRY_OK(flush(writes));
        }
        Batch none;
        none.is_last = true;
        return none;
    }

private:
    Status parse_matched(const Value& value, const PipelineContext& context);
    Status parse_not_matched(const Value& value);
    Status parse_on(const Value& value);
    Status parse_let(const Value& value);
    Status check_modes() const;
    Status check_key() {
        if (on_.empty()) {
            TRY(on_, services_->merge_key(target_));
            return {};
        }
        TRY(const bool is_unique, services_->has_unique_index(target_, on_));
        if (!is_unique)
            return failure(51183, "Cannot find index to verify that join fields will be unique");
        return {};
    }
    Status flush(std::vector<MergeWrite>& writes) {
        if (writes.empty()) return {};
        auto counts = services_->merge(target_, writes);
        if (!counts) {
            if (matched_ == Matched::fail && counts.error().code() == ErrorCode::duplicate_key)
                return counts.error().with_prefix(
                    "$merge with whenMatched: fail found an existing document with the same values "
                    "for the 'on' fields :: caused by :: ");
            return std::move(counts).error();
        }
        if (not_matched_ == NotMatched::fail)
            for (const std::int64_t count : *counts)
                if (count == 0)
                    return Error(ErrorCode::merge_stage_no_matching_document,
                                 "$merge could not find a matching document in the target "
                                 "collection for at least one document in the source collection");
        writes.clear();
        return {};
    }
    Result<MergeWrite> make_write(View given, Evaluation& evaluation);

    PipelineNamespace target_;
    std::vector<std::string> on_;
    Matched matched_ = Matched::merge;
    NotMatched not_matched_ = NotMatched::insert;
    std::string matched_name_ = "merge";
    std::string not_matched_name_ = "insert";
    std::vector<bson::Document> pipeline_;
    Program program_;
    std::vector<std::string> let_names_;
    std::vector<Expression> let_values_;
    Random random_;
    bson::ObjectIdSource ids_;
    WallTime now_;
};

Result<MergeWrite> Merge::make_write(View given, Evaluation& evaluation) {
    MergeWrite write;
    if (given.has("_id")) {
        write.document = bson::Document(given);
    } else {
        bson::Builder builder;
        builder.append("_id", ids_.next(now_));
        builder.append_all(given);
        write.document = std::move(builder).finish();
    }
    bson::Builder query;
    for (const std::string& field : on_) {
        const Value value = write.document.view().at_path(field);
        if (value.is_nullish())
            return failure(51132,
                           fmt::format("$merge write error: 'on' field '{}' cannot be "
                                       "missing, null or undefined if supporting index is "
                                       "sparse",
                                       field));
        if (value.is_array())
            return failure(51185,
                           fmt::format("$merge write error: 'on' field '{}' cannot be an "
                                       "array",
                                       field));
        query.append(field, value);
    }
    write.query = std::move(query).finish();
    write.is_upsert = not_matched_ == NotMatched::insert;
    switch (matched_) {
        case Matched::fail:
            write.kind = MergeWrite::Kind::insert;
            break;
        case Matched::replace:
            write.kind = MergeWrite::Kind::replace;
            break;
        case Matched::keep_existing:
            write.kind = MergeWrite::Kind::keep_existing;
            break;
        case Matched::merge:
        case Matched::pipeline: {
            write.kind = MergeWrite::Kind::pipeline;
            write.pipeline = pipeline_;
            bson::Builder variables;
            evaluation.bind(write.document.view());
            for (std::size_t i = 0; i < let_names_.size(); ++i) {
                TRY(const Value value, let_values_[i].evaluate(evaluation));
                variables.append(let_names_[i], value.is_missing() ? Arena::make_null() : value);
            }
            variables.append("new", write.document.view());
            write.variables = std::move(variables).finish();
            break;
        }
    }
    return write;
}

Status Merge::parse_matched(const Value& value, const PipelineContext& context) {
    if (value.is_array()) {
        matched_ = Matched::pipeline;
        matched_name_ = "pipeline";
        PipelineContext inner = context;
        inner.is_update = true;
        bson::Builder let;
        let.append_all(context.expression.let.view());
        for (const std::string& name : let_names_)
            let.append_null(name);
        let.append("new", View());
        inner.expression.let = std::move(let).finish();
        TRY(const Pipeline checked, Pipeline::parse(value, inner));
        for (const auto& element : value.as_view())
            pipeline_.emplace_back(element.value.as_view());
        return {};
    }
    if (!value.is_string())
        return failure(51191,
                       fmt::format("$merge 'whenMatched' field  must be either a string or "
                                   "an array, but found {}",
                                   bson::type_name(value.type())));
    matched_name_ = value.as_string();
    if (matched_name_ == "replace")
        matched_ = Matched::replace;
    else if (matched_name_ == "keepExisting")
        matched_ = Matched::keep_existing;
    else if (matched_name_ == "merge")
        matched_ = Matched::merge;
    else if (matched_name_ == "fail")
        matched_ = Matched::fail;
    else
        return Error(ErrorCode::bad_value,
                     fmt::format("Enumeration value '{}' for field 'whenMatched' is not a valid "
                                 "value.",
                                 matched_name_));
    return {};
}

Status Merge::check_modes() const {
    if ((matched_ == Matched::keep_existing || matched_ == Matched::fail) &&
        not_matched_ != NotMatched::insert)
        return failure(51181,
                       fmt::format("Combination of $merge modes 'whenMatched: {}' and "
                                   "'whenNotMatched: {}' is not supported",
                                   matched_name_,
                                   not_matched_name_));
    return {};
}

Result<PipelineNamespace> parse_target(const Value& value,
                                       const PipelineContext& context,
                                       std::string_view stage) {
    PipelineNamespace target{context.ns.db, {}};
    if (value.is_string()) {
        target.collection = value.as_string();
    } else if (value.is_object()) {
        for (const auto& [name, part] : value.as_view()) {
            if ((name != "db" && name != "coll") || !part.is_string())
                return failure(40415,
                               fmt::format("BSON field '{}.{}' is an unknown field.", stage, name));
            (name == "db" ? target.db : target.collection) = part.as_string();
        }
    } else {
        return failure(stage == "$out" ? 16990 : 51178,
                       fmt::format("{} only supports a string or object argument, but found {}",
                                   stage,
                                   bson::type_name(value.type())));
    }
    if (target.db.empty() || target.collection.empty())
        return Error(
            ErrorCode::invalid_namespace,
            fmt::format("Invalid {} target namespace, {}.{}", stage, target.db, target.collection));
    if (target.collection.starts_with("system."))
        return failure(
            stage == "$out" ? 17385 : 31319,
            fmt::format("Cannot {} to special collection: {}", stage, target.collection));
    return target;
}

Status Merge::parse_on(const Value& value) {
    if (value.is_string()) {
        on_.emplace_back(value.as_string());
        return {};
    }
    if (!value.is_array() || value.as_view().is_empty())
        return failure(51187,
                       "If explicitly specifying $merge 'on', must include at least one field");
    for (const auto& element : value.as_view()) {
        if (!element.value.is_string())
            return failure(51134, "$merge 'on' array elements must be strings");
        on_.emplace_back(element.value.as_string());
    }
    return {};
}

Status Merge::parse_let(const Value& value) {
    if (!value.is_object())
        return Error(ErrorCode::type_mismatch, "$merge 'let' must be an object");
    for (const auto& [variable, expression] : value.as_view()) {
        if (variable == "new")
            return failure(51273,
                           "'let' may not define a value for the reserved 'new' variable other "
                           "than '$$ROOT'");
        TRY_OK(expression::Parser::check_variable_name(variable));
        TRY(Expression parsed, program_.parse(expression));
        let_names_.emplace_back(variable);
        let_values_.push_back(std::move(parsed));
    }
    return {};
}

Status Merge::parse_not_matched(const Value& value) {
    not_matched_name_ = value.is_string() ? value.as_string() : "";
    if (not_matched_name_ == "insert")
        not_matched_ = NotMatched::insert;
    else if (not_matched_name_ == "discard")
        not_matched_ = NotMatched::discard;
    else if (not_matched_name_ == "fail")
        not_matched_ = NotMatched::fail;
    else
        return Error(ErrorCode::bad_value,
                     fmt::format("Enumeration value '{}' for field 'whenNotMatched' is not a valid "
                                 "value.",
                                 not_matched_name_));
    return {};
}

Status Merge::parse(const PipelineContext& context) {
    Value matched;
    Value into = spec();
    if (spec().is_object()) {
        into = Value();
        for (const auto& [name, value] : spec().as_view()) {
            if (name == "into")
                into = value;
            else if (name == "whenMatched")
                matched = value;
            else if (name == "on")
                TRY_OK(parse_on(value));
            else if (name == "let")
                TRY_OK(parse_let(value));
            else if (name == "whenNotMatched")
                TRY_OK(parse_not_matched(value));
            else
                return failure(40415,
                               fmt::format("BSON field '$merge.{}' is an unknown field.", name));
        }
        if (into.is_missing())
            return failure(40414, "BSON field '$merge.into' is missing but a required field");
    }
    TRY(target_, parse_target(into, context, "$merge"));
    if (!matched.is_missing()) TRY_OK(parse_matched(matched, context));
    if (!let_names_.empty() && matched_ != Matched::pipeline)
        return failure(
            51199,
            fmt::format("Cannot use 'let' variables with 'whenMatched: {}' mode", matched_name_));
    if (matched_ == Matched::merge) {
        bson::Builder stage;
        {
            auto with = stage.object("$replaceWith");
            auto args = with.array("$mergeObjects");
            args.append(std::string_view("$$ROOT"));
            args.append(std::string_view("$$new"));
        }
        pipeline_.push_back(std::move(stage).finish());
    }
    return check_modes();
}

}  // namespace

Status parse_out(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    TRY(PipelineNamespace target, parse_target(spec, context, "$out"));
    out.push_back(std::make_unique<Out>(spec, std::move(target)));
    return {};
}

Status parse_merge(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_string() && !spec.is_object())
        return failure(51182,
                       fmt::format("$merge requires a string or object argument, but found "
                                   "{}",
                                   bson::type_name(spec.type())));
    auto stage = std::make_unique<Merge>(spec, context);
    TRY_OK(stage->parse(context));
    out.push_back(std::move(stage));
    return {};
}

}  // namespace tessera::query
