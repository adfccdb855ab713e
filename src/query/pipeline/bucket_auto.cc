// SPDX-License-Identifier: Apache-2.0
//
// $bucketAuto: sorts by a value and cuts into so many buckets of like size.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/accumulator.h"
#include "query/expression/node.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

using bson::Arena;
using bson::Value;
using expression::failure;

namespace {

class BucketAuto final : public Stage {
public:
    BucketAuto(const Value& spec, const PipelineContext& context)
        : Stage("$bucketAuto", spec),
          program_(context.expression),
          memory_max_(context.memory_max) {}

    Status parse() {
        bool has_output = false;
        for (const auto& [name, value] : spec().as_view()) {
            if (name == "groupBy") {
                if (!value.is_object() &&
                    !(value.is_string() && value.as_string().starts_with('$')))
                    return failure(40239,
                                   fmt::format("The $bucketAuto 'groupBy' field must be "
                                               "defined as a $-prefixed path or an expression "
                                               "object, but found: {}.",
                                               bson::to_json(value, bson::JsonMode::message)));
                TRY(group_by_, program_.parse(value));
            } else if (name == "buckets") {
                if (!value.is_number())
                    return failure(40241,
                                   "The $bucketAuto 'buckets' field must be a numeric value");
                if (!value.is_integral() || value.to_int64() > INT32_MAX)
                    return failure(40242,
                                   "The $bucketAuto 'buckets' field must be representable as "
                                   "a 32-bit integer");
                if (value.to_int64() <= 0)
                    return failure(40243,
                                   fmt::format("The $bucketAuto 'buckets' field must be "
                                               "greater than 0, but found: {}.",
                                               value.to_int64()));
                buckets_max_ = static_cast<std::size_t>(value.to_int64());
            } else if (name == "output") {
                if (!value.is_object())
                    return failure(40244, "The $bucketAuto 'output' field must be an object");
                has_output = true;
                for (const auto& [field, accumulator] : value.as_view())
                    TRY_OK(add_output(field, accumulator));
            } else if (name == "granularity") {
                return Error(ErrorCode::not_implemented,
                             "The $bucketAuto 'granularity' field is not supported");
            } else {
                return failure(40245, fmt::format("Unrecognized option to $bucketAuto: {}.", name));
            }
        }
        if (!group_by_.is_set() || buckets_max_ == 0)
            return failure(40246, "$bucketAuto requires 'groupBy' and 'buckets' to be specified");
        if (has_output) return {};
        const bson::Document count = bson::make("$sum", std::int32_t{1});
        return add_output("count", count.view().as_object_value());
    }
    Status optimize() override { return group_by_.optimize(program_); }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.add(program_);
        return true;
    }

    Result<Batch> next() override {
        Arena arena;
        Evaluation evaluation(program_, arena);
        TRY_OK(load(evaluation, arena));
        Batch out;
        out.is_last = true;
        const double exact =
            static_cast<double>(entries_.size()) / static_cast<double>(buckets_max_);
        const auto size = std::max<std::size_t>(1, static_cast<std::size_t>(std::llround(exact)));
        std::size_t begin = 0;
        for (std::size_t bucket = 1; begin < entries_.size(); ++bucket) {
            std::size_t end =
                bucket >= buckets_max_ ? entries_.size() : std::min(begin + size, entries_.size());
            while (end < entries_.size() &&
                   bson::equal(entries_[end].key.view(), entries_[end - 1].key.view()))
                ++end;
            TRY_OK(write(begin, end, evaluation, arena, out));
            begin = end;
        }
        return out;
    }

private:
    struct Output {
        std::string name;
        AccumulatorSpec spec;
    };
    struct Entry {
        OwnedValue key;
        bson::Document document;
    };

    Status add_output(std::string_view name, const Value& value) {
        if (!value.is_object() || value.as_view().count() != 1)
            return failure(40238, fmt::format("The field '{}' must specify one accumulator", name));
        const bson::Element only = value.as_view().front();
        TRY(AccumulatorSpec spec, AccumulatorSpec::parse(only.name, only.value, program_));
        outputs_.push_back({std::string(name), std::move(spec)});
        return {};
    }
    Status load(Evaluation& evaluation, Arena& arena) {
        std::size_t memory = 0;
        bool is_last = false;
        while (!is_last) {
            TRY(const Batch batch, pull());
            is_last = batch.is_last;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                evaluation.bind(batch[i]);
                TRY(const Value key, group_by_.evaluate(evaluation));
                entries_.push_back({OwnedValue(key.is_missing() ? Arena::make_null() : key),
                                    bson::Document(batch[i])});
                memory += batch[i].size() + entries_.back().key.memory();
                arena.clear();
                if (memory > memory_max_) return memory_error("$bucketAuto", memory_max_);
            }
        }
        std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& one, const Entry& two) {
            return bson::compare(one.key.view(), two.key.view()) < 0;
        });
        return {};
    }
    Status write(
        std::size_t begin, std::size_t end, Evaluation& evaluation, Arena& arena, Batch& out) {
        std::vector<std::unique_ptr<Accumulator>> accumulators;
        for (const Output& output : outputs_)
            accumulators.push_back(output.spec.make());
        for (std::size_t i = begin; i < end; ++i) {
            evaluation.bind(entries_[i].document.view());
            for (std::size_t j = 0; j < outputs_.size(); ++j)
                TRY_OK(outputs_[j].spec.feed(*accumulators[j], evaluation));
            arena.clear();
        }
        bson::Builder builder(out.begin());
        {
            auto id = builder.object("_id");
            id.append("min", entries_[begin].key.view());
            id.append("max", entries_[end < entries_.size() ? end : end - 1].key.view());
        }
        for (std::size_t j = 0; j < outputs_.size(); ++j)
            builder.append(outputs_[j].name, accumulators[j]->result(arena));
        builder.done();
        arena.clear();
        return {};
    }

    Program program_;
    Expression group_by_;
    std::size_t buckets_max_ = 0;
    std::vector<Output> outputs_;
    std::size_t memory_max_;
    std::vector<Entry> entries_;
};

}  // namespace

Status parse_bucket_auto(const Value& spec,
                         const PipelineContext& context,
                         std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return failure(40240,
                       fmt::format("The argument to $bucketAuto must be an object, but found "
                                   "type: {}.",
                                   bson::type_name(spec.type())));
    auto stage = std::make_unique<BucketAuto>(spec, context);
    TRY_OK(stage->parse());
    out.push_back(std::move(stage));
    return {};
}

}  // namespace tessera::query
