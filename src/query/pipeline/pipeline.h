// SPDX-License-Identifier: Apache-2.0
//
// Pipeline: a list of aggregation stages, parsed and checked as a whole, asked for its facts by the
// caller (what can be pushed down, what it writes), and then run by pulling batches. It runs on one
// worker thread; the caller gives it a source of documents and the services its stages need.
//
//     TRY(auto pipeline, Pipeline::parse(stages, context));
//     TRY_OK(pipeline.optimize());
//     const LeadingPart leading = pipeline.take_leading({.with_sort = true});
//     pipeline.attach(open_cursor(leading), services);        // unless !needs_source()
//     while (true) { TRY(Batch batch, pipeline.next()); ...; if (batch.is_last) break; }
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/view.h"
#include "query/expression/expression.h"
#include "query/pipeline/batch.h"
#include "query/pipeline/limits.h"
#include "query/pipeline/services.h"

namespace tessera::query {

class Stage;

struct PipelineContext {
    PipelineNamespace ns;
    ExpressionContext expression;
    std::size_t memory_max = stage_memory_max;
    int nesting = 0;  // 0 for a command's own pipeline.
    bool is_in_facet = false;
    bool is_merging = false;  // This is the merge part of a split pipeline.
    bool is_update = false;   // Only the stages an update may hold.
};

/// What a pipeline can leave to the planner. Fields not taken are empty.
struct LeadingPart {
    bson::Document filter;               // All leading $match stages, joined by $and.
    std::optional<bson::Document> sort;  // The leading $sort's pattern ...
    std::optional<std::int64_t> skip;
    std::optional<std::int64_t> limit;  // ... and what follows it: skip first, then limit.
    /// Top-level paths the rest needs; none when it needs whole documents.
    std::optional<std::set<std::string, std::less<>>> needed_fields;
};

/// A namespace a pipeline touches beside its own.
struct InvolvedNamespace {
    PipelineNamespace ns;
    bool is_written = false;
};

class Pipeline {
public:
    /// Parses and checks an array of stages. Fails with the client's errors.
    static Result<Pipeline> parse(const bson::Value& stages, const PipelineContext& context);
    static Result<Pipeline> parse(const std::vector<bson::Document>& stages,
                                  const PipelineContext& context);
    Pipeline(Pipeline&&) noexcept;
    Pipeline& operator=(Pipeline&&) noexcept;
    ~Pipeline();

    /// Folds constants ("Failed to optimize pipeline :: caused by :: ...") and joins stages.
    Status optimize();

    // Facts.
    bool is_empty() const { return stages_.empty(); }
    /// Whether it ends in $out or $merge.
    bool writes() const;
    /// Whether it reads the documents of its own collection; false when the first stage brings its
    /// own ($currentOp, $documents ...).
    bool needs_source() const;
    /// The first stage's name ("$match"); empty for an empty pipeline.
    std::string_view first_stage() const;
    bool has_stage(std::string_view name) const;
    std::vector<InvolvedNamespace> involved_namespaces() const;
    /// Paths read before any stage makes documents of its own; none: whole documents.
    std::optional<std::set<std::string, std::less<>>> needed_fields() const;

    /// What take_leading() may take beside $match.
    struct Take {
        bool with_sort = false;
        bool with_limit = false;
    };
    /// Removes the leading stages the caller will do itself and tells what they are.
    LeadingPart take_leading(Take take);
    /// As take_leading() but takes nothing.
    LeadingPart peek_leading(Take take) const;

    /// The stages as BSON; parses to an equal pipeline in the same context.
    std::vector<bson::Document> to_bson() const;

    // Running.
    /// Sets where documents come from (null when !needs_source()) and the services, which must
    /// outlive the pipeline (null: stages that need them fail with InternalError).
    void attach(std::unique_ptr<DocumentCursor> source, PipelineServices* services);
    /// Pulls a batch. Errors carry the prefix "PlanExecutor error during aggregation :: caused by
    /// :: ". Requires: attach() was called; no call after an error or a batch with is_last.
    Result<Batch> next();
    /// next() without the prefix, for pipelines inside others.
    Result<Batch> next_inner();

    const std::vector<std::unique_ptr<Stage>>& stages() const { return stages_; }

private:
    Pipeline();
    friend struct PipelineParts;

    PipelineContext context_;
    std::vector<std::unique_ptr<Stage>> stages_;
    std::unique_ptr<Stage> source_;
    PipelineServices* services_ = nullptr;
};

/// A source from documents at hand, for $documents and tests.
std::unique_ptr<DocumentCursor> make_vector_cursor(std::vector<bson::Document> documents,
                                                   std::size_t batch_size = batch_documents_max);

}  // namespace tessera::query
