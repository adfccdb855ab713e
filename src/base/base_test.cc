// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/host_and_port.h"
#include "base/log.h"
#include "base/optime.h"
#include "base/random.h"
#include "base/result.h"

namespace tessera {
namespace {

Result<int> half(int number) {
    if (number % 2 != 0) return Error(ErrorCode::bad_value, "odd");
    return number / 2;
}
Result<int> quarter(int number) {
    TRY(const int once, half(number));
    TRY(const int twice, half(once));
    return twice;
}

TEST(Result, PassesValuesAndErrorsOn) {
    EXPECT_EQ(*quarter(8), 2);
    ASSERT_FALSE(quarter(6));
    EXPECT_EQ(quarter(6).error().code(), ErrorCode::bad_value);
}

TEST(ErrorCode, PrintsTheWireNameOrItsLocation) {
    EXPECT_EQ(code_name(ErrorCode::duplicate_key), "DuplicateKey");
    EXPECT_EQ(code_name(location(40571)), "Location40571");
    EXPECT_TRUE(has_class(ErrorCode::not_writable_primary, error_class::retriable));
    EXPECT_FALSE(has_class(ErrorCode::duplicate_key, error_class::retriable));
}

TEST(OpTime, ComparesByTermFirst) {
    EXPECT_LT((OpTime{{9, 9}, 1}), (OpTime{{1, 1}, 2}));
    EXPECT_LT((OpTime{{1, 1}, 2}), (OpTime{{1, 2}, 2}));
    EXPECT_EQ(Timestamp::unpack(Timestamp{3, 4}.packed()), (Timestamp{3, 4}));
}

TEST(HostAndPort, ParsesNamesPortsAndBrackets) {
    EXPECT_EQ(HostAndPort::parse("a:1")->to_string(), "a:1");
    EXPECT_EQ(HostAndPort::parse("a")->port, 27017);
    EXPECT_EQ(HostAndPort::parse("[::1]:5")->to_string(), "[::1]:5");
    EXPECT_TRUE(HostAndPort::parse("[::1]:5")->is_loopback());
    for (const char* bad : {"", ":1", "a:", "a:0", "a:65536", "a:1x", "[::1", "a b", "rs/a:1"})
        EXPECT_FALSE(HostAndPort::parse(bad)) << bad;
    // What they are written as would not read as they do.
    for (const char* bad : {"[[1]", "[[1]:5", "a]", "a[", "a\nb", "\x1a", "a\x7f"})
        EXPECT_FALSE(HostAndPort::parse(bad)) << bad;
}

TEST(Random, StaysBelowItsBoundAndRepeats) {
    Random one(7);
    Random two(7);
    for (int i = 0; i < 1000; ++i) {
        const auto draw = one.below(10);
        EXPECT_LT(draw, 10U);
        EXPECT_EQ(draw, two.below(10));
    }
}

TEST(Log, WritesOneJsonObjectALine) {
    std::string seen;
    log::set_clock([] { return WallTime{1'000'000'123}; });
    log::set_sink([&](std::string_view line) { seen = line; });
    log::info(log::Component::network, 23016, "Waiting for connections",
              {{"port", 27017}, {"text", "a\"b\x01\xff"}});
    log::set_sink(nullptr);
    log::set_clock(nullptr);
    EXPECT_EQ(seen,
              R"({"t":{"$date":"1970-01-12T13:46:40.123+00:00"},"s":"I","c":"NETWORK",)"
              R"("id":23016,"ctx":"-","msg":"Waiting for connections",)"
              R"("attr":{"port":27017,"text":"a\"b\u0001\ufffd"}})");
}

}  // namespace
}  // namespace tessera
