// SPDX-License-Identifier: Apache-2.0
#include "commands/aggregate_arguments.h"

#include "commands/support.h"
#include "query/match/filter.h"

namespace tessera::commands {

Result<AggregateArguments> parse_aggregate_arguments(const Request& request) {
    const bson::View body = request.body;
    AggregateArguments result;
    const bson::Value target = body.front().value;
    if (target.is_string()) {
        TRY(result.ns, request.collection());
    } else if (target.is_number() && target.to_int64() == 1) {
        result.ns = {std::string(request.db), "$cmd.aggregate"};
        result.is_of_database = true;
    } else {
        return Error(ErrorCode::failed_to_parse,
                     "Invalid command format: the 'aggregate' field must specify a collection "
                     "name or 1");
    }
    const bson::Value pipeline = body["pipeline"];
    if (!pipeline.is_array())
        return Error(ErrorCode::type_mismatch, "'pipeline' option must be specified as an array");
    for (const bson::Element& each : pipeline.as_view()) {
        if (!each.value.is_object())
            return Error(ErrorCode::type_mismatch,
                         "Each element of the 'pipeline' array must be an object");
        result.stages.emplace_back(each.value.as_view());
    }
    result.is_explain = body["explain"].is_truthy();
    const bson::Value cursor = body["cursor"];
    if (cursor.is_missing() && !result.is_explain)
        return Error(ErrorCode::failed_to_parse,
                     "The 'cursor' option is required, except for aggregate with the explain "
                     "argument");
    if (!cursor.is_missing() && !cursor.is_object())
        return Error(ErrorCode::type_mismatch, "cursor field must be missing or an object");
    if (cursor.is_object()) {
        TRY(result.first.batch_size,
            count_argument(cursor.as_view(), "batchSize", default_batch_size, "cursor"));
    }
    TRY_OK(query::check_collation(body["collation"]));
    return result;
}

}  // namespace tessera::commands
