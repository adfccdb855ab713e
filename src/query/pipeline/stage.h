// SPDX-License-Identifier: Apache-2.0
//
// Stage: one step of a pipeline. It pulls batches from the stage before it. Most stages are
// transforms of single documents (TransformStage); the rest hold what they must.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/builder.h"
#include "query/expression/expression.h"
#include "query/pipeline/batch.h"
#include "query/pipeline/pipeline.h"

namespace tessera::query {

/// What a stage reads of the documents it gets.
struct Dependencies {
    std::set<std::string, std::less<>> fields;
    bool needs_whole_document = false;
    void add(const Program& program) {
        fields.insert(program.dependencies().begin(), program.dependencies().end());
        needs_whole_document = needs_whole_document || program.needs_whole_document();
    }
};

class Stage {
public:
    /// `spec` is the argument: the stage is {name: spec}.
    Stage(std::string_view name, const bson::Value& spec) : name_(name) {
        bson::Builder builder;
        builder.append(name, spec);
        bson_ = std::move(builder).finish();
    }
    virtual ~Stage() = default;

    virtual Result<Batch> next() = 0;
    virtual Status optimize() { return {}; }
    /// Adds what it reads. Returns true when later stages see nothing else of the documents.
    virtual bool add_dependencies(Dependencies& dependencies) const {
        dependencies.needs_whole_document = true;
        return true;
    }
    /// Whether it makes documents without a source.
    virtual bool is_source() const { return false; }
    virtual bool writes() const { return false; }
    virtual void add_namespaces(std::vector<InvolvedNamespace>&) const {}
    virtual void attach(Stage* source, PipelineServices* services) {
        source_ = source;
        services_ = services;
    }

    const std::string& name() const { return name_; }
    /// {name: spec}.
    bson::View bson() const { return bson_.view(); }
    bson::Value spec() const { return bson_.view().front().value; }

protected:
    /// The source's next batch; stops killed operations.
    Result<Batch> pull() {
        if (services_) TRY_OK(services_->check_interrupt());
        ENSURE(source_ != nullptr);
        return source_->next();
    }
    Stage* source_ = nullptr;
    PipelineServices* services_ = nullptr;

private:
    std::string name_;
    bson::Document bson_;
};
using StagePtr = std::unique_ptr<Stage>;

/// A change of one document that depends on nothing else. Immutable once optimized.
class Transform {
public:
    virtual ~Transform() = default;
    /// Writes the new document at the end of `out`. `evaluation` is of program().
    virtual Status apply(bson::View document, Evaluation& evaluation, std::string& out) const = 0;
    virtual Status optimize() { return {}; }
    virtual const Program& program() const = 0;
    /// As Stage::add_dependencies.
    virtual bool add_dependencies(Dependencies& dependencies) const = 0;
};

class TransformStage final : public Stage {
public:
    TransformStage(std::string_view name,
                   const bson::Value& spec,
                   std::unique_ptr<Transform> transform)
        : Stage(name, spec), transform_(std::move(transform)) {}
    Result<Batch> next() override;
    Status optimize() override { return transform_->optimize(); }
    bool add_dependencies(Dependencies& dependencies) const override {
        return transform_->add_dependencies(dependencies);
    }
    const Transform& transform() const { return *transform_; }

private:
    std::unique_ptr<Transform> transform_;
    bson::Arena arena_;
    std::unique_ptr<Evaluation> evaluation_;
    Batch in_;
    std::size_t at_ = 0;  // Of in_: the next one to transform.
};

/// How one kind of stage is parsed: adds the stages it stands for.
using ParseStage = Status (*)(const bson::Value& spec,
                              const PipelineContext& context,
                              std::vector<StagePtr>& out);
struct StageKind {
    std::string_view name;
    ParseStage parse;
    bool must_be_first = false;
    bool must_be_last = false;
    bool is_allowed_in_facet = true;
    bool is_allowed_in_update = false;
    bool needs_collection = true;  // {aggregate: 1} will not do.
};

// Parsers, by file.
Status parse_project(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_add_fields(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_unset(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_replace_root(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_replace_with(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_match(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_redact(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_limit(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_skip(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_count(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_unwind(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_sort(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_sample(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_group(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_sort_by_count(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_bucket(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_bucket_auto(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_facet(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_lookup(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_graph_lookup(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_union_with(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_out(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_merge(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
Status parse_documents(const bson::Value&, const PipelineContext&, std::vector<StagePtr>&);
/// A stage PipelineServices::open_source knows.
StagePtr make_server_source(std::string_view name,
                            const bson::Value& spec,
                            const PipelineContext& context);

/// The kinds there are; null when the name is unknown.
const StageKind* find_stage_kind(std::string_view name);

/// Writes a document with the value at a dotted path replaced (or added).
void write_with_path(bson::View document,
                     std::string_view path,
                     const bson::Value& value,
                     std::string& out);
/// A stage over a DocumentCursor.
class CursorStage final : public Stage {
public:
    explicit CursorStage(std::unique_ptr<DocumentCursor> cursor)
        : Stage("$cursor", bson::Arena::make_null()), cursor_(std::move(cursor)) {}
    Result<Batch> next() override { return cursor_->next(); }
    bool is_source() const override { return true; }

private:
    std::unique_ptr<DocumentCursor> cursor_;
};

/// 292: the stage holds more than it may.
Error memory_error(std::string_view stage, std::size_t limit);

}  // namespace tessera::query
