// SPDX-License-Identifier: Apache-2.0
//
// Writes keys; key_format.h describes them, key_decoder.cc reads them.
#include "bson/key.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "bson/decimal.h"
#include "bson/key_format.h"

namespace tessera::bson {

namespace {

/// The first class byte of the type's rank.
std::uint8_t class_of(Type type) {
    switch (type) {
        case Type::min_key:
            return class_min_key;
        case Type::undefined:
            return class_undefined;
        case Type::missing:
        case Type::null:
            return class_null;
        case Type::number_double:
        case Type::int32:
        case Type::int64:
        case Type::decimal128:
            return class_nan;
        case Type::string:
        case Type::symbol:
            return class_text;
        case Type::object:
            return class_object;
        case Type::array:
            return class_array;
        case Type::binary:
            return class_binary;
        case Type::object_id:
            return class_object_id;
        case Type::boolean:
            return class_false;
        case Type::date:
            return class_date;
        case Type::timestamp:
            return class_timestamp;
        case Type::regex:
            return class_regex;
        case Type::db_pointer:
            return class_db_pointer;
        case Type::code:
            return class_code;
        case Type::code_with_scope:
            return class_code_with_scope;
        case Type::max_key:
            return class_max_key;
    }
    return class_null;
}

}  // namespace

class KeyEncoder {
public:
    explicit KeyEncoder(KeyBuilder& builder) : builder_(builder), key_(builder.key_) {}

    void value(const Value& value) {
        const std::uint8_t rank_class = class_of(value.type());
        if (!has_own_class_byte(rank_class)) push(rank_class);
        payload(value);
    }

private:
    using Coefficient = DecimalParts::Coefficient;

    void push(std::uint8_t byte) { key_.push_back(static_cast<char>(byte)); }

    void tag(Tag tag, std::string_view more = {}) {
        if (tag == tag_implied) {
            ++builder_.implied_;
            return;
        }
        builder_.type_bits_.append(builder_.implied_, tag_implied);
        builder_.implied_ = 0;
        builder_.type_bits_.push_back(tag);
        builder_.type_bits_.append(more);
    }

    void payload(const Value& value) {
        switch (value.type()) {
            case Type::int32:
                return integer(value.as_int32(), true);
            case Type::int64:
                return integer(value.as_int64(), false);
            case Type::number_double:
                return floating(value.as_double());
            case Type::decimal128:
                return decimal(value.as_decimal128());
            case Type::string:
                tag(tag_implied);
                return text(value.as_string());
            case Type::symbol:
                tag(tag_symbol);
                return text(value.as_string());
            case Type::code:
                return text(value.as_string());
            case Type::object:
                return nested(value.as_view(), true);
            case Type::array:
                return nested(value.as_view(), false);
            case Type::binary:
                return binary(value.bytes());
            case Type::object_id:
                key_.append(value.bytes());
                return;
            case Type::boolean:
                return push(value.as_bool() ? class_true : class_false);
            case Type::date:
                return append_big_endian(
                    key_,
                    static_cast<std::uint64_t>(value.as_int64()) ^ (std::uint64_t{1} << 63),
                    8);
            case Type::timestamp:
                return append_big_endian(key_, static_cast<std::uint64_t>(value.as_int64()), 8);
            case Type::regex:
                key_.append(value.bytes());  // Two C strings: nothing in them needs escaping.
                return;
            case Type::db_pointer:
                append_big_endian(key_, value.bytes().size(), 4);
                key_.append(value.bytes());
                return;
            case Type::code_with_scope:
                text(value.as_scope_code());
                return nested(value.as_scope(), true);
            case Type::missing:
            case Type::undefined:
            case Type::null:
            case Type::min_key:
            case Type::max_key:
                return;
        }
    }

    void text(std::string_view value) {
        std::size_t from = 0;
        for (;;) {
            const std::size_t nul = value.find('\0', from);
            if (nul == std::string_view::npos) break;
            key_.append(value.substr(from, nul - from));
            key_.append("\0\xff", 2);
            from = nul + 1;
        }
        key_.append(value.substr(from));
        key_.push_back('\0');
    }

    void nested(View view, bool with_names) {
        for (const Element& element : view) {
            push(class_of(element.value.type()));
            if (with_names) {
                key_.append(element.name);
                key_.push_back('\0');
            }
            payload(element.value);
        }
        push(nested_end);
    }

    void binary(std::string_view bytes) {
        const std::size_t size = bytes.size() - 5;
        if (size < 0xff) {
            push(static_cast<std::uint8_t>(size));
        } else {
            push(0xff);
            append_big_endian(key_, size, 4);
        }
        key_.append(bytes.substr(4));
    }

