// SPDX-License-Identifier: Apache-2.0
//
// $graphLookup (breadth first, a query a level) and $unionWith.
#include <fmt/format.h>

#include "bson/json.h"
#include "bson/validate.h"
#include "query/expression/compiler.h"
#include "query/expression/node.h"
#include "query/expression/value_map.h"
#include "query/match/filter.h"
#include "query/pipeline/sub_pipeline.h"

namespace tessera::query {

using bson::Arena;
using bson::Value;
using bson::View;
using expression::failure;

namespace {

class GraphLookup final : public Stage {
public:
    GraphLookup(const Value& spec, const PipelineContext& context)
        : Stage("$graphLookup", spec),
          program_(context.expression),
          let_(context.expression.let),
          memory_max_(context.memory_max) {}

    Status parse(const PipelineContext& context) {
        for (const auto& [name, value] : spec().as_view()) {
            if (name == "startWith") {
                TRY(start_with_, program_.parse(value));
            } else if (name == "from") {
                TRY(from_, parse_from("$graphLookup", "from", value, context));
            } else if (name == "maxDepth") {
                if (!value.is_number())
                    return failure(40100,
                                   fmt::format("maxDepth must be numeric, found type: {}",
                                               bson::type_name(value.type())));
                if (value.to_int64() < 0)
                    return failure(40101,
                                   fmt::format("maxDepth requires a nonnegative argument, "
                                               "found: {}",
                                               value.to_int64()));
                if (!value.is_integral())
                    return failure(40102, "maxDepth could not be represented as a long long");
                depth_max_ = value.to_int64();
            } else if (name == "restrictSearchWithMatch") {
                if (!value.is_object())
                    return failure(40185, "restrictSearchWithMatch must be an object");
                const AggregationCompiler compiler(context.expression);
                TRY(const Filter filter,
                    Filter::parse(value.as_view(),
                                  {.expressions = &compiler, .is_pipeline = true}));
                restriction_ = bson::Document(value.as_view());
            } else {
                std::string* const target = name == "as"                 ? &as_
                                            : name == "connectFromField" ? &from_field_
                                            : name == "connectToField"   ? &to_field_
                                            : name == "depthField"       ? &depth_field_
                                                                         : nullptr;
                if (!target)
                    return failure(40104,
                                   fmt::format("Unknown argument to $graphLookup: {}", name));
                if (!value.is_string())
                    return failure(40103,
                                   fmt::format("expected string as argument for {}, found: "
                                               "{}",
                                               name,
                                               bson::to_json(value, bson::JsonMode::message)));
                *target = value.as_string();
                TRY(const auto parts, expression::split_path(*target));
            }
        }
        if (from_.collection.empty() || as_.empty() || from_field_.empty() || to_field_.empty() ||
            !start_with_.is_set())
            return failure(40105,
                           "$graphLookup requires 'from', 'as', 'startWith', "
                           "'connectFromField', and 'connectToField' to be specified.");
        return {};
    }
    Status optimize() override { return start_with_.optimize(program_); }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.add(program_);
        return false;
    }
    void add_namespaces(std::vector<InvolvedNamespace>& out) const override {
        out.push_back({from_, false});
    }

    Result<Batch> next() override {
        TRY(const Batch in, pull());
        ENSURE(services_ != nullptr);
        Batch out;
        out.is_last = in.is_last;
        Arena arena;
        Evaluation evaluation(program_, arena);
        for (std::size_t i = 0; i < in.size(); ++i) {
            evaluation.bind(in[i]);
            TRY(const Value start, start_with_.evaluate(evaluation));
            TRY(const Value found, search(start, arena));
            write_with_path(in[i], as_, found, out.begin());
            arena.clear();
        }
        return out;
    }

private:
    Result<Value> search(const Value& start, Arena& arena) {
        ValueMap asked;  // Values looked for so far.
        Found found{arena, {}, {}};
        std::vector<Value> frontier;
        const auto add = [&](const Value& value) {
            const auto inserted = asked.insert(value);
            if (!inserted.is_new) return;
            asked.replace_key(inserted.number, arena.copy(value));
            frontier.push_back(asked.keys()[inserted.number]);
        };
        if (start.is_array())
            for (const auto& element : start.as_view())
                add(element.value);
        else
            add(start.is_missing() ? Arena::make_null() : start);
        for (std::int64_t depth = 0; !frontier.empty() && depth <= depth_max_; ++depth) {
            std::vector<bson::Document> stages{match_any(to_field_, frontier)};
            if (!restriction_.is_empty())
                stages.push_back(bson::make("$match", restriction_.view()));
            frontier.clear();
            TRY(auto cursor, services_->open(from_, stages, let_.view()));
            bool is_last = false;
            while (!is_last) {
                TRY(const Batch batch, cursor->next());
                is_last = batch.is_last;
                for (std::size_t i = 0; i < batch.size(); ++i)
                    visit(batch[i], depth, found, add);
                if (arena.used() + found.documents.size() > memory_max_)
                    return failure(40099, "$graphLookup reached maximum memory consumption");
            }
        }
        return std::move(found.documents).make(arena);
    }

