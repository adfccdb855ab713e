// SPDX-License-Identifier: Apache-2.0
#include "sharding/range_scan.h"

#include <algorithm>

#include "bson/builder.h"
#include "catalog/index.h"
#include "query/plan/executor.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

// Whether the index holds every document of the collection in the order of the shard key.
bool is_shard_key_index(const catalog::Index& index, bson::View key) {
    const bson::View spec = index.spec();
    if (index.is_hidden() || index.is_multikey() || spec["sparse"].is_truthy() ||
        spec.has("partialFilterExpression") || !spec["key"].is_object())
        return false;
    auto field = spec["key"].as_view().begin();
    const auto end = spec["key"].as_view().end();
    for (const bson::Element& wanted : key) {
        if (field == end || field->name != wanted.name) return false;
        const bool is_same = wanted.value.is_string()
                                 ? field->value.is_string() &&
                                       field->value.as_string() == wanted.value.as_string()
                                 : field->value.is_number() && field->value.to_double() > 0;
        if (!is_same) return false;
        ++field;
    }
    return true;
}

// The range as bounds of an index, whose fields may go on behind the shard key's. Without a lower
// or an upper bound where the range has none.
void bound_by_index(const catalog::Index& index, const KeySpan& span, query::ReadRequest& request) {
    const std::size_t fields = span.key.document().view().count();
    const auto complete = [&](bson::View bound) {
        bson::Builder whole;
        std::size_t at = 0;
        for (const bson::Element& each : index.spec()["key"].as_view()) {
            const bool is_descending = each.value.is_number() && each.value.to_double() < 0;
            if (at++ < fields)
                whole.append(each.name, bound[each.name]);
            else if (is_descending)
                whole.append_max_key(each.name);
            else
                whole.append_min_key(each.name);
        }
        return std::move(whole).finish();
    };
    request.hint.name = index.name();
    request.min = complete(span.range.min.view());
    if (!span.key.is_max_bound(span.range.max)) request.max = complete(span.range.max.view());
}


}  // namespace

query::ReadRequest range_scan(catalog::Collection& collection, const KeySpan& span) {
    query::ReadRequest request;
    for (const auto& each : collection.indexes()) {
        if (!is_shard_key_index(*each, span.key.document())) continue;
        bound_by_index(*each, span, request);
        break;
    }
    return request;
}

Result<std::optional<bson::Document>> middle_of_range(catalog::Collection& collection,
                                                      storage::Transaction& transaction,
                                                      const KeySpan& span) {
    struct Sampled {
        routing::Key key;
        bson::Document document;
    };
    std::vector<Sampled> sample;
    std::optional<routing::Key> lowest;
    std::size_t stride = 1;
    std::size_t seen = 0;
    query::Executor executor(collection.source(), range_scan(collection, span));
    TRY_OK(executor.start(transaction));
    while (seen < limits::median_documents) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        const bson::View document = executor.document();
        if (!span.contains(document)) continue;
        TRY(auto key, span.key.key_of(document));
        if (!lowest || key < *lowest) lowest = key;
        if (seen++ % stride != 0) continue;
        TRY(auto key_document, span.key.key_document_of(document));
        sample.push_back({std::move(key), std::move(key_document)});
        if (sample.size() < limits::median_sample) continue;
        // Full: every second one stands for two.
        for (std::size_t i = 0; 2 * i < sample.size(); ++i)
            if (i > 0) sample[i] = std::move(sample[2 * i]);
        sample.resize((sample.size() + 1) / 2);
        stride *= 2;
    }
    executor.save_state();
    std::sort(sample.begin(), sample.end(), [](const Sampled& one, const Sampled& two) {
        return one.key < two.key;
    });
    // The first from the middle on that is not the lowest: a split point lies inside.
    for (std::size_t i = sample.size() / 2; i < sample.size(); ++i)
        if (sample[i].key != span.low && sample[i].key != *lowest)
            return std::optional(std::move(sample[i].document));
    return std::optional<bson::Document>();
}

}  // namespace tessera::sharding