    /// A whole number of magnitude [1, 2^63), or with the bit for a fraction set in `doubled`.
    void whole(bool is_negative, std::uint64_t doubled) {
        const auto count = static_cast<std::size_t>(71 - std::countl_zero(doubled)) / 8;
        if (is_negative) {
            push(static_cast<std::uint8_t>(class_negative_1 + 1 - count));
            append_big_endian(key_, ~doubled, count);
        } else {
            push(static_cast<std::uint8_t>(class_1 + count - 1));
            append_big_endian(key_, doubled, count);
        }
    }

    void integer(std::int64_t value, bool is_int32) {
        const bool fits_int32 = value == static_cast<std::int32_t>(value);
        const bool is_implied = is_int32 || (!fits_int32 && value != INT64_MIN);
        tag(is_implied ? tag_implied : tag_int64);
        if (value == 0) return push(class_zero);
        if (value == INT64_MIN) return outside(true, two_63, true);
        const bool is_negative = value < 0;
        whole(is_negative, static_cast<std::uint64_t>(is_negative ? -value : value) << 1);
    }

    /// A magnitude of type double outside [1, 2^63); returns where the payload starts.
    void outside(bool is_negative, double magnitude, bool is_exact) {
        const bool is_small = magnitude < 1;
        push(is_negative ? (is_small ? class_negative_small : class_negative_big)
                         : (is_small ? class_small : class_big));
        const std::uint64_t bits = std::bit_cast<std::uint64_t>(magnitude) << 1 | !is_exact;
        append_big_endian(key_, is_negative ? ~bits : bits, 8);
    }

    void floating(double value) {
        if (std::isnan(value)) {
            const auto bits = std::bit_cast<std::uint64_t>(value);
            if (bits == quiet_nan) {
                tag(tag_implied);
            } else {
                tag(tag_double_raw, {reinterpret_cast<const char*>(&bits), 8});
            }
            return push(class_nan);
        }
        const bool is_negative = std::signbit(value);
        if (value == 0) {
            tag(is_negative ? tag_negative_zero : tag_double);
            return push(class_zero);
        }
        const double magnitude = std::fabs(value);
        if (magnitude < 1 || magnitude >= two_63) {
            tag(tag_implied);
            return outside(is_negative, magnitude, true);
        }
        const auto floor = static_cast<std::uint64_t>(magnitude);
        const double fraction = magnitude - static_cast<double>(floor);
        if (fraction == 0) {
            tag(tag_double);
            return whole(is_negative, floor << 1);
        }
        tag(tag_implied);
        whole(is_negative, floor << 1 | 1);
        const std::uint64_t bits = static_cast<std::uint64_t>(fraction * 0x1p52) << 4;
        append_big_endian(key_, is_negative ? ~bits : bits, 7);
    }

    void decimal(const Decimal128& value) {
        tag(tag_decimal, {reinterpret_cast<const char*>(&value), 16});
        const DecimalParts parts = split(value);
        if (parts.kind == DecimalParts::Kind::nan) return push(class_nan);
        if (parts.kind == DecimalParts::Kind::infinite) {
            return outside(parts.is_negative, HUGE_VAL, true);
        }
        if (parts.coefficient == 0) return push(class_zero);
        Coefficient divisor = 1;
        Coefficient floor = 0;
        bool is_big = false;
        if (parts.exponent >= 0) {
            floor = parts.coefficient;
            for (int i = 0; i < parts.exponent && !is_big; ++i) {
                floor *= 10;
                is_big = floor >> 63 != 0;
            }
        } else if (parts.exponent > -34) {  // Else below 1, as the coefficient is below 10^34.
            for (int i = 0; i > parts.exponent; --i)
                divisor *= 10;
            floor = parts.coefficient / divisor;
        }
        if (floor == 0 || is_big || floor >> 63 != 0) return decimal_outside(value, parts);
        const Coefficient rest = parts.exponent < 0 ? parts.coefficient % divisor : 0;
        const auto doubled = static_cast<std::uint64_t>(floor) << 1;
        whole(parts.is_negative, doubled | (rest != 0));
        if (rest != 0) decimal_fraction(parts, rest, divisor);
    }

    void decimal_outside(const Decimal128& value, const DecimalParts& parts) {
        const TruncatedDouble truncated =
            truncate_to_double(parts.is_negative ? negate(value) : value);
        outside(parts.is_negative, truncated.value, truncated.is_exact);
        if (truncated.is_exact) return;
        const std::size_t start = key_.size();
        std::int32_t exponent = parts.exponent;
        const Coefficient scaled = scale(parts.coefficient, exponent);
        const std::int32_t biased = exponent + 0x4000;
        append_big_endian(key_, static_cast<std::uint64_t>(biased), 2);
        coefficient(scaled);
        if (parts.is_negative) invert(key_, start);
    }

