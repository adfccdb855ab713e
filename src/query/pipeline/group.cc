// SPDX-License-Identifier: Apache-2.0
//
// $group, and what is written in terms of it: $sortByCount and $bucket.
//
// Two options of ours make it work over shards: "$_partial" emits the accumulators' states instead
// of their results, "$doingMerge" takes such states in (each under the field's own name, the key
// under _id) instead of evaluating the arguments.
#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/accumulator.h"
#include "query/expression/node.h"
#include "query/expression/value_map.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

using bson::Arena;
using bson::Value;
using bson::View;
using expression::failure;

namespace {

class Group final : public Stage {
public:
    Group(const Value& spec, const PipelineContext& context)
        : Stage("$group", spec), program_(context.expression), memory_max_(context.memory_max) {}

    Status parse() {
        bool has_id = false;
        for (const auto& [name, value] : spec().as_view()) {
            if (name == "_id") {
                TRY(id_, program_.parse(value));
                has_id = true;
            } else if (name == "$doingMerge") {
                is_merging_ = value.is_truthy();
            } else if (name == "$_partial") {
                is_partial_ = value.is_truthy();
            } else {
                TRY_OK(parse_field(name, value));
            }
        }
        if (!has_id) return failure(15955, "a group specification must include an _id");
        return {};
    }
    Status optimize() override {
        TRY_OK(id_.optimize(program_));
        for (Field& field : fields_)
            TRY_OK(field.spec.argument().optimize(program_));
        return {};
    }
    bool add_dependencies(Dependencies& dependencies) const override {
        if (is_merging_) {
            dependencies.needs_whole_document = true;
            return true;
        }
        dependencies.add(program_);
        return true;
    }

    Result<Batch> next() override {
        if (!is_loaded_) TRY_OK(load());
        Batch batch;
        Arena arena;
        for (; at_ < groups_.size() && batch.size() < batch_documents_max &&
               batch.bytes() < batch_bytes_max;
             ++at_) {
            bson::Builder builder(batch.begin());
            builder.append("_id", groups_.keys()[at_]);
            for (std::size_t i = 0; i < fields_.size(); ++i) {
                const Accumulator& accumulator = *accumulators_[at_ * fields_.size() + i];
                builder.append(
                    fields_[i].name,
                    is_partial_ ? accumulator.partial(arena) : accumulator.result(arena));
            }
            builder.done();
            arena.clear();
        }
        batch.is_last = at_ >= groups_.size();
        return batch;
    }

private:
    struct Field {
        std::string name;
        AccumulatorSpec spec;
        bool grows;  // Its memory is not constant.
    };

    Status parse_field(std::string_view name, const Value& value) {
        if (!value.is_object())
            return failure(40234,
                           fmt::format("The field '{}' must be an accumulator object", name));
        const View object = value.as_view();
        if (name.find('.') != std::string_view::npos)
            return failure(40235, fmt::format("The field name '{}' cannot contain '.'", name));
        if (name.starts_with('$'))
            return failure(40236,
                           fmt::format("The field name '{}' cannot be an operator name", name));
        if (object.count() != 1)
            return failure(40238, fmt::format("The field '{}' must specify one accumulator", name));
        const bson::Element only = object.front();
        if (!only.name.starts_with('$'))
            return failure(40234,
                           fmt::format("The field '{}' must be an accumulator object", name));
        TRY(AccumulatorSpec spec, AccumulatorSpec::parse(only.name, only.value, program_));
        const bool grows = only.name != "$sum" && only.name != "$avg" && only.name != "$count" &&
                           !only.name.starts_with("$stdDev");
        fields_.push_back({std::string(name), std::move(spec), grows});
        return {};
    }

    Status load() {
        Arena arena;
        Evaluation evaluation(program_, arena);
        bool is_last = false;
        while (!is_last) {
            TRY(const Batch batch, pull());
            is_last = batch.is_last;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                TRY_OK(add(batch[i], evaluation));
                arena.clear();
            }
            if (memory_ + keys_.used() + groups_.memory() > memory_max_)
                return Error(ErrorCode::query_exceeded_memory_limit_no_disk_use_allowed,
                             fmt::format("Exceeded memory limit for $group, but didn't allow "
                                         "external sort. Spilling to disk is not supported; the "
                                         "limit is {} bytes",
                                         memory_max_));
        }
        is_loaded_ = true;
        return {};
    }

