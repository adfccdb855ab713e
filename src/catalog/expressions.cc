// SPDX-License-Identifier: Apache-2.0
#include "catalog/expressions.h"

#include "query/expression/compiler.h"

namespace tessera::catalog {

Result<query::Filter> parse_filter(bson::View filter) {
    const query::AggregationCompiler compiler{query::ExpressionContext{}};
    query::FilterOptions options;
    options.expressions = &compiler;
    return query::Filter::parse(filter, options);
}

}  // namespace tessera::catalog
