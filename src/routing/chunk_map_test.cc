// SPDX-License-Identifier: Apache-2.0
#include "routing/chunk_map.h"

#include "routing/chunk_changes.h"
#include "routing/ownership.h"
#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::bound;
using testing::chunk;
using testing::collection;
using testing::highest;
using testing::json;
using testing::lowest;
using testing::map_of;
using testing::range;

Key key_of(std::int64_t value) {
    return *collection().key.key_of(bson::make("a", value));
}

std::vector<bson::Document> documents_of(const ChunkMap& map, Placement from = {}) {
    std::vector<bson::Document> documents;
    for (const auto& each : map.chunks()) {
        if (each->placement >= from) documents.push_back(each->to_document(map.collection().uuid));
    }
    return documents;
}

void expect_same(const ChunkMap& one, const ChunkMap& two) {
    EXPECT_EQ(one.version(), two.version());
    ASSERT_EQ(one.chunks().size(), two.chunks().size());
    for (std::size_t i = 0; i < one.chunks().size(); ++i) {
        EXPECT_EQ(one.chunks()[i]->to_document({}).bytes(),
                  two.chunks()[i]->to_document({}).bytes());
    }
    ASSERT_EQ(one.shards().size(), two.shards().size());
    for (const auto& [shard, summary] : one.shards()) {
        EXPECT_EQ(one.version_of(shard), two.version_of(shard));
        EXPECT_EQ(summary.chunks, two.shards().at(shard).chunks);
    }
}

TEST(Chunk, SurvivesItsDocument) {
    Chunk each = chunk(collection(), 1, 5, "s1", {3, 2});
    each.is_jumbo = true;
    each.estimated_bytes = 77;
    each.history.push_back({{50, 0}, "s0"});
    const auto document = each.to_document(collection().uuid);
    const Chunk parsed = *Chunk::parse(collection().key, document);
    EXPECT_EQ(parsed.to_document(collection().uuid).bytes(), document.bytes());
    EXPECT_EQ(parsed.history, each.history);
    EXPECT_EQ(*parsed.shard_at({60, 0}), "s0");
    EXPECT_EQ(*parsed.shard_at({200, 0}), "s1");
    EXPECT_EQ(parsed.shard_at({40, 0}).error().code(), ErrorCode::stale_chunk_history);
}

TEST(Chunk, RefusesBrokenDocuments) {
    const auto key = collection().key;
    const auto whole = chunk(collection(), 1, 5, "s1", {3, 2}).to_document(collection().uuid);
    for (const auto& left_out : whole.view()) {
        if (left_out.name == "uuid" || left_out.name == "onCurrentShardSince" ||
            left_out.name == "history") {
            continue;
        }
        bson::Builder builder;
        for (const auto& element : whole.view()) {
            if (element.name != left_out.name) builder.append(element);
        }
        EXPECT_FALSE(Chunk::parse(key, std::move(builder).finish()).has_value()) << left_out.name;
    }
    EXPECT_FALSE(Chunk::make(key, range(5, 5)).has_value());
    EXPECT_FALSE(Chunk::make(key, range(5, 1)).has_value());
}

TEST(CollectionEntry, SurvivesItsDocument) {
    CollectionEntry entry = collection(R"({"a":1,"b":"hashed"})");
    entry.is_unique = true;
    entry.chunk_bytes_max = 1 << 20;
    entry.allow_migrations = false;
    entry.default_collation = json(R"({"locale":"fr"})");
    const CollectionEntry parsed = *CollectionEntry::parse(entry.to_document());
    EXPECT_EQ(parsed.to_document().bytes(), entry.to_document().bytes());
    EXPECT_FALSE(CollectionEntry::parse(json(R"({"_id":"a.b"})")).has_value());
    DatabaseEntry database{"db", "s1", {}};
    database.version.last_mod = 4;
    EXPECT_EQ(DatabaseEntry::parse(database.to_document())->version, database.version);
    EXPECT_TRUE(DatabaseEntry::parse(database.to_document())->moved_at.is_null());
    database.moved_at = {7, 1};
    EXPECT_EQ(DatabaseEntry::parse(database.to_document())->moved_at, database.moved_at);
}

TEST(ChunkMap, FindsTheChunkOfAKey) {
    const auto map = map_of({0, 10, 20}, {"s1", "s2", "s1", "s3"});
    EXPECT_EQ(map->chunk_of(key_of(-5)).shard, "s1");
    EXPECT_EQ(map->chunk_of(key_of(0)).shard, "s2");
    EXPECT_EQ(map->chunk_of(key_of(9)).shard, "s2");
    EXPECT_EQ(map->chunk_of(key_of(10)).range.min.bytes(), bound(10).bytes());
    EXPECT_EQ(map->chunk_of(key_of(1000)).shard, "s3");
    EXPECT_EQ(map->chunk_of(*map->key().key_of(json("{}"))).shard, "s1");
    EXPECT_EQ(map->chunk_of(*map->key().key_of(json(R"({"a":{"$maxKey":1}})"))).shard, "s3");
    EXPECT_EQ(map->chunk_of(*map->key().key_of(json(R"({"a":{"$minKey":1}})"))).shard, "s1");
    EXPECT_NE(map->chunk_with(range(10, 20)), nullptr);
    EXPECT_EQ(map->chunk_with(range(10, 19)), nullptr);
    EXPECT_TRUE(map->owns_range("s2", range(2, 8)));
    EXPECT_FALSE(map->owns_range("s2", range(2, 11)));
}