    Status add(View document, Evaluation& evaluation) {
        evaluation.bind(document);
        Value key;
        if (is_merging_) {
            key = document["_id"];
        } else {
            TRY(key, id_.evaluate(evaluation));
        }
        if (key.is_missing()) key = Arena::make_null();
        const auto [number, is_new] = groups_.insert(key);
        if (is_new) {
            groups_.replace_key(number, keys_.copy(key));
            for (const Field& field : fields_) {
                accumulators_.push_back(field.spec.make());
                memory_ += accumulators_.back()->memory();
            }
        }
        for (std::size_t i = 0; i < fields_.size(); ++i) {
            const Field& field = fields_[i];
            Accumulator& accumulator = *accumulators_[number * fields_.size() + i];
            const std::size_t before = field.grows ? accumulator.memory() : 0;
            if (is_merging_)
                TRY_OK(accumulator.merge(document[field.name]));
            else
                TRY_OK(field.spec.feed(accumulator, evaluation));
            if (field.grows) memory_ += accumulator.memory() - before;
        }
        return {};
    }

    Program program_;
    Expression id_;
    std::vector<Field> fields_;
    bool is_merging_ = false;
    bool is_partial_ = false;
    std::size_t memory_max_;

    bool is_loaded_ = false;
    Arena keys_;
    ValueMap groups_;
    std::vector<std::unique_ptr<Accumulator>> accumulators_;  // A row of fields_.size() a group.
    std::size_t memory_ = 0;
    std::size_t at_ = 0;
};

}  // namespace

Status parse_group(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_object()) return failure(15947, "a group's fields must be specified in an object");
    auto stage = std::make_unique<Group>(spec, context);
    TRY_OK(stage->parse());
    out.push_back(std::move(stage));
    return {};
}

Status parse_sort_by_count(const Value& spec,
                           const PipelineContext& context,
                           std::vector<StagePtr>& out) {
    if (spec.is_object()) {
        if (spec.as_view().is_empty() || !spec.as_view().front().name.starts_with('$'))
            return failure(40147,
                           fmt::format("the sortByCount field must be defined as a $-prefixed "
                                       "path or an expression inside an object"));
    } else if (spec.is_string()) {
        if (!spec.as_string().starts_with('$'))
            return failure(40148,
                           fmt::format("the sortByCount field must be defined as a $-prefixed "
                                       "path or an expression inside an object"));
    } else {
        return failure(40149,
                       "the sortByCount field must be specified as a string or as an object");
    }
    bson::Builder group;
    group.append("_id", spec);
    {
        auto count = group.object("count");
        count.append("$sum", std::int32_t{1});
    }
    const bson::Document group_spec = std::move(group).finish();
    const bson::Document sort_spec = bson::make("count", std::int32_t{-1});
    TRY_OK(parse_group(group_spec.view().as_object_value(), context, out));
    return parse_sort(sort_spec.view().as_object_value(), context, out);
}

