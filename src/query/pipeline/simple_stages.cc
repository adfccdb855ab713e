// SPDX-License-Identifier: Apache-2.0
//
// $match, $limit, $skip, $count, $unwind, $redact, $documents, and the stages the server provides.
#include "query/pipeline/simple_stages.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/compiler.h"
#include "query/expression/node.h"
#include "query/match/filter.h"

namespace tessera::query {

using bson::Arena;
using bson::Value;
using bson::View;
using expression::failure;

namespace {

class Match final : public Stage {
public:
    Match(const Value& spec, Filter filter) : Stage("$match", spec), filter_(std::move(filter)) {}
    Result<Batch> next() override {
        TRY(Batch batch, pull());
        std::vector<char> keeps(batch.size());
        for (std::size_t i = 0; i < batch.size(); ++i) {
            TRY(const bool is_match, filter_.matches(batch[i], context_));
            keeps[i] = is_match ? 1 : 0;
        }
        batch.filter([&](std::size_t i) { return keeps[i] != 0; });
        return batch;
    }
    bool add_dependencies(Dependencies& dependencies) const override {
        std::vector<std::string> paths;
        filter_.add_dependencies(paths);
        for (auto& path : paths) {
            if (path.empty())
                dependencies.needs_whole_document = true;
            else
                dependencies.fields.insert(std::move(path));
        }
        return false;
    }

private:
    Filter filter_;
    MatchContext context_;
};

class Unwind final : public Stage {
public:
    struct Options {
        std::vector<std::string> path;
        std::string dotted;
        std::string index_field;  // Empty: none.
        bool keeps_empty = false;
    };
    Unwind(const Value& spec, Options options)
        : Stage("$unwind", spec), options_(std::move(options)) {}

    Result<Batch> next() override {
        Batch out;
        while (true) {
            if (at_ >= in_.size()) {
                if (is_last_) {
                    out.is_last = true;
                    return out;
                }
                if (!out.is_empty()) return out;
                TRY(in_, pull());
                is_last_ = in_.is_last;
                at_ = 0;
                continue;
            }
            if (out.size() >= batch_documents_max || out.bytes() >= batch_bytes_max) return out;
            unwind(in_[at_++], out);
        }
    }
    bool add_dependencies(Dependencies& dependencies) const override {
        dependencies.fields.insert(options_.dotted);
        return false;
    }

private:
    void unwind(View document, Batch& out) {
        const Value value = document.at_path(options_.dotted);
        if (value.is_array()) {
            std::int64_t index = 0;
            for (const auto& element : value.as_view())
                write(document, element.value, index++, out);
            if (index == 0 && options_.keeps_empty) write(document, Value(), -1, out);
        } else if (value.is_nullish()) {
            if (options_.keeps_empty) write(document, value, -1, out);
        } else {
            write(document, value, -1, out);
        }
    }
    /// Index -1: none (null).
    void write(View document, const Value& value, std::int64_t index, Batch& out) {
        if (options_.index_field.empty()) {
            write_with_path(document, options_.dotted, value, out.begin());
            return;
        }
        std::string first;
        write_with_path(document, options_.dotted, value, first);
        const Value number = index < 0 ? Arena::make_null() : arena_.make(index);
        write_with_path(View(first.data()), options_.index_field, number, out.begin());
        arena_.clear();
    }

