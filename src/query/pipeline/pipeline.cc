// SPDX-License-Identifier: Apache-2.0
#include "query/pipeline/pipeline.h"

#include <algorithm>

#include <fmt/format.h>

#include "query/expression/node.h"
#include "query/pipeline/simple_stages.h"
#include "query/pipeline/sort.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

using bson::Value;
using bson::View;
using expression::failure;

namespace {

constexpr char coll_stats[] = "$collStats";
constexpr char index_stats[] = "$indexStats";
constexpr char current_op[] = "$currentOp";
constexpr char list_sessions[] = "$listSessions";
constexpr char list_local_sessions[] = "$listLocalSessions";
constexpr char sharded_data_distribution[] = "$shardedDataDistribution";
constexpr char list_cluster_catalog[] = "$listClusterCatalog";
constexpr char change_stream[] = "$changeStream";
constexpr char merge_cursors[] = "$mergeCursors";
constexpr char plan_cache_stats[] = "$planCacheStats";

template <const char* name>
Status parse_server_stage(const Value& spec,
                          const PipelineContext& context,
                          std::vector<StagePtr>& out) {
    out.push_back(make_server_source(name, spec, context));
    return {};
}

/// Removes the key $sample put into each document.
class StripRandom final : public Stage {
public:
    explicit StripRandom(const Value& spec) : Stage("$_internalStripRandom", spec) {}
    Result<Batch> next() override {
        TRY(const Batch in, pull());
        Batch out;
        out.is_last = in.is_last;
        for (std::size_t i = 0; i < in.size(); ++i) {
            bson::Builder builder(out.begin());
            for (const auto& element : in[i])
                if (element.name != "$randVal") builder.append(element);
        }
        return out;
    }
};
Status parse_strip_random(const Value& spec, const PipelineContext&, std::vector<StagePtr>& out) {
    out.push_back(std::make_unique<StripRandom>(spec));
    return {};
}

constexpr StageKind plain(std::string_view name, ParseStage parse) {
    StageKind kind{};
    kind.name = name;
    kind.parse = parse;
    return kind;
}
constexpr StageKind updating(std::string_view name, ParseStage parse) {
    StageKind kind = plain(name, parse);
    kind.is_allowed_in_update = true;
    return kind;
}
constexpr StageKind last(std::string_view name, ParseStage parse) {
    StageKind kind = plain(name, parse);
    kind.must_be_last = true;
    kind.is_allowed_in_facet = false;
    return kind;
}
constexpr StageKind source(std::string_view name, ParseStage parse, bool needs_collection) {
    StageKind kind = plain(name, parse);
    kind.must_be_first = true;
    kind.is_allowed_in_facet = false;
    kind.needs_collection = needs_collection;
    return kind;
}
constexpr StageKind not_in_facet(StageKind kind) {
    kind.is_allowed_in_facet = false;
    return kind;
}

constexpr StageKind kinds[] = {
    updating("$addFields", parse_add_fields),
    plain("$bucket", parse_bucket),
    plain("$bucketAuto", parse_bucket_auto),
    plain("$count", parse_count),
    source("$documents", parse_documents, false),
    not_in_facet(plain("$facet", parse_facet)),
    plain("$graphLookup", parse_graph_lookup),
    plain("$group", parse_group),
    plain("$limit", parse_limit),
    plain("$lookup", parse_lookup),
    plain("$match", parse_match),
    last("$merge", parse_merge),
    last("$out", parse_out),
    updating("$project", parse_project),
    plain("$redact", parse_redact),
    updating("$replaceRoot", parse_replace_root),
    updating("$replaceWith", parse_replace_with),
    plain("$sample", parse_sample),
    updating("$set", parse_add_fields),
    plain("$skip", parse_skip),
    plain("$sort", parse_sort),
    plain("$sortByCount", parse_sort_by_count),
    plain("$unionWith", parse_union_with),
    updating("$unset", parse_unset),
    plain("$unwind", parse_unwind),
    plain("$_internalStripRandom", parse_strip_random),
    source(coll_stats, parse_server_stage<coll_stats>, true),
    source(index_stats, parse_server_stage<index_stats>, true),
    source(current_op, parse_server_stage<current_op>, false),
    source(list_sessions, parse_server_stage<list_sessions>, true),
    source(list_local_sessions, parse_server_stage<list_local_sessions>, false),
    source(sharded_data_distribution, parse_server_stage<sharded_data_distribution>, false),
    source(list_cluster_catalog, parse_server_stage<list_cluster_catalog>, false),
    source(change_stream, parse_server_stage<change_stream>, false),
    source(merge_cursors, parse_server_stage<merge_cursors>, false),
    source(plan_cache_stats, parse_server_stage<plan_cache_stats>, true),
};

}  // namespace

