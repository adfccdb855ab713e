// SPDX-License-Identifier: Apache-2.0
//
// Entries of the oplog as they are written and read back.
#include "replication/oplog_entry.h"

#include <gtest/gtest.h>

#include "bson/json.h"

namespace tessera::replication {
namespace {

bson::Document json(std::string_view text) {
    auto document = bson::from_json(text);
    EXPECT_TRUE(document.has_value()) << text;
    return std::move(document).value();
}

class Batch : public ::testing::Test {
protected:
    Batch() {
        collection_.bytes[0] = 7;
        for (std::int32_t i = 0; i < 3; ++i)
            documents_.push_back(bson::make("_id", i, "n", i * 10));
        for (std::int32_t i = 0; i < 3; ++i)
            inserts_.push_back({documents_[static_cast<std::size_t>(i)], i + 4});
    }
    // The entry as it stands in the oplog.
    bson::Document encode(bool has_session) const {
        const bson::Document shard_key = bson::make("n", 1);
        const InsertedBatch batch{"shop.items", collection_, inserts_, shard_key, false};
        OplogEntry entry;
        entry.kind = OpKind::command;
        entry.ns = "admin.$cmd";
        entry.batch = &batch;
        if (has_session) {
            entry.session.emplace();
            entry.session->id.uid = std::string(32, 'u');
            entry.session->txn_number = 9;
        }
        std::string bytes;
        entry.encode(at_, wall_, bytes);
        return bson::Document::adopt(std::move(bytes));
    }

    const OpTime at_{{5, 6}, 2};
    const WallTime wall_{1000};
    bson::Uuid collection_;
    std::vector<bson::Document> documents_;
    std::vector<InsertStatement> inserts_;
};

TEST_F(Batch, IsOneEntryInTheFormOfMongoDB) {
    const bson::Document entry = encode(true);
    EXPECT_EQ(entry["op"].as_string(), "c");
    EXPECT_EQ(entry["ns"].as_string(), "admin.$cmd");
    EXPECT_EQ(entry["multiOpType"].to_int64(), 1);
    EXPECT_TRUE(entry.view().has("prevOpTime"));
    EXPECT_FALSE(entry.view().has("stmtId"));
    const bson::View first = entry["o"].as_view()["applyOps"].as_view().front().value.as_view();
    EXPECT_EQ(first["op"].as_string(), "i");
    EXPECT_EQ(first["ns"].as_string(), "shop.items");
    EXPECT_EQ(first["o"].as_view(), documents_[0].view());
    EXPECT_EQ(first["o2"].as_view(), json(R"({"_id": 0, "n": 0})").view());
    EXPECT_EQ(first["stmtId"].to_int64(), 4);
    const bson::Document plain = encode(false);
    EXPECT_FALSE(plain.view().has("multiOpType"));
    EXPECT_FALSE(plain.view().has("prevOpTime"));
}

TEST_F(Batch, IsReadBackWithItsOperationsAndTheirStatements) {
    const bson::Document bytes = encode(true);
    const auto entry = ParsedEntry::parse(bytes);
    ASSERT_TRUE(entry);
    EXPECT_TRUE(entry->is_apply_ops());
    EXPECT_EQ(entry->session->statements, (std::vector<StatementId>{4, 5, 6}));
    const auto operations = entry->operations();
    ASSERT_TRUE(operations);
    ASSERT_EQ(operations->size(), 3U);
    const ParsedEntry& last = operations->back();
    EXPECT_EQ(last.kind, OpKind::insert);
    EXPECT_EQ(last.ns.to_string(), "shop.items");
    EXPECT_EQ(last.uuid, collection_);
    EXPECT_EQ(last.object, documents_[2].view());
    EXPECT_EQ(last.optime, at_);
    const bson::Document alone = last.as_entry();
    const auto parsed = ParsedEntry::parse(alone);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->optime, at_);
    EXPECT_EQ(parsed->object, documents_[2].view());
}

TEST(ParsedEntry, RefusesOperationsThatAreNone) {
    for (const char* list : {R"(1)", R"([1])", R"([{"op": "x", "ns": "a.b", "o": {}}])",
                             R"([{"op": "i", "o": {}}])", R"([{"op": "i", "ns": "a.b"}])"}) {
        const bson::Document bytes =
            json(R"({"op": "c", "ns": "admin.$cmd", "ts": {"$timestamp": {"t": 1, "i": 1}},)"
                 R"("o": {"applyOps": )" + std::string(list) + "}}");
        const auto entry = ParsedEntry::parse(bytes);
        ASSERT_TRUE(entry) << list;
        EXPECT_FALSE(entry->operations()) << list;
    }
}

}  // namespace
}  // namespace tessera::replication
