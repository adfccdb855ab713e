// SPDX-License-Identifier: Apache-2.0
#include "base/name_table.h"

#include <string>

#include <gtest/gtest.h>

namespace tessera {
namespace {

using namespace std::string_view_literals;

constexpr NameTable table(std::array{"find"sv, "fund"sv, "filter"sv, "$db"sv, "x"sv});
static_assert(table.find("filter") == 2 && table.find("fond") == table.none);

TEST(NameTable, FindsWhatItWasGivenAndNothingElse) {
    EXPECT_EQ(table.find("find"), 0U);
    EXPECT_EQ(table.find("fund"), 1U);  // In the same slot: the letters between do not count.
    EXPECT_EQ(table.find("$db"), 3U);
    EXPECT_EQ(table.find("x"), 4U);
    for (const std::string_view name : {""sv, "fin"sv, "finds"sv, "Find"sv, "\xff\xff"sv, "y"sv})
        EXPECT_EQ(table.find(name), table.none) << name;
    EXPECT_EQ(table.find(std::string(100'000, 'f')), table.none);
}

TEST(NameTable, FindsAllOfMany) {
    std::array<std::string, 200> texts;
    std::array<std::string_view, 200> names;
    for (std::size_t i = 0; i < names.size(); ++i)
        names[i] = texts[i] = "n" + std::to_string(i) + "n";
    const NameTable many(names);
    for (std::size_t i = 0; i < names.size(); ++i)
        EXPECT_EQ(many.find(names[i]), i);
    EXPECT_EQ(many.find("n200n"), many.none);
}

}  // namespace
}  // namespace tessera