TEST(ChunkMap, RefusesGapsOverlapsAndForeignChunks) {
    const CollectionEntry entry = collection();
    const auto make = [&](std::vector<Chunk> chunks) {
        return ChunkMap::make(entry, std::move(chunks));
    };
    const auto expect_refused = [&](const Result<ChunkMap::Pointer>& map, std::string_view why) {
        ASSERT_FALSE(map.has_value());
        EXPECT_EQ(map.error().code(), ErrorCode::conflicting_operation_in_progress);
        EXPECT_NE(map.error().reason().find(why), std::string::npos) << map.error().reason();
    };
    expect_refused(make({}), "none");
    expect_refused(
        make({chunk(entry, lowest, 5, "s", {1, 0}), chunk(entry, 6, highest, "s", {1, 1})}), "gap");
    expect_refused(make({chunk(entry, 0, highest, "s", {1, 1})}), "MinKey");
    expect_refused(make({chunk(entry, lowest, 9, "s", {1, 1})}), "MaxKey");
    // The newer of two that overlap wins, which leaves a gap here.
    expect_refused(
        make({chunk(entry, lowest, 9, "s", {1, 1}), chunk(entry, 5, highest, "s", {1, 2})}),
        "MinKey");
    auto foreign = chunk(entry, lowest, highest, "s", {1, 0}).to_document({});
    expect_refused(ChunkMap::make(entry, std::vector{foreign}), "another collection");
    const auto map = map_of({}, {"s1"});
    CollectionEntry dropped = entry;
    dropped.generation.timestamp = {101, 0};
    expect_refused(map->updated(dropped, std::vector<Chunk>{}), "generation");
}

TEST(ChunkMap, FindsTheShardsOfRanges) {
    const auto map = map_of({0, 10, 20}, {"s1", "s2", "s1", "s3"});
    const auto shards = [&](std::int64_t low, std::int64_t high) {
        std::string result;
        for (const auto& shard : map->shards_of({{key_of(low), key_of(high)}}))
            result += shard + " ";
        return result;
    };
    EXPECT_EQ(shards(1, 2), "s2 ");
    EXPECT_EQ(shards(1, 10), "s2 ");
    EXPECT_EQ(shards(1, 11), "s1 s2 ");
    EXPECT_EQ(shards(-1, 30), "s1 s2 s3 ");
    EXPECT_EQ(map->shards_of(everything()).size(), 3U);
    EXPECT_TRUE(map->shards_of(KeyRanges{}).empty());
}

TEST(OwnershipFilter, OwnsWhatItsChunksHold) {
    const auto map = map_of({0, 10, 20}, {"s1", "s2", "s1", "s3"});
    OwnershipFilter filter(map, "s1");
    EXPECT_EQ(filter.ranges().size(), 2U);
    EXPECT_TRUE(filter.owns(json(R"({"a":-1})")));
    EXPECT_FALSE(filter.owns(json(R"({"a":0})")));
    EXPECT_TRUE(filter.owns(json(R"({"a":10})")));
    EXPECT_FALSE(filter.owns(json(R"({"a":20})")));
    EXPECT_TRUE(filter.owns(json("{}")));
    EXPECT_FALSE(filter.owns(json(R"({"a":[1]})")));
    EXPECT_TRUE(OwnershipFilter(map, "s3").owns(json(R"({"a":{"$maxKey":1}})")));
    EXPECT_FALSE(OwnershipFilter(map, "s9").owns(json(R"({"a":1})")));
    EXPECT_EQ(OwnershipFilter(map_of({5}, {"s1", "s1"}), "s1").ranges().size(), 1U);
}

TEST(OwnershipFilter, GoesBackInTime) {
    const auto old = map_of({0}, {"s1", "s2"});
    Random random(1);
    bson::ObjectIdSource ids(random);
    const auto changes =
        *move_range(*old, {range(0, highest), "s2", "s1", {200, 0}, {0, 0}}, {ids, {0}});
    const auto map = *applied(*old, changes);
    EXPECT_TRUE(OwnershipFilter(map, "s1").owns(json(R"({"a":5})")));
    EXPECT_FALSE(OwnershipFilter::at(map, "s1", {150, 0})->owns(json(R"({"a":5})")));
    EXPECT_TRUE(OwnershipFilter::at(map, "s2", {150, 0})->owns(json(R"({"a":5})")));
    EXPECT_EQ(OwnershipFilter::at(map, "s2", {50, 0}).error().code(),
              ErrorCode::stale_chunk_history);
}

