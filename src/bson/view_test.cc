// SPDX-License-Identifier: Apache-2.0
#include "bson/view.h"

#include <gtest/gtest.h>

#include "bson/arena.h"
#include "bson/builder.h"
#include "bson/validate.h"

namespace tessera::bson {
namespace {

Document sample() {
    Builder builder;
    builder.append("_id", 1).append("s", "text").append("d", 2.5).append("l", std::int64_t{7});
    builder.append("t", Timestamp{3, 4}).append("b", true).append_null("n");
    builder.append("r", Regex{"^a", "i"}).append("bin", Binary{BinarySubtype::generic, "xyz"});
    {
        auto nested = builder.object("o");
        nested.append("x", 1);
        auto list = nested.array("a");
        list.append(1).append("two");
        list.object().append("three", 3);
    }
    return std::move(builder).finish();
}

TEST(Builder, WritesWhatViewsRead) {
    const Document document = sample();
    const View view = document;
    ASSERT_TRUE(validate(document.bytes()));
    EXPECT_EQ(view["_id"].as_int32(), 1);
    EXPECT_EQ(view["s"].as_string(), "text");
    EXPECT_EQ(view["d"].as_double(), 2.5);
    EXPECT_EQ(view["l"].as_int64(), 7);
    EXPECT_EQ(view["t"].as_timestamp(), (Timestamp{3, 4}));
    EXPECT_TRUE(view["b"].as_bool());
    EXPECT_TRUE(view["n"].is_null());
    EXPECT_EQ(view["r"].as_regex().options, "i");
    EXPECT_EQ(view["bin"].as_binary().bytes, "xyz");
    EXPECT_EQ(view.at_path("o.x").as_int32(), 1);
    EXPECT_EQ(view["o"].as_view()["a"].as_view()["2"].as_view()["three"].as_int32(), 3);
    EXPECT_EQ(view.count(), 10U);
    EXPECT_TRUE(view["absent"].is_missing());
}

TEST(Builder, GoesOnWhereADocumentEnds) {
    for (const Document& begun : {Document(), make("a", 1), sample()}) {
        Builder builder = Builder::reopen(begun);
        builder.object("more").append("x", 2);
        const Document whole = std::move(builder).finish();
        ASSERT_TRUE(validate(whole.bytes()));
        EXPECT_EQ(whole.view().count(), begun.view().count() + 1);
        EXPECT_EQ(whole.view().at_path("more.x").as_int32(), 2);
        EXPECT_TRUE(
            whole.bytes().substr(4).starts_with(begun.bytes().substr(4, begun.bytes().size() - 5)));
    }
}

TEST(Builder, CopiesARangeOfElements) {
    const Document document = sample();
    const View view = document;
    const auto second = std::next(view.begin());
    Builder builder;
    builder.append_range(second, second);
    builder.append_range(second, std::next(second, 2))
        .append_range(std::next(second, 8), view.end());
    const Document copied = std::move(builder).finish();
    ASSERT_TRUE(validate(copied.bytes()));
    EXPECT_EQ(copied.view().count(), 3U);
    EXPECT_EQ(copied["s"].as_string(), "text");
    EXPECT_EQ(copied["d"].as_double(), 2.5);
    EXPECT_EQ(copied.view().at_path("o.x").as_int32(), 1);
}

TEST(Validate, RefusesEveryTruncationAndNeverReadsBeyond) {
    const Document document = sample();
    for (std::size_t length = 0; length < document.size(); ++length) {
        // A copy of exact size, so that a sanitizer sees any read past its end.
        const std::vector<char> copy(
            document.bytes().begin(),
            document.bytes().begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_FALSE(validate({copy.data(), copy.size()})) << length;
    }
}

TEST(Validate, SurvivesEverySingleByteChange) {
    const Document document = sample();
    for (std::size_t at = 0; at < document.size(); ++at) {
        for (int change = 1; change < 256; ++change) {
            // Of exact size, too.
            std::vector<char> bytes(document.bytes().begin(), document.bytes().end());
            bytes[at] = static_cast<char>(bytes[at] ^ change);
            const auto view = validate({bytes.data(), bytes.size()});
            if (view) {
                EXPECT_EQ(view->size(), bytes.size());
            }
        }
    }
}

TEST(Validate, LimitsNesting) {
    std::string bytes(document_bytes_max / 1024, '\0');
    Document inner = make("leaf", 1);
    for (int level = 0; level < 120; ++level)
        inner = make("a", inner);
    EXPECT_TRUE(validate(inner.bytes()));
    const auto refused = validate(inner.bytes(), 100);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::overflow);
}

TEST(Arena, MakesValuesThatOutliveTheirSource) {
    Arena arena;
    Value value;
    {
        const Document document = sample();
        value = arena.copy(document["o"]);
    }
    EXPECT_EQ(value.as_view()["x"].as_int32(), 1);
    EXPECT_EQ(arena.make("abc").as_string(), "abc");
    EXPECT_EQ(arena.make(5.5).as_double(), 5.5);
    EXPECT_FALSE(Arena::make_bool(false).is_truthy());
    arena.clear();
    EXPECT_EQ(arena.used(), 0U);
}

}  // namespace
}  // namespace tessera::bson
