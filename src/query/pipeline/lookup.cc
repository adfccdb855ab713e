// SPDX-License-Identifier: Apache-2.0
//
// $lookup. With localField and foreignField alone it joins a batch at a time: the distinct local
// values are asked for in one query (which an index may answer) and the foreign documents are
// found again by a hash table. With a pipeline it runs it for each document, or once when it uses
// no variable.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "bson/json.h"
#include "bson/validate.h"
#include "query/expression/node.h"
#include "query/expression/value_map.h"
#include "query/match/filter.h"
#include "query/pipeline/sub_pipeline.h"

namespace tessera::query {

using bson::Arena;
using bson::Value;
using bson::View;

namespace {

struct LookupSpec {
    PipelineNamespace from;
    std::string local_field;
    std::string foreign_field;
    std::string as;
    std::vector<std::string> let_names;
    std::vector<Expression> let_values;
    std::vector<bson::Document> pipeline;
    bool has_pipeline = false;
    bool has_join() const { return !foreign_field.empty(); }
};

bool has_numeric_part(std::string_view path) {
    while (!path.empty()) {
        const std::size_t dot = path.find('.');
        const std::string_view part = path.substr(0, dot);
        if (!part.empty() &&
            std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; }))
            return true;
        if (dot == std::string_view::npos) break;
        path.remove_prefix(dot + 1);
    }
    return false;
}

/// The foreign documents a batch of local ones asks for, and which of them match a value.
class Joined {
public:
    Joined(std::vector<Batch> batches, std::string field)
        : batches_(std::move(batches)), field_(std::move(field)) {
        for (const Batch& batch : batches_)
            for (std::size_t i = 0; i < batch.size(); ++i)
                documents_.push_back(batch[i]);
        index();
    }
    /// Appends the documents that match any of the values, each once, in their order.
    Result<std::vector<View>> find(const std::vector<Value>& values) {
        std::vector<std::uint32_t> found;
        for (const Value& value : values) {
            if (value.is_nullish() || by_filter_) {
                TRY_OK(find_by_filter(value, found));
                continue;
            }
            const std::uint32_t number = keys_.find(value);
            if (number != ValueMap::none)
                found.insert(found.end(), lists_[number].begin(), lists_[number].end());
        }
        std::sort(found.begin(), found.end());
        found.erase(std::unique(found.begin(), found.end()), found.end());
        std::vector<View> result;
        for (const std::uint32_t i : found)
            result.push_back(documents_[i]);
        return result;
    }

private:
    void index() {
        by_filter_ = has_numeric_part(field_);
        if (by_filter_) return;
        std::vector<Value> values;
        for (std::uint32_t i = 0; i < documents_.size(); ++i) {
            values.clear();
            expand_values(documents_[i].as_object_value(), field_, true, values);
            for (const Value& value : values) {
                const auto inserted = keys_.insert(value);
                if (inserted.is_new) lists_.emplace_back();
                lists_[inserted.number].push_back(i);
            }
        }
    }
    /// Null matches what is missing too: the filter knows the rules.
    Status find_by_filter(const Value& value, std::vector<std::uint32_t>& found) {
        bson::Builder builder;
        {
            auto condition = builder.object(field_);
            condition.append("$eq", value);
        }
        const bson::Document condition = std::move(builder).finish();
        TRY(const Filter filter, Filter::parse(condition.view(), {}));
        MatchContext context;
        for (std::uint32_t i = 0; i < documents_.size(); ++i) {
            TRY(const bool is_match, filter.matches(documents_[i], context));
            if (is_match) found.push_back(i);
        }
        return {};
    }

    std::vector<Batch> batches_;
    std::string field_;
    std::vector<View> documents_;
    bool by_filter_ = false;
    ValueMap keys_;
    std::vector<std::vector<std::uint32_t>> lists_;
};

class Lookup final : public Stage {
public:
    Lookup(const Value& spec, const PipelineContext& context)
        : Stage("$lookup", spec),
          program_(context.expression),
          let_(context.expression.let),
          memory_max_(context.memory_max) {}