    Options options_;
    Batch in_;
    std::size_t at_ = 0;
    bool is_last_ = false;
    Arena arena_;
};

class Redact final : public Stage {
public:
    Redact(const Value& spec, const ExpressionContext& context)
        : Stage("$redact", spec), program_(context) {
        for (const std::string_view name : {"KEEP", "PRUNE", "DESCEND"}) {
            std::string lower(name);
            std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
                return static_cast<char>(c + 32);
            });
            program_.define(name, arena_.make(std::string_view(lower)));
        }
        arena_.clear();
    }
    Status parse() {
        // The expression sees each level as $$CURRENT; $$ROOT in it is not supported apart.
        TRY(expression_, program_.parse(spec()));
        return {};
    }
    Status optimize() override { return expression_.optimize(program_); }
    Result<Batch> next() override {
        TRY(const Batch in, pull());
        Batch out;
        out.is_last = in.is_last;
        for (std::size_t i = 0; i < in.size(); ++i) {
            std::string& bytes = out.begin();
            TRY(const bool is_kept, write(in[i], bytes));
            if (!is_kept) out.cancel();
            arena_.clear();
        }
        return out;
    }

private:
    Result<bool> write(View document, std::string& out) {
        Evaluation evaluation(program_, arena_);
        evaluation.bind(document);
        TRY(const Value verdict, expression_.evaluate(evaluation));
        const std::string_view text = verdict.is_string() ? verdict.as_string() : "";
        if (text == "keep") {
            out.append(document.bytes());
            return true;
        }
        if (text == "prune") return false;
        if (text != "descend")
            return failure(17053,
                           fmt::format("$redact's expression should not return anything aside "
                                       "from the variables $$KEEP, $$DESCEND, and $$PRUNE, "
                                       "but returned {}",
                                       bson::to_json(verdict, bson::JsonMode::message)));
        bson::Builder builder(out);
        for (const auto& element : document) {
            TRY(const auto value, redacted(element.value));
            builder.append(element.name, value);
        }
        return true;
    }
    /// The value after redaction; missing when it is pruned.
    Result<Value> redacted(const Value& value) {
        if (value.is_object()) {
            std::string bytes;
            TRY(const bool is_kept, write(value.as_view(), bytes));
            return is_kept ? arena_.make_object(View(bytes.data())) : Value();
        }
        if (!value.is_array()) return value;
        expression::ArrayMaker maker;
        for (const auto& element : value.as_view()) {
            TRY(const Value kept, redacted(element.value));
            if (!kept.is_missing()) maker.add(kept);
        }
        return std::move(maker).make(arena_);
    }

    Arena arena_;
    Program program_;
    Expression expression_;
};

class Documents final : public Stage {
public:
    Documents(const Value& spec, std::vector<bson::Document> documents)
        : Stage("$documents", spec), cursor_(make_vector_cursor(std::move(documents))) {}
    Result<Batch> next() override { return cursor_->next(); }
    bool is_source() const override { return true; }

private:
    std::unique_ptr<DocumentCursor> cursor_;
};

class ServerSource final : public Stage {
public:
    ServerSource(std::string_view name, const Value& spec, PipelineNamespace ns)
        : Stage(name, spec), ns_(std::move(ns)) {}
    Result<Batch> next() override {
        ENSURE(services_ != nullptr);
        if (!cursor_) {
            TRY(cursor_, services_->open_source(ns_, name(), spec()));
        }
        TRY_OK(services_->check_interrupt());
        return cursor_->next();
    }
    bool is_source() const override { return true; }

private:
    PipelineNamespace ns_;
    std::unique_ptr<DocumentCursor> cursor_;
};

}  // namespace

StagePtr make_server_source(std::string_view name,
                            const Value& spec,
                            const PipelineContext& context) {
    return std::make_unique<ServerSource>(name, spec, context.ns);
}

Result<Batch> Limit::next() {
    TRY(Batch batch, pull());
    if (static_cast<std::int64_t>(batch.size()) >= left_) {
        batch.truncate(static_cast<std::size_t>(left_));
        batch.is_last = true;
    }
    left_ -= static_cast<std::int64_t>(batch.size());
    return batch;
}

Result<Batch> Skip::next() {
    TRY(Batch batch, pull());
    const auto dropped = std::min(left_, static_cast<std::int64_t>(batch.size()));
    batch.drop_front(static_cast<std::size_t>(dropped));
    left_ -= dropped;
    return batch;
}

