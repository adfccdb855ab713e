// SPDX-License-Identifier: Apache-2.0
//
// $jsonSchema: JSON Schema draft 4 as MongoDB has it (no $ref, no formats; bsonType besides type),
// over one document, and what a validator's errInfo says about a document that fails.
#pragma once

#include <memory>

#include "base/result.h"
#include "bson/builder.h"
#include "bson/view.h"

namespace tessera::query {

class MatchContext;
struct Schema;

class SchemaPredicate {
public:
    /// Schemas may nest this deep.
    static constexpr int nesting_max = 100;

    ~SchemaPredicate();
    /// Parses the operand of $jsonSchema; copies it. Fails with FailedToParse or TypeMismatch.
    static Result<std::shared_ptr<const SchemaPredicate>> parse(const bson::Value& schema);

    bool matches(bson::View document, MatchContext& context) const;
    /// Writes the fields of errInfo.details for a document that does not match.
    void describe(bson::View document, MatchContext& context, bson::Builder& details) const;

private:
    SchemaPredicate();
    bson::Document source_;
    std::unique_ptr<Schema> schema_;
};

}  // namespace tessera::query