    struct Found {
        Arena& arena;
        ValueMap ids;
        expression::ArrayMaker documents;
    };
    template <class Add>
    void visit(View document, std::int64_t depth, Found& found, const Add& add) {
        const auto inserted = found.ids.insert(document["_id"]);
        if (!inserted.is_new) return;
        found.ids.replace_key(inserted.number, found.arena.copy(document["_id"]));
        if (depth_field_.empty()) {
            found.documents.add(document.as_object_value());
        } else {
            std::string bytes;
            write_with_path(document, depth_field_, found.arena.make(depth), bytes);
            found.documents.add(View(bytes.data()).as_object_value());
        }
        std::vector<Value> next;
        expand_values(document.as_object_value(), from_field_, false, next);
        for (const Value& value : next)
            add(value);
    }

    Program program_;
    bson::Document let_;
    Expression start_with_;
    PipelineNamespace from_;
    std::string from_field_;
    std::string to_field_;
    std::string as_;
    std::string depth_field_;
    std::int64_t depth_max_ = INT64_MAX;
    bson::Document restriction_;
    std::size_t memory_max_;
};

class UnionWith final : public Stage {
public:
    UnionWith(const Value& spec, const PipelineContext& context)
        : Stage("$unionWith", spec), let_(context.expression.let) {}
    Status parse(const PipelineContext& context) {
        Value collection = spec();
        Value pipeline;
        if (spec().is_object()) {
            collection = Value();
            for (const auto& [name, value] : spec().as_view()) {
                if (name == "coll")
                    collection = value;
                else if (name == "pipeline")
                    pipeline = value;
                else
                    return failure(40415,
                                   fmt::format("BSON field '$unionWith.{}' is an unknown "
                                               "field.",
                                               name));
            }
        }
        if (!pipeline.is_missing()) {
            TRY(pipeline_, check_sub_pipeline("$unionWith", pipeline, {}, context, inner_));
        }
        ns_.db = context.ns.db;
        const bool brings_documents = !pipeline_.empty() && pipeline_[0].view().has("$documents");
        if (collection.is_missing() && !brings_documents)
            return failure(40414, "BSON field '$unionWith.coll' is missing but a required field");
        if (!collection.is_missing()) {
            TRY(ns_, parse_from("$unionWith", "coll", collection, context));
        }
        return {};
    }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.needs_whole_document = true;
        return false;
    }
    void add_namespaces(std::vector<InvolvedNamespace>& out) const override {
        if (!ns_.collection.empty()) out.push_back({ns_, false});
        out.insert(out.end(), inner_.begin(), inner_.end());
    }
    Result<Batch> next() override {
        if (!is_source_done_) {
            TRY(Batch batch, pull());
            is_source_done_ = batch.is_last;
            batch.is_last = false;
            return batch;
        }
        ENSURE(services_ != nullptr);
        if (!cursor_) {
            TRY(cursor_, services_->open(ns_, pipeline_, let_.view()));
        }
        return cursor_->next();
    }

private:
    bson::Document let_;
    PipelineNamespace ns_;
    std::vector<bson::Document> pipeline_;
    std::vector<InvolvedNamespace> inner_;
    bool is_source_done_ = false;
    std::unique_ptr<DocumentCursor> cursor_;
};

}  // namespace

Status parse_graph_lookup(const Value& spec,
                          const PipelineContext& context,
                          std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return Error(
            ErrorCode::failed_to_parse,
            fmt::format("the $graphLookup stage specification must be an object, but found "
                        "{}",
                        bson::type_name(spec.type())));
    auto stage = std::make_unique<GraphLookup>(spec, context);
    TRY_OK(stage->parse(context));
    out.push_back(std::move(stage));
    return {};
}

Status parse_union_with(const Value& spec,
                        const PipelineContext& context,
                        std::vector<StagePtr>& out) {
    if (!spec.is_object() && !spec.is_string())
        return Error(ErrorCode::failed_to_parse,
                     fmt::format("the $unionWith stage specification must be an object or string, "
                                 "but found {}",
                                 bson::type_name(spec.type())));
    auto stage = std::make_unique<UnionWith>(spec, context);
    TRY_OK(stage->parse(context));
    out.push_back(std::move(stage));
    return {};
}

}  // namespace tessera::query
