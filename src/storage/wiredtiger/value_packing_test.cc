// SPDX-License-Identifier: Apache-2.0
#include "storage/wiredtiger/value_packing.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "storage/limits.h"

namespace tessera::storage::wiredtiger {
namespace {

TEST(ValuePacking, PacksWhatBecomesSmaller) {
    Scratch scratch;
    const std::string small(limits::packed_value_bytes_min - 1, 'a');
    EXPECT_EQ(pack_value(small, scratch).data(), small.data());
    const std::string large(limits::packed_value_bytes_min, 'a');
    EXPECT_LT(pack_value(large, scratch).size(), large.size() / 10);
    Random random(1);
    std::string noise = large;
    for (char& c : noise)
        c = static_cast<char>(random.below(256));
    EXPECT_EQ(pack_value(noise, scratch).data(), noise.data());
}

TEST(ValuePacking, TellsDamage) {
    Scratch scratch;
    const std::string value(limits::packed_value_bytes_min, 'a');
    const std::string packed(pack_value(value, scratch));
    Scratch out;
    for (std::size_t length = 4; length < packed.size(); ++length)
        EXPECT_FALSE(unpack_value(packed.substr(0, length), out)) << length;
    EXPECT_FALSE(unpack_value(packed + "x", out));
    // A length far beyond what the bytes can hold takes no memory.
    const auto huge = unpack_value("\xff\xff\xff\xff\xff\xff\xff\xff\x0f", out);
    ASSERT_FALSE(huge);
    EXPECT_EQ(huge.error().code(), ErrorCode::internal_error);
    // Any change of a byte gives an error or some value, and never reads or writes beyond.
    Random random(2);
    for (int n = 0; n < 20'000; ++n) {
        std::string changed = packed;
        changed[4 + random.below(changed.size() - 4)] = static_cast<char>(random.below(256));
        const auto read = unpack_value(changed, out);
        EXPECT_LE(read ? read->size() : 0, changed.size() * 32);
    }
}

}  // namespace
}  // namespace tessera::storage::wiredtiger