const StageKind* find_stage_kind(std::string_view name) {
    for (const StageKind& kind : kinds)
        if (kind.name == name) return &kind;
    return nullptr;
}

/// The steps of Pipeline::parse.
struct PipelineParts {
    static Result<Pipeline> parse(const std::vector<View>& stages, const PipelineContext& context) {
        Pipeline pipeline;
        pipeline.context_ = context;
        if (stages.size() > pipeline_stages_max)
            return failure(7749501,
                           fmt::format("Pipeline length must be no longer than {} stages",
                                       pipeline_stages_max));
        if (context.nesting > pipeline_nesting_max)
            return Error(ErrorCode::bad_value,
                         fmt::format("Maximum number of nested sub-pipelines exceeded. Limit is {}",
                                     pipeline_nesting_max));
        std::vector<const StageKind*> used;
        for (const View stage : stages) {
            TRY(const StageKind* kind, check(stage, context));
            TRY_OK(kind->parse(stage.front().value, context, pipeline.stages_));
            used.push_back(kind);
        }
        TRY_OK(check_places(used, context));
        return pipeline;
    }

    static Result<const StageKind*> check(View stage, const PipelineContext& context) {
        if (stage.count() != 1)
            return failure(40323,
                           "A pipeline stage specification object must contain exactly one "
                           "field.");
        const std::string name(stage.front().name);
        const StageKind* const kind = find_stage_kind(name);
        if (!kind)
            return failure(40324, fmt::format("Unrecognized pipeline stage name: '{}'", name));
        if (context.is_update && !kind->is_allowed_in_update)
            return Error(ErrorCode::invalid_options,
                         fmt::format("{} is not allowed to be used within an update", name));
        if (context.is_in_facet && !kind->is_allowed_in_facet)
            return failure(40600,
                           fmt::format("{} is not allowed to be used within a $facet stage", name));
        return kind;
    }

    static Status check_places(const std::vector<const StageKind*>& used,
                               const PipelineContext& context) {
        for (std::size_t i = 0; i < used.size(); ++i) {
            if (used[i]->must_be_first && i != 0)
                return failure(40602,
                               fmt::format("{} is only valid as the first stage in a "
                                           "pipeline.",
                                           used[i]->name));
            if (used[i]->must_be_last && i + 1 != used.size())
                return failure(
                    40601,
                    fmt::format("{} can only be the final stage in the pipeline", used[i]->name));
        }
        if (context.is_update || context.is_in_facet || context.is_merging) return {};
        const bool has_collection = !context.ns.collection.empty();
        if (!used.empty() && used[0]->needs_collection && !has_collection)
            return Error(ErrorCode::invalid_namespace,
                         fmt::format("{{aggregate: 1}} is not valid for '{}'; a collection is "
                                     "required.",
                                     used[0]->name));
        constexpr std::string_view without_collection[] = {
            current_op, list_local_sessions, sharded_data_distribution};
        for (const std::string_view name : without_collection)
            if (!used.empty() && used[0]->name == name && has_collection)
                return Error(ErrorCode::invalid_namespace,
                             fmt::format("{} must be run against the database with "
                                         "{{aggregate: 1}}, not a collection",
                                         name));
        return {};
    }

    static void collect(const std::vector<StagePtr>& stages,
                        std::size_t from,
                        Dependencies& out,
                        bool& is_complete) {
        is_complete = false;
        for (std::size_t i = from; i < stages.size() && !is_complete; ++i)
            is_complete = stages[i]->add_dependencies(out);
    }

    /// How many leading stages are taken, and what they are.
    static std::size_t leading(const Pipeline& pipeline, Pipeline::Take take, LeadingPart& part) {
        const auto& stages = pipeline.stages_;
        std::size_t at = 0;
        while (at < stages.size() && stages[at]->name() == "$match")
            ++at;
        if (at == 1) {
            part.filter = bson::Document(stages[0]->spec().as_view());
        } else if (at > 1) {
            bson::Builder builder;
            {
                auto all = builder.array("$and");
                for (std::size_t i = 0; i < at; ++i)
                    all.append(stages[i]->spec());
            }
            part.filter = std::move(builder).finish();
        }
        if (take.with_sort && at < stages.size() && stages[at]->name() == "$sort") {
            part.sort = static_cast<const Sort&>(*stages[at]).pattern().to_bson();
            ++at;
        }
        if (take.with_limit) {
            // A $skip alone is worth nothing to the caller, but it stands before the $limit.
            if (at < stages.size() && stages[at]->name() == "$skip") {
                part.skip = static_cast<const Skip&>(*stages[at]).count();
                ++at;
            }
            if (at < stages.size() && stages[at]->name() == "$limit") {
                part.limit = static_cast<const Limit&>(*stages[at]).count();
                ++at;
            }
        }
        Dependencies dependencies;
        bool is_complete = false;
        collect(stages, at, dependencies, is_complete);
        if (is_complete && !dependencies.needs_whole_document)
            part.needed_fields = std::move(dependencies.fields);
        return at;
    }
};

