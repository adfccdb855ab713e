// SPDX-License-Identifier: Apache-2.0
//
// $facet: several pipelines over the same input, one document with all their results.
#include <fmt/format.h>

#include "query/expression/node.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

using bson::Value;
using expression::failure;

namespace {

/// Reads batches somebody else owns.
class SharedCursor final : public DocumentCursor {
public:
    explicit SharedCursor(const std::vector<Batch>& batches) : batches_(batches) {}
    Result<Batch> next() override {
        Batch batch;
        if (at_ < batches_.size()) batch = batches_[at_++];
        batch.is_last = at_ >= batches_.size();
        return batch;
    }

private:
    const std::vector<Batch>& batches_;
    std::size_t at_ = 0;
};

class Facet final : public Stage {
public:
    Facet(const Value& spec, std::size_t memory_max)
        : Stage("$facet", spec), memory_max_(memory_max) {}
    Status parse(const PipelineContext& context) {
        PipelineContext inner = context;
        inner.is_in_facet = true;
        ++inner.nesting;
        for (const auto& [name, value] : spec().as_view()) {
            if (name.starts_with('$') || name.find('.') != std::string_view::npos)
                return failure(16410,
                               fmt::format("FieldPath field names may not start with '$' or "
                                           "contain '.': {}",
                                           name));
            if (!value.is_array())
                return failure(40170,
                               fmt::format("arguments to $facet must be arrays, {} is type "
                                           "{}",
                                           name,
                                           bson::type_name(value.type())));
            TRY(Pipeline pipeline, Pipeline::parse(value, inner));
            names_.emplace_back(name);
            pipelines_.push_back(std::move(pipeline));
        }
        return {};
    }
    Status optimize() override {
        for (Pipeline& pipeline : pipelines_)
            TRY_OK(pipeline.optimize());
        return {};
    }
    void add_namespaces(std::vector<InvolvedNamespace>& out) const override {
        for (const Pipeline& pipeline : pipelines_)
            for (auto& ns : pipeline.involved_namespaces())
                out.push_back(std::move(ns));
    }
    bool add_dependencies(Dependencies& dependencies) const override {
        for (const Pipeline& pipeline : pipelines_) {
            const auto fields = pipeline.needed_fields();
            if (fields)
                dependencies.fields.insert(fields->begin(), fields->end());
            else
                dependencies.needs_whole_document = true;
        }
        return true;
    }

    Result<Batch> next() override {
        std::vector<Batch> input;
        std::size_t memory = 0;
        bool is_last = false;
        while (!is_last) {
            TRY(Batch batch, pull());
            is_last = batch.is_last;
            memory += batch.bytes();
            if (memory > memory_max_) return memory_error("$facet", memory_max_);
            input.push_back(std::move(batch));
        }
        Batch out;
        out.is_last = true;
        bson::Builder builder(out.begin());
        for (std::size_t i = 0; i < pipelines_.size(); ++i) {
            auto array = builder.array(names_[i]);
            Pipeline& pipeline = pipelines_[i];
            pipeline.attach(std::make_unique<SharedCursor>(input), services_);
            bool is_done = false;
            while (!is_done) {
                TRY(const Batch batch, pipeline.next_inner());
                is_done = batch.is_last;
                for (std::size_t j = 0; j < batch.size(); ++j)
                    array.append(batch[j]);
                if (array.size() > memory_max_)
                    return memory_error("document constructed by $facet", memory_max_);
            }
        }
        builder.done();
        return out;
    }

private:
    std::size_t memory_max_;
    std::vector<std::string> names_;
    std::vector<Pipeline> pipelines_;
};

}  // namespace

Status parse_facet(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_object() || spec.as_view().is_empty())
        return failure(40169, "the $facet specification must be a non-empty object");
    auto stage = std::make_unique<Facet>(spec, context.memory_max);
    TRY_OK(stage->parse(context));
    out.push_back(std::move(stage));
    return {};
}

}  // namespace tessera::query