Status parse_match(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return failure(15959, "the match filter must be an expression in an object");
    const AggregationCompiler compiler(context.expression);
    TRY(Filter filter,
        Filter::parse(spec.as_view(), {.expressions = &compiler, .is_pipeline = true}));
    out.push_back(std::make_unique<Match>(spec, std::move(filter)));
    return {};
}

Status parse_limit(const Value& spec, const PipelineContext&, std::vector<StagePtr>& out) {
    if (!spec.is_number() || !spec.is_integral())
        return failure(5107201,
                       fmt::format("invalid argument to $limit stage: Expected a number in:"
                                   " $limit: {}",
                                   bson::to_json(spec, bson::JsonMode::message)));
    if (spec.to_int64() < 0)
        return failure(5107201,
                       fmt::format("invalid argument to $limit stage: Expected a "
                                   "non-negative number in: $limit: {}",
                                   bson::to_json(spec, bson::JsonMode::message)));
    if (spec.to_int64() == 0) return failure(15958, "the limit must be positive");
    out.push_back(std::make_unique<Limit>(spec, spec.to_int64()));
    return {};
}

Status parse_skip(const Value& spec, const PipelineContext&, std::vector<StagePtr>& out) {
    if (!spec.is_number() || !spec.is_integral())
        return failure(5107200,
                       fmt::format("invalid argument to $skip stage: Expected a number in: "
                                   "$skip: {}",
                                   bson::to_json(spec, bson::JsonMode::message)));
    if (spec.to_int64() < 0)
        return failure(5107200,
                       fmt::format("invalid argument to $skip stage: Expected a "
                                   "non-negative number in: $skip: {}",
                                   bson::to_json(spec, bson::JsonMode::message)));
    out.push_back(std::make_unique<Skip>(spec, spec.to_int64()));
    return {};
}

Status parse_count(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_string()) return failure(40156, "the count field must be a non-empty string");
    const std::string name(spec.as_string());
    if (name.empty()) return failure(40157, "the count field must be a non-empty string");
    if (name[0] == '$') return failure(40158, "the count field cannot be a $-prefixed path");
    if (name.find('\0') != std::string::npos)
        return failure(40159, "the count field cannot contain a null byte");
    if (name.find('.') != std::string::npos)
        return failure(40160, "the count field cannot contain '.'");
    if (name == "_id") return failure(9039800, "the count field cannot be '_id'");
    bson::Builder group;
    group.append_null("_id");
    {
        auto field = group.object(name);
        field.append("$sum", std::int32_t{1});
    }
    const bson::Document group_spec = std::move(group).finish();
    const bson::Document project_spec = bson::make("_id", std::int32_t{0});
    TRY_OK(parse_group(group_spec.view().as_object_value(), context, out));
    return parse_project(project_spec.view().as_object_value(), context, out);
}

Status parse_unwind(const Value& spec, const PipelineContext&, std::vector<StagePtr>& out) {
    Unwind::Options options;
    Value path = spec;
    if (spec.is_object()) {
        path = Value();
        for (const auto& [name, value] : spec.as_view()) {
            if (name == "path") {
                path = value;
            } else if (name == "preserveNullAndEmptyArrays") {
                if (!value.is_boolean())
                    return failure(28809,
                                   fmt::format("expected a boolean for the "
                                               "preserveNullAndEmptyArrays option to $unwind "
                                               "stage, got {}",
                                               bson::type_name(value.type())));
                options.keeps_empty = value.as_bool();
            } else if (name == "includeArrayIndex") {
                if (!value.is_string() || value.as_string().empty())
                    return failure(28810,
                                   "expected a non-empty string for the includeArrayIndex  "
                                   "option to $unwind stage");
                options.index_field = value.as_string();
                if (options.index_field[0] == '$')
                    return failure(28822,
                                   fmt::format("includeArrayIndex option to $unwind stage "
                                               "should not be prefixed with a '$': {}",
                                               options.index_field));
            } else {
                return failure(28811,
                               fmt::format("unrecognized option to $unwind stage: {}", name));
            }
        }
        if (path.is_missing()) return failure(28812, "no path specified to $unwind stage");
    } else if (!spec.is_string()) {
        return failure(15981,
                       fmt::format("expected either a string or an object as specification "
                                   "for $unwind stage, got {}",
                                   bson::type_name(spec.type())));
    }
    if (!path.is_string())
        return failure(28808,
                       fmt::format("expected a string as the path for $unwind stage, got {}",
                                   bson::type_name(path.type())));
    const std::string_view text = path.as_string();
    if (text.empty()) return failure(28812, "no path specified to $unwind stage");
    if (text[0] != '$')
        return failure(28818,
                       fmt::format("path option to $unwind stage should be prefixed with a "
                                   "'$': {}",
                                   text));
    options.dotted = text.substr(1);
    TRY(options.path, expression::split_path(options.dotted));
    out.push_back(std::make_unique<Unwind>(spec, std::move(options)));
    return {};
}