    Status parse(const PipelineContext& context);
    Status optimize() override {
        for (Expression& value : spec_.let_values)
            TRY_OK(value.optimize(program_));
        return {};
    }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.add(program_);
        if (!spec_.local_field.empty()) dependencies.fields.insert(spec_.local_field);
        return false;
    }
    void add_namespaces(std::vector<InvolvedNamespace>& out) const override {
        if (!spec_.from.collection.empty()) out.push_back({spec_.from, false});
        out.insert(out.end(), inner_.begin(), inner_.end());
    }

    Result<Batch> next() override {
        TRY(const Batch in, pull());
        ENSURE(services_ != nullptr);
        Batch out;
        out.is_last = in.is_last;
        if (spec_.has_join() && !spec_.has_pipeline)
            TRY_OK(join(in, out));
        else
            TRY_OK(run_for_each(in, out));
        return out;
    }

private:
    std::vector<Value> local_values(View document) const {
        std::vector<Value> values;
        expand_values(document.as_object_value(), spec_.local_field, false, values);
        // No value at all is null; an empty array has no values, and matches nothing.
        if (values.empty() && !document.at_path(spec_.local_field).is_array())
            values.push_back(Arena::make_null());
        return values;
    }
    void write(View document, const std::vector<View>& found, Batch& out) {
        bson::ArrayBuilder array;
        for (const View& foreign : found)
            array.append(foreign);
        const bson::Document bytes = std::move(array).finish();
        write_with_path(document, spec_.as, bytes.view().as_array_value(), out.begin());
    }

    Status join(const Batch& in, Batch& out) {
        std::size_t begin = 0;
        while (begin < in.size()) {
            std::vector<std::vector<Value>> values;
            ValueMap distinct;
            std::size_t end = begin;
            for (; end < in.size() && distinct.size() < lookup_values_max; ++end) {
                values.push_back(local_values(in[end]));
                for (const Value& value : values.back())
                    distinct.insert(value);
                if (is_careful_) {
                    ++end;
                    break;
                }
            }
            const std::vector<bson::Document> stages{
                match_any(spec_.foreign_field, distinct.keys())};
            TRY(auto cursor, services_->open(spec_.from, stages, let_.view()));
            auto batches = read_all(*cursor,
                                    is_careful_ ? bson::internal_bytes_max : memory_max_,
                                    spec_.from,
                                    "$lookup");
            if (!batches) {
                if (is_careful_ || batches.error().code() != location(4568))
                    return std::move(batches).error();
                is_careful_ = true;  // Too much for a batch: a document at a time from here on.
                continue;
            }
            Joined joined(*std::move(batches), spec_.foreign_field);
            for (std::size_t i = begin; i < end; ++i) {
                TRY(const auto found, joined.find(values[i - begin]));
                write(in[i], found, out);
            }
            begin = end;
        }
        return {};
    }

    Status run_for_each(const Batch& in, Batch& out) {
        Arena arena;
        Evaluation evaluation(program_, arena);
        const bool is_correlated = spec_.has_join() || !spec_.let_names.empty();
        for (std::size_t i = 0; i < in.size(); ++i) {
            if (is_correlated || !has_cached_) {
                bson::Builder let;
                for (const auto& element : let_.view())
                    if (std::find(spec_.let_names.begin(), spec_.let_names.end(), element.name) ==
                        spec_.let_names.end())
                        let.append(element);
                evaluation.bind(in[i]);
                for (std::size_t j = 0; j < spec_.let_names.size(); ++j) {
                    TRY(const Value value, spec_.let_values[j].evaluate(evaluation));
                    // A missing value is a variable all the same; null stands for it.
                    let.append(spec_.let_names[j], value.is_missing() ? Arena::make_null() : value);
                }
                const bson::Document variables = std::move(let).finish();
                std::vector<bson::Document> stages;
                if (spec_.has_join())
                    stages.push_back(match_any(spec_.foreign_field, local_values(in[i])));
                stages.insert(stages.end(), spec_.pipeline.begin(), spec_.pipeline.end());
                TRY(auto cursor, services_->open(spec_.from, stages, variables.view()));
                TRY(cached_, read_all(*cursor, bson::internal_bytes_max, spec_.from, "$lookup"));
                has_cached_ = true;
            }
            std::vector<View> found;
            for (const Batch& batch : cached_)
                for (std::size_t j = 0; j < batch.size(); ++j)
                    found.push_back(batch[j]);
            write(in[i], found, out);
            arena.clear();
        }
        return {};
    }

    LookupSpec spec_;
    Program program_;
    bson::Document let_;  // The command's own variables.
    std::vector<InvolvedNamespace> inner_;
    std::size_t memory_max_;
    bool is_careful_ = false;
    bool has_cached_ = false;
    std::vector<Batch> cached_;  // What the last run gave; all runs', when not correlated.
};

