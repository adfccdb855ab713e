// SPDX-License-Identifier: Apache-2.0
//
// A collection for tests: records and indexes as tables of the memory engine, filled through
// KeyGenerator.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bson/json.h"
#include "query/plan/executor.h"
#include "query/plan/key_generator.h"
#include "storage/memory/open.h"

namespace tessera::query {

struct FakeIndexOptions {
    bool is_unique = false;
    bool is_sparse = false;
    bool is_hidden = false;
    std::string partial_filter = {};
};

class FakeCollection : public CollectionSource {
public:
    FakeCollection() : engine_(storage::memory::open()) {
        records_ = *engine_->create_table("records", {});
        add_index(R"({"_id": 1})", {.is_unique = true});
    }

    const Namespace& ns() const override { return ns_; }
    storage::Table& records() override { return *records_; }
    const std::vector<IndexInfo>& indexes() const override { return indexes_; }
    MultikeyPaths multikey_paths(std::size_t index) const override { return multikey_[index]; }
    std::int64_t count() const override { return static_cast<std::int64_t>(documents_.size()); }
    bool is_oplog() const override { return is_oplog_; }

    void become_oplog() { is_oplog_ = true; }
    storage::Engine& engine() { return *engine_; }

    /// Before any executor exists: it moves the others.
    void add_index(std::string_view pattern, const FakeIndexOptions& options = {}) {
        IndexInfo info;
        info.key_pattern = *bson::from_json(pattern);
        for (const bson::Element& element : info.key_pattern.view()) {
            if (element.value.is_string()) info.hashed_fields |= 1U << info.paths.size();
            info.paths.emplace_back(element.name);
            if (!info.name.empty()) info.name += '_';
            info.name +=
                std::string(element.name) + "_" +
                (element.value.is_string() ? "hashed" : std::to_string(element.value.to_int64()));
        }
        const bool is_id = info.name == "_id_1";
        if (is_id) info.name = "_id_";
        info.ordering = bson::Ordering::from_pattern(info.key_pattern);
        info.is_unique = options.is_unique;
        info.is_sparse = options.is_sparse;
        info.is_hidden = options.is_hidden;
        info.format = is_id ? EntryFormat::id_in_value : EntryFormat::id_in_key;
        if (!options.partial_filter.empty()) {
            info.partial_filter = std::make_shared<const Filter>(
                *Filter::parse(*bson::from_json(options.partial_filter), {}));
        }
        info.table = *engine_->create_table("index-" + std::to_string(indexes_.size()), {});
        indexes_.push_back(info);
        multikey_.emplace_back(info.paths.size());
        for (std::size_t i = 0; i < documents_.size(); ++i) {
            index_document(indexes_.size() - 1, documents_[i], {static_cast<std::int64_t>(i + 1)});
        }
    }

    bson::RecordId insert(bson::View document) {
        const bson::RecordId id{static_cast<std::int64_t>(documents_.size()) + 1};
        insert_at(id, document);
        return id;
    }
    void insert(std::string_view json) { insert(*bson::from_json(json)); }

    void insert_at(bson::RecordId id, bson::View document) {
        documents_.emplace_back(document);
        auto transaction = *engine_->begin();
        ASSERT_TRUE(transaction->put(*records_, bson::record_key(id), document.bytes()));
        ASSERT_TRUE(transaction->commit());
        for (std::size_t i = 0; i < indexes_.size() && !is_oplog_; ++i) {
            index_document(i, document, id);
        }
    }

    const std::vector<bson::Document>& documents() const { return documents_; }

private:
    void index_document(std::size_t number, bson::View document, bson::RecordId id) {
        const IndexInfo& index = indexes_[number];
        if (index.partial_filter) {
            MatchContext match;
            if (!*index.partial_filter->matches(document, match)) return;
        }
        KeySet keys;
        const Status status = KeyGenerator(index).generate(document, keys);
        ASSERT_TRUE(status) << status.error().reason();
        auto transaction = *engine_->begin();
        for (const KeySet::Key& key : keys.keys) {
            bson::KeyBuilder record;
            record.append(id);
            const bool is_in_key = index.format == EntryFormat::id_in_key;
            const std::string entry =
                is_in_key ? key.fields + std::string(record.key()) : key.fields;
            const std::string value =
                is_in_key ? key.type_bits : std::string(record.key()) + key.type_bits;
            ASSERT_TRUE(transaction->put(*index.table, entry, value));
        }
        ASSERT_TRUE(transaction->commit());
        for (std::size_t i = 0; i < keys.multikey.size(); ++i) {
            multikey_[number][i] |= keys.multikey[i];
        }
    }

    Namespace ns_{"test", "c"};
    std::unique_ptr<storage::memory::MemoryEngine> engine_;
    storage::TablePtr records_;
    std::vector<IndexInfo> indexes_;
    std::vector<MultikeyPaths> multikey_;
    std::vector<bson::Document> documents_;
    bool is_oplog_ = false;
};

/// A request from Extended JSON: {filter, sort, skip, limit, hint, min, max}.
inline ReadRequest make_request(std::string_view json) {
    const bson::Document document = *bson::from_json(json);
    ReadRequest request;
    if (document["filter"].is_object()) {
        auto filter = Filter::parse(document["filter"].as_view(), {});
        EXPECT_TRUE(filter) << json;
        if (filter) request.filter = *std::move(filter);
    }
    if (document["sort"].is_object()) request.sort = bson::Document(document["sort"].as_view());
    request.skip = document["skip"].to_int64();
    request.limit = document["limit"].to_int64();
    const bson::Value hint = document["hint"];
    if (hint.is_string()) request.hint.name = hint.as_string();
    if (hint.is_object()) request.hint.pattern = bson::Document(hint.as_view());
    if (document["min"].is_object()) request.min = bson::Document(document["min"].as_view());
    if (document["max"].is_object()) request.max = bson::Document(document["max"].as_view());
    const bson::Value projection = document["projection"];
    if (projection.is_object()) {
        request.projection.transform_by = bson::Document(projection.as_view());
        request.projection.is_simple = true;
        std::vector<std::string> paths;
        if (!projection.as_view().has("_id")) paths.emplace_back("_id");
        for (const bson::Element& element : projection.as_view()) {
            if (element.value.is_truthy()) paths.emplace_back(element.name);
        }
        request.projection.paths = std::move(paths);
    }
    return request;
}

}  // namespace tessera::query
