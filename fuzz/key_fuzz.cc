// SPDX-License-Identifier: Apache-2.0
//
// Input: which fields descend (4 bytes), then one or two documents, or bytes that are none. Values
// come back from their key exactly, keys have the order of the values they encode, any document can
// be shown, and decoding bytes that nobody encoded fails without harm.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "bson/compare.h"
#include "bson/json.h"
#include "bson/key.h"
#include "bson/validate.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one function.

constexpr std::size_t fields_max = 32;
constexpr std::size_t type_bits_max = 8;
constexpr std::int64_t record_id = 0x123456789;

struct Encoded {
    std::vector<bson::Value> values;
    std::string key;
    std::string type_bits;
    bool is_numbered = false;
};

/// Whether every array within names its elements "0", "1" ...: keys do not keep other names.
bool is_numbered(bson::View document, bool is_array) {
    std::size_t index = 0;
    for (const bson::Element& element : document) {
        if (is_array && element.name != std::to_string(index++)) return false;
        const bson::Type type = element.value.type();
        if (type == bson::Type::object || type == bson::Type::array) {
            if (!is_numbered(element.value.as_view(), type == bson::Type::array)) return false;
        } else if (type == bson::Type::code_with_scope) {
            if (!is_numbered(element.value.as_scope(), false)) return false;
        }
    }
    return true;
}

Encoded encode(bson::View document, bson::Ordering ordering) {
    Encoded result;
    result.is_numbered = is_numbered(document, false);
    bson::KeyBuilder builder(ordering);
    for (const bson::Element& element : document) {
        if (result.values.size() == fields_max) break;
        result.values.push_back(element.value);
        builder.append(element.value);
    }
    builder.finish();
    result.key = builder.key();
    result.type_bits = builder.type_bits();

    builder.append(bson::RecordId{record_id});
    ASSERT(bson::fields_length(builder.key()) == result.key.size());
    ASSERT(bson::record_id_at_end(builder.key()).value == record_id);
    return result;
}

void check_round_trip(const Encoded& encoded, bson::Ordering ordering) {
    bson::Arena arena;
    std::vector<bson::Value> decoded;
    ASSERT(bson::decode_key(encoded.key, encoded.type_bits, ordering, arena, decoded).has_value());
    ASSERT(decoded.size() == encoded.values.size());
    for (std::size_t i = 0; i < decoded.size(); ++i)
        ASSERT(bson::compare(decoded[i], encoded.values[i]) == 0);
    if (!encoded.is_numbered) return;
    for (std::size_t i = 0; i < decoded.size(); ++i) {
        ASSERT(decoded[i].type() == encoded.values[i].type());
        ASSERT(decoded[i].bytes() == encoded.values[i].bytes());
    }
}

int sign(int order) {
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

void check_order(const Encoded& one, const Encoded& two, bson::Ordering ordering) {
    if (one.values.size() != two.values.size()) return;  // Never keys of one index.
    int order = 0;
    for (std::size_t i = 0; i < one.values.size() && order == 0; ++i) {
        order = sign(bson::compare(one.values[i], two.values[i]));
        if (ordering.is_descending(i)) order = -order;
    }
    ASSERT(sign(one.key.compare(two.key)) == order);
}

void decode_foreign(std::string_view bytes, bson::Ordering ordering) {
    const std::size_t type_bytes = std::min(type_bits_max, bytes.size() / 2);
    const std::string_view key = bytes.substr(type_bytes);
    bson::Arena arena;
    std::vector<bson::Value> values;
    (void)bson::decode_key(key, bytes.substr(0, type_bytes), ordering, arena, values).has_value();
    ASSERT(bson::field_length(key) <= key.size());
    std::string_view rest = key;
    (void)bson::take_record_id(rest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view bytes(reinterpret_cast<const char*>(data), size);
    bson::Ordering ordering;
    if (size < 2 * sizeof ordering.descending) return 0;
    std::memcpy(&ordering.descending, bytes.data(), sizeof ordering.descending);
    bytes.remove_prefix(sizeof ordering.descending);

    std::uint32_t first = 0;
    std::memcpy(&first, bytes.data(), sizeof first);
    const auto document = bson::validate(bytes.substr(0, first));
    if (!document) {
        decode_foreign(bytes, ordering);
        return 0;
    }
    (void)bson::to_json(*document, bson::JsonMode::canonical);
    (void)bson::to_json(*document, bson::JsonMode::message);
    const Encoded one = encode(*document, ordering);
    check_round_trip(one, ordering);
    const auto other = bson::validate(bytes.substr(first));
    if (other) check_order(one, encode(*other, ordering), ordering);
    return 0;
}
