// SPDX-License-Identifier: Apache-2.0
#include "query/match/json_schema.h"
#include "query/match/filter.h"

namespace tessera::query {

struct Schema {};
SchemaPredicate::SchemaPredicate() = default;
SchemaPredicate::~SchemaPredicate() = default;
Result<std::shared_ptr<const SchemaPredicate>> SchemaPredicate::parse(const bson::Value&) {
    return Error(ErrorCode::not_implemented, "$jsonSchema is not supported");
}
bool SchemaPredicate::matches(bson::View, MatchContext&) const { return true; }
void SchemaPredicate::describe(bson::View, MatchContext&, bson::Builder&) const {}

}  // namespace tessera::query