    void decimal_fraction(const DecimalParts& parts, Coefficient rest, Coefficient divisor) {
        // 52 bits of rest / divisor; rest < 10^33 < 2^110 leaves room for 13 bits a step.
        std::uint64_t bits = 0;
        for (int step = 0; step < 4; ++step) {
            rest <<= 13;
            bits = bits << 13 | static_cast<std::uint64_t>(rest / divisor);
            rest %= divisor;
        }
        bits = bits << 4 | (rest != 0 ? fraction_goes_on : 0);
        append_big_endian(key_, parts.is_negative ? ~bits : bits, 7);
        if (rest == 0) return;
        const std::size_t start = key_.size();
        std::int32_t exponent = parts.exponent;
        coefficient(scale(parts.coefficient, exponent));
        if (parts.is_negative) invert(key_, start);
    }

    /// The coefficient with 34 digits, and its exponent. Requires: not 0.
    static Coefficient scale(Coefficient coefficient, std::int32_t& exponent) {
        Coefficient limit = 1;
        for (int i = 0; i < 33; ++i)
            limit *= 10;
        while (coefficient < limit) {
            coefficient *= 10;
            --exponent;
        }
        return coefficient;
    }

    void coefficient(Coefficient value) {
        append_big_endian(key_, static_cast<std::uint64_t>(value >> 64), 7);
        append_big_endian(key_, static_cast<std::uint64_t>(value), 8);
    }

    KeyBuilder& builder_;
    std::string& key_;
};

Ordering Ordering::from_pattern(View pattern) {
    Ordering result;
    std::uint32_t field = 0;
    for (const Element& element : pattern) {
        if (field < 32 && element.value.is_number() && element.value.to_double() < 0) {
            result.descending |= 1U << field;
        }
        ++field;
    }
    return result;
}

void KeyBuilder::append(const Value& value) {
    const std::size_t start = key_.size();
    KeyEncoder(*this).value(value);
    if (ordering_.is_descending(field_)) invert(key_, start);
    ++field_;
}

void KeyBuilder::finish(Ending ending) {
    switch (ending) {
        case Ending::exact:
            key_.push_back(static_cast<char>(ending_exact));
            return;
        case Ending::before:
            key_.push_back(static_cast<char>(ending_before));
            return;
        case Ending::after:
            key_.push_back(static_cast<char>(ending_after));
            return;
    }
}

void KeyBuilder::append(RecordId id) {
    // 3 bits: how many bytes between the first and the last; 5 bits; those bytes; 5 bits; 3 bits.
    const auto value = static_cast<std::uint64_t>(id.value);
    std::size_t between = 0;
    while (between < 7 && value >> (10 + 8 * between) != 0)
        ++between;
    const auto count = static_cast<std::uint8_t>(between);
    key_.push_back(static_cast<char>(count << 5 | (value >> (5 + 8 * between) & 0x1fU)));
    append_big_endian(key_, value >> 5, between);
    key_.push_back(static_cast<char>((value & 0x1fU) << 3 | count));
}

void KeyBuilder::clear() {
    field_ = 0;
    key_.clear();
    type_bits_.clear();
    implied_ = 0;
}

std::size_t fields_length(std::string_view key) {
    if (key.empty()) return 0;
    const std::size_t length = 2 + (static_cast<unsigned char>(key.back()) & 7U);
    return length > key.size() ? 0 : key.size() - length;
}

RecordId record_id_at_end(std::string_view key) {
    const std::size_t start = fields_length(key);
    if (key.size() < start + 2) return {};
    const std::size_t between = key.size() - start - 2;
    const std::uint64_t top = static_cast<unsigned char>(key[start]) & 0x1fU;
    const std::uint64_t middle = load_big_endian(key.data() + start + 1, between);
    const std::uint64_t low = static_cast<unsigned char>(key.back()) >> 3;
    return {static_cast<std::int64_t>(top << (5 + 8 * between) | middle << 5 | low)};
}

RecordId take_record_id(std::string_view& bytes) {
    if (bytes.empty()) return {};
    const std::size_t length = 2 + (static_cast<unsigned char>(bytes.front()) >> 5);
    if (length > bytes.size()) return {};
    const RecordId result = record_id_at_end(bytes.substr(0, length));
    bytes.remove_prefix(length);
    return result;
}

std::string record_key(RecordId id) {
    std::string result;
    append_big_endian(result, static_cast<std::uint64_t>(id.value), 8);
    return result;
}

RecordId record_id_of(std::string_view key) {
    if (key.size() != 8) return {};
    std::uint64_t bytes;
    std::memcpy(&bytes, key.data(), sizeof(bytes));
    return {static_cast<std::int64_t>(__builtin_bswap64(bytes))};
}

}  // namespace tessera::bson
