// SPDX-License-Identifier: Apache-2.0
//
// One update or delete statement on a member, the machinery of update, delete and findAndModify.
//
// Candidates are found by a read of their own; each is then fetched again, matched again and
// written in a write unit of its own, so that a long multi-update holds nothing for long and a
// document that changed in between is judged as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "commands/find_command.h"
#include "commands/write_execution.h"
#include "query/update/update.h"

namespace tessera::commands {

/// A statement as a client wrote it.
struct StatementSpec {
    bson::View query;
    bson::Value update;  // Missing: a delete.
    bson::Value array_filters;
    bson::Value constants;  // "c", for pipelines.
    bson::View sort;        // updateOne (8.0) and findAndModify.
    query::Hint hint;
    bson::View let;
    bool is_multi = false;
    bool is_upsert = false;
    std::size_t index = 0;          // Within the command.
    bool keeps_image = false;       // findAndModify: remember pre- or post-image for retries,
    bool wants_post_image = false;  // and which of them to return.
};

/// What it did.
struct StatementResult {
    std::int64_t matched = 0;
    std::int64_t modified = 0;
    std::optional<bson::Document> upserted_id;  // {_id: ...}
    std::optional<bson::Document> image;        // findAndModify's value.
};

/// A statement parsed once, ready to be applied.
class Statement {
public:
    static Result<Statement> parse(WriteCommand& command, const StatementSpec& spec);
    Statement(Statement&&) noexcept;
    ~Statement();

    /// Runs to the end; tries again after conflicts. May move to a worker.
    async::Task<Result<StatementResult>> run();

private:
    struct State;
    explicit Statement(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace tessera::commands