Status parse_redact(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    auto stage = std::make_unique<Redact>(spec, context.expression);
    TRY_OK(stage->parse());
    out.push_back(std::move(stage));
    return {};
}

Status parse_documents(const Value& spec,
                       const PipelineContext& context,
                       std::vector<StagePtr>& out) {
    Program program(context.expression);
    TRY(Expression expression, program.parse(spec));
    Arena arena;
    Evaluation evaluation(program, arena);
    evaluation.bind(View());
    TRY(const Value value, expression.evaluate(evaluation));
    if (!value.is_array()) return failure(5858203, "an array is expected");
    std::vector<bson::Document> documents;
    for (const auto& element : value.as_view()) {
        if (!element.value.is_object()) return failure(40228, "$documents needs objects");
        documents.emplace_back(element.value.as_view());
    }
    out.push_back(std::make_unique<Documents>(spec, std::move(documents)));
    return {};
}

namespace {

class VectorCursor final : public DocumentCursor {
public:
    VectorCursor(std::vector<bson::Document> documents, std::size_t batch_size)
        : documents_(std::move(documents)), batch_size_(batch_size) {}
    Result<Batch> next() override {
        Batch batch;
        while (at_ < documents_.size() && batch.size() < batch_size_)
            batch.append(documents_[at_++].view());
        batch.is_last = at_ >= documents_.size();
        return batch;
    }

private:
    std::vector<bson::Document> documents_;
    std::size_t batch_size_;
    std::size_t at_ = 0;
};

}  // namespace

std::unique_ptr<DocumentCursor> make_vector_cursor(std::vector<bson::Document> documents,
                                                   std::size_t batch_size) {
    return std::make_unique<VectorCursor>(std::move(documents), batch_size);
}

void write_with_path(View document, std::string_view path, const Value& value, std::string& out) {
    const std::size_t dot = path.find('.');
    const std::string_view name = path.substr(0, dot);
    bson::Builder builder(out);
    bool is_written = false;
    const auto write = [&](const Value& old) {
        is_written = true;
        if (dot == std::string_view::npos) {
            builder.append(name, value);
            return;
        }
        std::string nested;
        write_with_path(
            old.is_object() ? old.as_view() : View(), path.substr(dot + 1), value, nested);
        builder.append(name, View(nested.data()));
    };
    for (const auto& element : document) {
        if (element.name == name && !is_written)
            write(element.value);
        else
            builder.append(element);
    }
    if (!is_written && !value.is_missing()) write(Value());
}

Error memory_error(std::string_view stage, std::size_t limit) {
    return Error(ErrorCode::query_exceeded_memory_limit_no_disk_use_allowed,
                 fmt::format("Exceeded memory limit for {} of {} bytes; spilling to disk is not "
                             "supported",
                             stage,
                             limit));
}

}  // namespace tessera::query