/// Splits, merges and moves at random; after each step every invariant holds, and a cache that is
/// refreshed now and then, from what changed since it last was, equals one built from all chunks.
class RandomHistory {
public:
    explicit RandomHistory(std::uint64_t seed) : random_(seed), ids_(random_) {}

    void run(int steps) {
        map_ = map_of({0}, {"s0", "s1"});
        ChunkMap::Pointer cache = map_;
        for (int step = 0; step < steps; ++step) {
            const auto before = map_;
            const auto changes = next_change();
            if (!changes) continue;
            map_ = *applied(*map_, *changes);
            check(*before, *changes);
            if (random_.below(3) != 0) continue;
            auto changed = documents_of(*map_, cache->version().placement);
            for (std::size_t i = changed.size(); i > 1; --i) {  // The order does not matter.
                std::swap(changed[i - 1], changed[random_.below(i)]);
            }
            auto refreshed = cache->updated(map_->collection(), changed);
            ASSERT_TRUE(refreshed.has_value()) << refreshed.error().to_string();
            cache = *refreshed;
            expect_same(*cache, *map_);
            expect_same(**ChunkMap::make(map_->collection(), documents_of(*map_)), *map_);
        }
        EXPECT_GT(map_->version().placement.major, 1U);
    }

private:
    static std::int64_t value_of(bson::View bound, std::int64_t otherwise) {
        return bound["a"].is_number() ? bound["a"].to_int64() : otherwise;
    }
    /// A key strictly within the chunk, if there is one.
    std::optional<std::int64_t> within(const Chunk& each) {
        const std::int64_t low = value_of(each.range.min, -1000);
        const std::int64_t high = value_of(each.range.max, 1000);
        if (high - low < 2) return std::nullopt;
        return low + 1 +
               static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(high - low - 1)));
    }

    std::optional<ChunkChanges> next_change() {
        const auto& chunks = map_->chunks();
        const std::size_t at = random_.below(chunks.size());
        const Chunk& each = *chunks[at];
        switch (random_.below(4)) {
            case 0: {
                const auto point = within(each);
                if (!point) return std::nullopt;
                return take(split_chunk(*map_, each.range, {bound(*point)}, {ids_, {step_++}}));
            }
            case 1: {
                if (at + 1 == chunks.size() || chunks[at + 1]->shard != each.shard)
                    return std::nullopt;
                return take(merge_chunks(*map_, {each.range.min, chunks[at + 1]->range.max}));
            }
            default: {
                Range moved = each.range;
                if (random_.below(2) == 0) {
                    const auto point = within(each);
                    if (point) (random_.below(2) == 0 ? moved.min : moved.max) = bound(*point);
                }
                const ShardName to = "s" + std::to_string(random_.below(4));
                if (to == each.shard) return std::nullopt;
                now_.seconds += 10;
                return take(
                    move_range(*map_, {moved, each.shard, to, now_, {}}, {ids_, {step_++}}));
            }
        }
    }
    static ChunkChanges take(Result<ChunkChanges> changes) {
        EXPECT_TRUE(changes.has_value()) << (changes ? "" : changes.error().to_string());
        return std::move(changes).value();
    }

    void check(const ChunkMap& before, const ChunkChanges& changes) {
        EXPECT_EQ(map_->version().placement, changes.placement);
        EXPECT_GT(map_->version().placement, before.version().placement);
        std::set<bson::ObjectId> ids;
        std::set<Placement> placements;
        for (const auto& each : map_->chunks()) {
            EXPECT_TRUE(ids.insert(each->id).second);
            EXPECT_TRUE(placements.insert(each->placement).second);
            EXPECT_EQ(each->history.front().shard, each->shard);
        }
        for (const auto& removed : changes.removed)
            EXPECT_FALSE(ids.contains(removed));
        // In all of history a shard's major stands for one set of ranges: that is what makes a
        // version check on major alone enough.
        for (int i = 0; i < 4; ++i) {
            const ShardName shard = "s" + std::to_string(i);
            const auto ranges = OwnershipFilter(map_, shard).ranges();
            const auto [known, is_new] = ranges_of_.emplace(
                std::pair(shard, map_->version_of(shard).placement.major), ranges);
            EXPECT_TRUE(is_new || known->second == ranges) << shard;
        }
        for (int i = 0; i < 20; ++i) {
            const auto key = key_of(static_cast<std::int64_t>(random_.below(2400)) - 1200);
            int owners = 0;
            for (int s = 0; s < 4; ++s) {
                owners += OwnershipFilter(map_, "s" + std::to_string(s)).owns_key(key) ? 1 : 0;
            }
            EXPECT_EQ(owners, 1);
            EXPECT_TRUE(map_->chunk_of(key).contains(key));
        }
    }

    Random random_;
    bson::ObjectIdSource ids_;
    ChunkMap::Pointer map_;
    std::map<std::pair<ShardName, std::uint32_t>, KeyRanges> ranges_of_;
    Timestamp now_{1000, 0};
    std::int64_t step_ = 0;
};

TEST(ChunkMap, RandomHistoriesKeepItsInvariants) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        RandomHistory(seed).run(150);
        if (::testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace tessera::routing
