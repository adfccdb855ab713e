// SPDX-License-Identifier: Apache-2.0
//
// What $lookup, $graphLookup and $unionWith share: namespaces, pipelines on them, their results.
#pragma once

#include <string>
#include <vector>

#include "query/pipeline/stage.h"

namespace tessera::query {

/// Parses "from": a collection of the context's database, or {db, coll}.
Result<PipelineNamespace> parse_from(std::string_view stage,
                                     std::string_view field,
                                     const bson::Value& value,
                                     const PipelineContext& context);
/// Checks a sub-pipeline and returns its stages. `let_names` are the variables it may use.
Result<std::vector<bson::Document>> check_sub_pipeline(std::string_view stage,
                                                       const bson::Value& pipeline,
                                                       const std::vector<std::string>& let_names,
                                                       const PipelineContext& context,
                                                       std::vector<InvolvedNamespace>& namespaces);
/// Reads a cursor to its end. Fails with 4568 when the documents exceed `bytes_max`.
Result<std::vector<Batch>> read_all(DocumentCursor& cursor,
                                    std::size_t bytes_max,
                                    const PipelineNamespace& ns,
                                    std::string_view stage);
/// {$match: {path: <equal to any of the values>}}; regular expressions among them are values.
bson::Document match_any(std::string_view path, const std::vector<bson::Value>& values);

/// The values at a path as equality matching sees them: arrays on the way and at the end opened.
/// With `with_arrays` a final array counts as a value too. Missing ones are left out.
void expand_values(const bson::Value& value,
                   std::string_view path,
                   bool with_arrays,
                   std::vector<bson::Value>& out);

}  // namespace tessera::query
