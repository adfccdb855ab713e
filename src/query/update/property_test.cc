// SPDX-License-Identifier: Apache-2.0
//
// Random documents and updates: the oplog entry of an update gives the updated document, a computed
// diff does too, and applying either twice changes nothing more.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "bson/builder.h"
#include "bson/json.h"
#include "bson/validate.h"
#include "query/update/diff.h"
#include "query/update/update.h"

namespace tessera::query {
namespace {

using bson::Document;

class Generator {
public:
    explicit Generator(std::uint64_t seed) : random_(seed) {}

    Document document() {
        bson::Builder out;
        out.append("_id", 1);
        fields(out, 3);
        return std::move(out).finish();
    }

    Document update() {
        static constexpr const char* operators[] = {"$set",
                                                    "$unset",
                                                    "$inc",
                                                    "$min",
                                                    "$max",
                                                    "$push",
                                                    "$addToSet",
                                                    "$pull",
                                                    "$pop",
                                                    "$mul",
                                                    "$pullAll",
                                                    "$rename",
                                                    "$bit"};
        bson::Builder out;
        const auto first = random_.below(std::size(operators));
        const auto count = 1 + random_.below(2);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::string name = operators[(first + i * 5) % std::size(operators)];
            auto inner = out.object(name);
            const auto paths = 1 + random_.below(3);
            for (std::uint64_t k = 0; k < paths; ++k)
                argument(name, inner);
        }
        return std::move(out).finish();
    }

private:
    std::string name() { return std::string(1, static_cast<char>('a' + random_.below(5))); }
    std::string path() {
        std::string result = name();
        const auto depth = random_.below(3);
        for (std::uint64_t i = 0; i < depth; ++i) {
            const auto kind = random_.below(4);
            result += kind == 0 ? "." + std::to_string(random_.below(4))
                                : (kind == 1 ? std::string(".$[]") : "." + name());
        }
        return result;
    }
    void argument(const std::string& modifier, bson::Builder& out) {
        const std::string at = path();
        if (modifier == "$pop") {
            out.append(at, random_.below(2) == 0 ? 1 : -1);
        } else if (modifier == "$rename") {
            out.append(name() + "." + name(), name());
        } else if (modifier == "$bit") {
            auto inner = out.object(at);
            inner.append("xor", static_cast<std::int32_t>(random_.below(4)));
        } else if (modifier == "$inc" || modifier == "$mul") {
            out.append(at, static_cast<std::int32_t>(random_.below(3)));
        } else if (modifier == "$pullAll") {
            auto list = out.array(at);
            list.append(static_cast<std::int32_t>(random_.below(4)));
        } else if (modifier == "$push" && random_.below(2) == 0) {
            auto inner = out.object(at);
            {
                auto list = inner.array("$each");
                for (auto i = random_.below(3); i > 0; --i) {
                    list.append(static_cast<std::int32_t>(random_.below(4)));
                }
            }
            if (random_.below(2) == 0) {
                inner.append("$position", static_cast<std::int32_t>(random_.below(5)) - 2);
            }
            if (random_.below(2) == 0) {
                inner.append("$slice", static_cast<std::int32_t>(random_.below(7)) - 3);
            }
            if (random_.below(3) == 0) inner.append("$sort", 1);
        } else {
            value(at, out, 2);
        }
    }
    void value(const std::string& at, bson::Builder& out, int depth) {
        switch (random_.below(depth > 0 ? 8 : 5)) {
            case 0:
                out.append(at, static_cast<std::int32_t>(random_.below(4)));
                return;
            case 1:
                out.append(at, static_cast<double>(random_.below(4)));
                return;
            case 2:
                out.append(at, "text");
                return;
            case 3:
                out.append_null(at);
                return;
            case 4:
                out.append(at, static_cast<std::int64_t>(random_.below(4)));
                return;
            case 5: {
                auto inner = out.object(at);
                fields(inner, depth - 1);
                return;
            }
            default: {
                bson::Builder list;
                const auto count = random_.below(4);
                for (std::uint64_t i = 0; i < count; ++i) {
                    value(std::to_string(i), list, depth - 1);
                }
                const Document bytes = std::move(list).finish();
                out.append_array(at, bytes);
                return;
            }
        }
    }
    void fields(bson::Builder& out, int depth) {
        for (char c = 'a'; c < 'f'; ++c) {
            if (random_.below(2) == 0) value(std::string(1, c), out, depth);
        }
    }

    Random random_;
};

void expect_replays(const Document& before,
                    const Document& entry,
                    const Document& after,
                    const std::string& where) {
    auto once = apply_oplog_update(before, entry);
    ASSERT_TRUE(once) << where << once.error().to_string();
    ASSERT_EQ(bson::to_json(*once), bson::to_json(after)) << where;
    ASSERT_EQ(once->bytes(), after.bytes()) << where;
    auto twice = apply_oplog_update(*once, entry);
    ASSERT_TRUE(twice) << where;
    ASSERT_EQ(twice->bytes(), after.bytes()) << where;
}

TEST(UpdateProperty, OplogEntriesReplay) {
    int applied = 0;
    UpdateContext context;
    for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
        Generator generator(seed);
        const Document before = generator.document();
        const Document text = generator.update();
        const std::string where = "seed " + std::to_string(seed) + " " + bson::to_json(before) +
                                  " " + bson::to_json(text) + " ";
        auto update = Update::parse(text.view().as_object_value(), {});
        if (!update) continue;
        auto result = update->apply(before, {}, context);
        if (!result || result->is_noop) continue;
        ++applied;
        ASSERT_TRUE(bson::validate(result->after.bytes())) << where;
        ASSERT_TRUE(bson::validate(result->oplog.bytes())) << where;
        ASSERT_NE(result->after.bytes(), before.bytes()) << where;
        expect_replays(before, result->oplog, result->after, where);
        if (HasFatalFailure()) return;
    }
    EXPECT_GT(applied, 2'000);
}

TEST(UpdateProperty, ComputedDiffsReplay) {
    int computed = 0;
    for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
        Generator generator(seed);
        const Document before = generator.document();
        const Document after = generator.document();
        const ComputedDiff diff = compute_diff(before, after);
        ASSERT_EQ(diff.is_equal, before.bytes() == after.bytes());
        if (!diff.diff) continue;
        ++computed;
        bson::Builder entry;
        entry.append("$v", 2);
        entry.append("diff", *diff.diff);
        const Document oplog = std::move(entry).finish();
        expect_replays(before,
                       oplog,
                       after,
                       "seed " + std::to_string(seed) + " " + bson::to_json(oplog) + " ");
        if (HasFatalFailure()) return;
    }
    EXPECT_GT(computed, 3'000);
}

}  // namespace
}  // namespace tessera::query
