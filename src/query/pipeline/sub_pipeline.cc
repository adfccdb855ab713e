// SPDX-License-Identifier: Apache-2.0
#include "query/pipeline/sub_pipeline.h"

#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/node.h"

namespace tessera::query {

using bson::Value;
using bson::View;
using expression::failure;

Result<PipelineNamespace> parse_from(std::string_view stage,
                                     std::string_view field,
                                     const Value& value,
                                     const PipelineContext& context) {
    PipelineNamespace ns{context.ns.db, {}};
    if (value.is_string()) {
        ns.collection = value.as_string();
    } else if (value.is_object() && value.as_view()["coll"].is_string() &&
               value.as_view()["db"].is_string()) {
        ns.db = value.as_view()["db"].as_string();
        ns.collection = value.as_view()["coll"].as_string();
    } else {
        return Error(ErrorCode::failed_to_parse,
                     fmt::format("{} argument '{}: {}' must be a string, is type {}",
                                 stage,
                                 field,
                                 bson::to_json(value, bson::JsonMode::message),
                                 bson::type_name(value.type())));
    }
    if (ns.collection.empty())
        return Error(ErrorCode::invalid_namespace,
                     fmt::format("Invalid namespace specified '{}.'", ns.db));
    return ns;
}

Result<std::vector<bson::Document>> check_sub_pipeline(std::string_view stage,
                                                       const Value& pipeline,
                                                       const std::vector<std::string>& let_names,
                                                       const PipelineContext& context,
                                                       std::vector<InvolvedNamespace>& namespaces) {
    if (!pipeline.is_array())
        return Error(ErrorCode::type_mismatch,
                     fmt::format("'pipeline' option must be specified as an array"));
    PipelineContext inner = context;
    inner.ns.collection = "$sub";  // Any collection will do for checking.
    inner.is_in_facet = false;
    ++inner.nesting;
    bson::Builder let;
    let.append_all(context.expression.let.view());
    for (const std::string& name : let_names)
        let.append_null(name);
    inner.expression.let = std::move(let).finish();
    TRY(const Pipeline parsed, Pipeline::parse(pipeline, inner));
    if (parsed.writes())
        return failure(51047,
                       fmt::format("{} is not allowed within a {}'s sub-pipeline",
                                   parsed.stages().back()->name(),
                                   stage));
    for (auto& ns : parsed.involved_namespaces())
        namespaces.push_back(std::move(ns));
    std::vector<bson::Document> stages;
    for (const auto& element : pipeline.as_view())
        stages.emplace_back(element.value.as_view());
    return stages;
}

Result<std::vector<Batch>> read_all(DocumentCursor& cursor,
                                    std::size_t bytes_max,
                                    const PipelineNamespace& ns,
                                    std::string_view stage) {
    std::vector<Batch> batches;
    std::size_t bytes = 0;
    bool is_last = false;
    while (!is_last) {
        TRY(Batch batch, cursor.next());
        is_last = batch.is_last;
        bytes += batch.bytes();
        if (bytes > bytes_max)
            return failure(4568,
                           fmt::format("Total size of documents in {} matching pipeline's {} "
                                       "stage exceeds {} bytes",
                                       ns.collection,
                                       stage,
                                       bytes_max));
        batches.push_back(std::move(batch));
    }
    return batches;
}

bson::Document match_any(std::string_view path, const std::vector<Value>& values) {
    bson::Builder in;
    std::vector<Value> regexes;
    {
        auto condition = in.object(path);
        auto list = condition.array("$in");
        for (const Value& value : values) {
            if (value.type() == bson::Type::regex)
                regexes.push_back(value);
            else
                list.append(value);
        }
    }
    const bson::Document plain = std::move(in).finish();
    // Without regular expressions the planner sees {path: {$in: [...]}} itself.
    if (regexes.empty()) return bson::make("$match", plain.view());
    bson::Builder stage;
    {
        auto match = stage.object("$match");
        auto any = match.array("$or");
        any.append(plain.view());
        for (const Value& regex : regexes) {
            auto equality = any.object();
            auto condition = equality.object(path);
            condition.append("$eq", regex);
        }
    }
    return std::move(stage).finish();
}

void expand_values(const Value& value,
                   std::string_view path,
                   bool with_arrays,
                   std::vector<Value>& out) {
    if (path.empty()) {
        if (value.is_missing()) return;
        if (!value.is_array()) {
            out.push_back(value);
            return;
        }
        for (const auto& element : value.as_view())
            out.push_back(element.value);
        if (with_arrays) out.push_back(value);
        return;
    }
    const std::size_t dot = path.find('.');
    const std::string_view name = path.substr(0, dot);
    const std::string_view rest = dot == std::string_view::npos ? "" : path.substr(dot + 1);
    if (value.is_object()) {
        expand_values(value.as_view()[name], rest, with_arrays, out);
    } else if (value.is_array()) {
        for (const auto& element : value.as_view())
            if (element.value.is_object())
                expand_values(element.value.as_view()[name], rest, with_arrays, out);
    }
}

}  // namespace tessera::query
