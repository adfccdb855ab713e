// SPDX-License-Identifier: Apache-2.0
#include "bson/key.h"

#include <gtest/gtest.h>

#include "bson/compare.h"
#include "bson/json.h"
#include "bson/random_value.h"

namespace tessera::bson {
namespace {

int sign(int order) {
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

struct Key {
    std::string key;
    std::string type_bits;
};

Key encode(const std::vector<Value>& values,
           Ordering ordering = {},
           KeyBuilder::Ending ending = KeyBuilder::Ending::exact) {
    KeyBuilder builder(ordering);
    for (const Value& value : values)
        builder.append(value);
    builder.finish(ending);
    return {std::string(builder.key()), std::string(builder.type_bits())};
}

void expect_round_trip(const std::vector<Value>& values, Ordering ordering) {
    const Key key = encode(values, ordering);
    Arena arena;
    std::vector<Value> decoded;
    const Status status = decode_key(key.key, key.type_bits, ordering, arena, decoded);
    ASSERT_TRUE(status);
    ASSERT_EQ(decoded.size(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(decoded[i].type(), values[i].type()) << to_json(values[i], JsonMode::canonical);
        EXPECT_EQ(decoded[i].bytes(), values[i].bytes())
            << to_json(values[i], JsonMode::canonical) << " came back as "
            << to_json(decoded[i], JsonMode::canonical);
    }
}

TEST(Key, OrdersAsValuesDoInBothDirections) {
    Arena arena;
    RandomValues values(3, arena);
    for (int round = 0; round < 30000; ++round) {
        const std::uint64_t kind = values.random().below(3);
        const Value a = kind == 0 ? values.number() : values.any();
        const Value b = kind == 0 ? values.number() : values.any();
        const int order = sign(compare(a, b));
        EXPECT_EQ(sign(encode({a}).key.compare(encode({b}).key)), order)
            << to_json(a, JsonMode::canonical) << " " << to_json(b, JsonMode::canonical);
        EXPECT_EQ(sign(encode({a}, {1}).key.compare(encode({b}, {1}).key)), -order)
            << to_json(a, JsonMode::canonical) << " " << to_json(b, JsonMode::canonical);
        if (round % 1000 == 0) arena.clear();
    }
}

TEST(Key, OrdersSeveralFieldsEachInItsDirection) {
    Arena arena;
    RandomValues values(4, arena);
    for (int round = 0; round < 10000; ++round) {
        const Ordering ordering{static_cast<std::uint32_t>(values.random().below(8))};
        std::vector<Value> a;
        std::vector<Value> b;
        for (int i = 0; i < 3; ++i) {
            a.push_back(values.any(1));
            b.push_back(values.random().below(2) != 0 ? a.back() : values.any(1));
        }
        int order = 0;
        for (std::size_t i = 0; i < 3 && order == 0; ++i) {
            order = sign(compare(a[i], b[i])) * (ordering.is_descending(i) ? -1 : 1);
        }
        EXPECT_EQ(sign(encode(a, ordering).key.compare(encode(b, ordering).key)), order);
        if (round % 1000 == 0) arena.clear();
    }
}

TEST(Key, GivesValuesBackExactly) {
    Arena arena;
    RandomValues values(5, arena);
    for (int round = 0; round < 20000; ++round) {
        std::vector<Value> row;
        for (std::uint64_t i = 1 + values.random().below(3); i > 0; --i)
            row.push_back(values.any());
        expect_round_trip(row, {static_cast<std::uint32_t>(values.random().below(8))});
        if (round % 1000 == 0) arena.clear();
    }
}

TEST(Key, EndingsEncloseEveryKeyThatStartsWithTheFields) {
    Arena arena;
    RandomValues values(6, arena);
    for (int round = 0; round < 5000; ++round) {
        const Ordering ordering{static_cast<std::uint32_t>(values.random().below(4))};
        const Value a = values.any(1);
        const Value b = values.any(1);
        const std::string before = encode({a}, ordering, KeyBuilder::Ending::before).key;
        const std::string after = encode({a}, ordering, KeyBuilder::Ending::after).key;
        const std::string longer = encode({a, b}, ordering).key;
        const std::string other = encode({b, a}, ordering).key;
        EXPECT_LT(before, longer);
        EXPECT_LT(longer, after);
        EXPECT_LT(before, encode({a}, ordering).key);
        EXPECT_LT(encode({a}, ordering).key, after);
        if (compare(a, b) != 0) {
            EXPECT_EQ(other < before, other < after);
        }
        if (round % 1000 == 0) arena.clear();
    }
}

TEST(Key, IsCompactWhereItMatters) {
    Arena arena;
    const Key small = encode({arena.make(5)});
    EXPECT_EQ(small.key.size(), 3U);
    EXPECT_TRUE(small.type_bits.empty());
    EXPECT_EQ(encode({arena.make(100000)}).key.size(), 5U);
    EXPECT_TRUE(encode({arena.make(std::int64_t{1} << 40)}).type_bits.empty());
    EXPECT_EQ(encode({arena.make(std::int64_t{5})}).type_bits.size(), 1U);
    EXPECT_EQ(encode({arena.make(0.3)}).key.size(), 10U);
    EXPECT_TRUE(encode({arena.make(0.3)}).type_bits.empty());
    EXPECT_EQ(encode({arena.make("abc")}).key.size(), 6U);
    EXPECT_EQ(encode({arena.make(ObjectId{})}).key.size(), 14U);
    EXPECT_EQ(encode({Value()}).key, encode({Arena::make_null()}).key);
}

TEST(Key, CarriesRecordIdsInOrder) {
    Arena arena;
    std::string last;
    for (const std::int64_t id : {std::int64_t{1},
                                  std::int64_t{1023},
                                  std::int64_t{1024},
                                  std::int64_t{262143},
                                  std::int64_t{262144},
                                  std::int64_t{1} << 40,
                                  std::int64_t{1} << 58,
                                  INT64_MAX - 1,
                                  INT64_MAX}) {
        KeyBuilder builder;
        builder.append(arena.make("k"));
        builder.finish();
        const std::size_t length = builder.key().size();
        builder.append(RecordId{id});
        EXPECT_EQ(fields_length(builder.key()), length);
        EXPECT_EQ(record_id_at_end(builder.key()).value, id);
        EXPECT_LT(last, builder.key());
        last = builder.key();
        EXPECT_EQ(record_id_of(record_key(RecordId{id})).value, id);
    }
}

TEST(Key, KnowsWhereFieldsEnd) {
    Arena arena;
    RandomValues values(11, arena);
    for (int round = 0; round < 20000; ++round) {
        const Ordering ordering{static_cast<std::uint32_t>(values.random().below(4))};
        KeyBuilder builder(ordering);
        builder.append(values.any());
        const std::size_t first = builder.key().size();
        builder.append(values.any());
        const std::size_t both = builder.key().size();
        builder.finish();
        builder.append(RecordId{values.integer()});
        EXPECT_EQ(field_length(builder.key()), first);
        EXPECT_EQ(field_length(builder.key().substr(first)), both - first);
        EXPECT_EQ(field_length(builder.key().substr(both)), 0U);
        if (round % 1000 == 0) arena.clear();
    }
}

TEST(Key, ReadsRecordIdsFromTheFrontToo) {
    KeyBuilder builder;
    builder.append(RecordId{1234567});
    std::string bytes(builder.key());
    bytes += "rest";
    std::string_view left = bytes;
    EXPECT_EQ(take_record_id(left).value, 1234567);
    EXPECT_EQ(left, "rest");
    left = std::string_view(bytes).substr(0, 2);
    EXPECT_EQ(take_record_id(left).value, 0);
}

TEST(Key, NeverReadsBeyondOrCrashesOnForeignBytes) {
    Arena arena;
    RandomValues values(8, arena);
    for (int round = 0; round < 20000; ++round) {
        Key key = encode({values.any(), values.any()}, {2});
        for (std::uint64_t i = 1 + values.random().below(4); i > 0; --i) {
            std::string& victim =
                key.type_bits.empty() || values.random().below(4) != 0 ? key.key : key.type_bits;
            victim[values.random().below(victim.size())] =
                static_cast<char>(values.random().below(256));
        }
        key.key.resize(values.random().below(key.key.size() + 1));
        std::vector<Value> decoded;
        EXPECT_LE(field_length(key.key), key.key.size());
        (void)decode_key(std::string(key.key), key.type_bits, {2}, arena, decoded).has_value();
        if (round % 1000 == 0) arena.clear();
    }
}

TEST(Key, ReadsItsDirectionsFromAPattern) {
    EXPECT_EQ(Ordering::from_pattern(make("a", 1, "b", -1, "c", "hashed", "d", -1.0)).descending,
              0b1010U);
}

}  // namespace
}  // namespace tessera::bson