namespace {

struct BucketSpec {
    Value group_by;
    std::vector<Value> boundaries;  // In `arena`.
    Value otherwise;                // 'default'.
    Value output;
    Arena arena;
};

/// The constant an option stands for.
Result<Value> constant_of(const Value& spec,
                          const PipelineContext& context,
                          Arena& arena,
                          int code,
                          std::string_view what) {
    Program program(context.expression);
    TRY(Expression expression, program.parse(spec));
    TRY_OK(expression.optimize(program));
    const auto value = expression.constant();
    if (!value)
        return failure(code,
                       fmt::format("{} must be a constant expression, but found value: {}.",
                                   what,
                                   bson::to_json(spec, bson::JsonMode::message)));
    return arena.copy(*value);
}

Status check_group_by(std::string_view stage, const Value& group_by, int code) {
    if (group_by.is_object() || (group_by.is_string() && group_by.as_string().starts_with('$')))
        return {};
    return failure(code,
                   fmt::format("The {} 'groupBy' field must be defined as a $-prefixed path or "
                               "an expression object, but found: {}.",
                               stage,
                               bson::to_json(group_by, bson::JsonMode::message)));
}

Status parse_boundaries(const Value& value, const PipelineContext& context, BucketSpec& bucket) {
    if (!value.is_array())
        return failure(40200,
                       fmt::format("The $bucket 'boundaries' field must be an array, but "
                                   "found type: {}.",
                                   bson::type_name(value.type())));
    for (const auto& element : value.as_view()) {
        TRY(const Value boundary,
            constant_of(
                element.value, context, bucket.arena, 40191, "The $bucket 'boundaries' field"));
        bucket.boundaries.push_back(boundary);
    }
    if (bucket.boundaries.size() < 2)
        return failure(40192,
                       fmt::format("The $bucket 'boundaries' field must have at least 2 "
                                   "values, but found {} value(s).",
                                   bucket.boundaries.size()));
    for (std::size_t i = 1; i < bucket.boundaries.size(); ++i) {
        const Value& low = bucket.boundaries[i - 1];
        const Value& high = bucket.boundaries[i];
        if (bson::canonical_type(low.type()) != bson::canonical_type(high.type()))
            return failure(40193,
                           "All values in the the 'boundaries' option to $bucket must have "
                           "the same type.");
        if (bson::compare(low, high) >= 0)
            return failure(40194,
                           "The 'boundaries' option to $bucket must be sorted in ascending "
                           "order.");
    }
    return {};
}

Status parse_bucket_spec(const Value& spec, const PipelineContext& context, BucketSpec& bucket) {
    if (!spec.is_object())
        return failure(40201,
                       fmt::format("Argument to $bucket stage must be an object, but found "
                                   "type: {}.",
                                   bson::type_name(spec.type())));
    for (const auto& [name, value] : spec.as_view()) {
        if (name == "groupBy") {
            TRY_OK(check_group_by("$bucket", value, 40202));
            bucket.group_by = value;
        } else if (name == "boundaries") {
            TRY_OK(parse_boundaries(value, context, bucket));
        } else if (name == "default") {
            TRY(bucket.otherwise,
                constant_of(value, context, bucket.arena, 40195, "The $bucket 'default' field"));
        } else if (name == "output") {
            if (!value.is_object())
                return failure(40196,
                               fmt::format("The $bucket 'output' field must be an object, but "
                                           "found type: {}.",
                                           bson::type_name(value.type())));
            bucket.output = value;
        } else {
            return failure(40197, fmt::format("Unrecognized option to $bucket: {}.", name));
        }
    }
    if (bucket.group_by.is_missing() || bucket.boundaries.empty())
        return failure(40198, "$bucket requires 'groupBy' and 'boundaries' to be specified.");
    if (!bucket.otherwise.is_missing() &&
        bson::compare(bucket.otherwise, bucket.boundaries.front()) >= 0 &&
        bson::compare(bucket.otherwise, bucket.boundaries.back()) < 0)
        return failure(40199,
                       "The $bucket 'default' field must be less than the lowest boundary or "
                       "greater than or equal to the highest boundary.");
    return {};
}

void append_comparison(bson::ArrayBuilder& list,
                       std::string_view name,
                       const Value& group_by,
                       const Value& boundary) {
    auto comparison = list.object();
    auto args = comparison.array(name);
    args.append(group_by);
    auto constant = args.object();
    constant.append("$const", boundary);
}

/// The $group that $bucket is.
bson::Document bucket_group(const BucketSpec& bucket) {
    bson::Builder group;
    {
        auto id = group.object("_id");
        auto choice = id.object("$switch");
        {
            auto branches = choice.array("branches");
            for (std::size_t i = 0; i + 1 < bucket.boundaries.size(); ++i) {
                auto branch = branches.object();
                {
                    auto condition = branch.object("case");
                    auto both = condition.array("$and");
                    append_comparison(both, "$gte", bucket.group_by, bucket.boundaries[i]);
                    append_comparison(both, "$lt", bucket.group_by, bucket.boundaries[i + 1]);
                }
                auto then = branch.object("then");
                then.append("$const", bucket.boundaries[i]);
            }
        }
        if (!bucket.otherwise.is_missing()) {
            auto otherwise = choice.object("default");
            otherwise.append("$const", bucket.otherwise);
        }
    }
    if (bucket.output.is_missing()) {
        auto count = group.object("count");
        count.append("$sum", std::int32_t{1});
    } else {
        group.append_all(bucket.output.as_view());
    }
    return std::move(group).finish();
}

}  // namespace

Status parse_bucket(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    BucketSpec bucket;
    TRY_OK(parse_bucket_spec(spec, context, bucket));
    const bson::Document group = bucket_group(bucket);
    const bson::Document sort = bson::make("_id", std::int32_t{1});
    TRY_OK(parse_group(group.view().as_object_value(), context, out));
    return parse_sort(sort.view().as_object_value(), context, out);
}

}  // namespace tessera::query