Error bad_spec(std::string text) {
    return Error(ErrorCode::failed_to_parse, std::move(text));
}

Status Lookup::parse(const PipelineContext& context) {
    Value pipeline;
    for (const auto& [name, value] : spec().as_view()) {
        if (name == "pipeline") {
            pipeline = value;
        } else if (name == "let") {
            if (!value.is_object())
                return bad_spec(
                    fmt::format("$lookup argument 'let: {}' must be an object, is type "
                                "{}",
                                bson::to_json(value, bson::JsonMode::message),
                                bson::type_name(value.type())));
            for (const auto& [variable, expression] : value.as_view()) {
                TRY_OK(expression::Parser::check_variable_name(variable));
                TRY(Expression parsed, program_.parse(expression));
                spec_.let_names.emplace_back(variable);
                spec_.let_values.push_back(std::move(parsed));
            }
        } else if (name == "from") {
            TRY(spec_.from, parse_from("$lookup", "from", value, context));
        } else {
            std::string* const target = name == "localField"     ? &spec_.local_field
                                        : name == "foreignField" ? &spec_.foreign_field
                                        : name == "as"           ? &spec_.as
                                                                 : nullptr;
            if (!target) return bad_spec(fmt::format("unknown argument to $lookup: {}", name));
            if (!value.is_string())
                return bad_spec(
                    fmt::format("$lookup argument '{}: {}' must be a string, is type {}",
                                name,
                                bson::to_json(value, bson::JsonMode::message),
                                bson::type_name(value.type())));
            *target = value.as_string();
            TRY(const auto parts, expression::split_path(*target));
            (void)parts;
        }
    }
    if (spec_.as.empty()) return bad_spec("must specify 'as' field for a $lookup");
    if (spec_.local_field.empty() != spec_.foreign_field.empty())
        return bad_spec(
            "$lookup requires both or neither of 'localField' and 'foreignField' to be "
            "specified");
    if (!spec_.has_join() && pipeline.is_missing())
        return bad_spec(
            "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' "
            "to be specified");
    if (!spec_.let_names.empty() && pipeline.is_missing())
        return bad_spec("$lookup with a 'let' argument must also specify 'pipeline'");
    if (!pipeline.is_missing()) {
        TRY(spec_.pipeline,
            check_sub_pipeline("$lookup", pipeline, spec_.let_names, context, inner_));
        spec_.has_pipeline = true;
    }
    const bool brings_documents =
        !spec_.pipeline.empty() && spec_.pipeline[0].view().has("$documents");
    if (spec_.from.collection.empty() && !brings_documents)
        return bad_spec(fmt::format("missing 'from' option to $lookup stage specification: {}",
                                    bson::to_json(spec(), bson::JsonMode::message)));
    if (spec_.from.db.empty()) spec_.from.db = context.ns.db;
    return {};
}

}  // namespace

Status parse_lookup(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return bad_spec(
            fmt::format("the $lookup stage specification must be an object, but found "
                        "{}",
                        bson::type_name(spec.type())));
    auto stage = std::make_unique<Lookup>(spec, context);
    TRY_OK(stage->parse(context));
    out.push_back(std::move(stage));
    return {};
}

}  // namespace tessera::query