Pipeline::Pipeline() = default;
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

Result<Pipeline> Pipeline::parse(const Value& stages, const PipelineContext& context) {
    if (!stages.is_array())
        return Error(ErrorCode::type_mismatch, "'pipeline' option must be specified as an array");
    std::vector<View> views;
    for (const auto& element : stages.as_view()) {
        if (!element.value.is_object())
            return Error(ErrorCode::type_mismatch,
                         "Each element of the 'pipeline' array must be an object");
        views.push_back(element.value.as_view());
    }
    return PipelineParts::parse(views, context);
}

Result<Pipeline> Pipeline::parse(const std::vector<bson::Document>& stages,
                                 const PipelineContext& context) {
    std::vector<View> views(stages.begin(), stages.end());
    return PipelineParts::parse(views, context);
}

Status Pipeline::optimize() {
    for (const auto& stage : stages_) {
        auto status = stage->optimize();
        if (!status)
            return status.error().with_prefix("Failed to optimize pipeline :: caused by :: ");
    }
    for (std::size_t i = 0; i + 1 < stages_.size(); ++i) {
        if (stages_[i]->name() != "$sort") continue;
        std::int64_t skip = 0;
        std::size_t at = i + 1;
        if (stages_[at]->name() == "$skip") skip = static_cast<Skip&>(*stages_[at++]).count();
        std::int64_t limit = 0;
        if (at < stages_.size() && stages_[at]->name() == "$limit" &&
            !__builtin_add_overflow(skip, static_cast<Limit&>(*stages_[at]).count(), &limit))
            static_cast<Sort&>(*stages_[i]).set_limit(limit);
    }
    return {};
}

bool Pipeline::writes() const {
    return !stages_.empty() && stages_.back()->writes();
}
bool Pipeline::needs_source() const {
    return stages_.empty() || !stages_[0]->is_source();
}
std::string_view Pipeline::first_stage() const {
    return stages_.empty() ? std::string_view() : std::string_view(stages_[0]->name());
}
bool Pipeline::has_stage(std::string_view name) const {
    return std::any_of(stages_.begin(), stages_.end(), [&](const StagePtr& stage) {
        return stage->name() == name;
    });
}

std::vector<InvolvedNamespace> Pipeline::involved_namespaces() const {
    std::vector<InvolvedNamespace> result;
    for (const auto& stage : stages_)
        stage->add_namespaces(result);
    return result;
}

std::optional<std::set<std::string, std::less<>>> Pipeline::needed_fields() const {
    Dependencies dependencies;
    bool is_complete = false;
    PipelineParts::collect(stages_, 0, dependencies, is_complete);
    if (!is_complete || dependencies.needs_whole_document) return std::nullopt;
    return std::move(dependencies.fields);
}

LeadingPart Pipeline::peek_leading(Take take) const {
    LeadingPart part;
    PipelineParts::leading(*this, take, part);
    return part;
}

LeadingPart Pipeline::take_leading(Take take) {
    LeadingPart part;
    const std::size_t count = PipelineParts::leading(*this, take, part);
    stages_.erase(stages_.begin(), stages_.begin() + static_cast<std::ptrdiff_t>(count));
    return part;
}

std::vector<bson::Document> Pipeline::to_bson() const {
    std::vector<bson::Document> result;
    for (const auto& stage : stages_)
        result.emplace_back(stage->bson());
    return result;
}

void Pipeline::attach(std::unique_ptr<DocumentCursor> source, PipelineServices* services) {
    services_ = services;
    source_.reset();
    if (source) source_ = std::make_unique<CursorStage>(std::move(source));
    Stage* previous = source_.get();
    for (const auto& stage : stages_) {
        stage->attach(previous, services);
        previous = stage.get();
    }
}

Result<Batch> Pipeline::next_inner() {
    if (!stages_.empty()) return stages_.back()->next();
    ENSURE(source_ != nullptr);
    return source_->next();
}

Result<Batch> Pipeline::next() {
    auto batch = next_inner();
    if (!batch)
        return batch.error().with_prefix("PlanExecutor error during aggregation :: caused by :: ");
    return batch;
}

}  // namespace tessera::query
