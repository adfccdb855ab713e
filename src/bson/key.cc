// SPDX-License-Identifier: Apache-2.0
//
// The format of a key: each field is a class byte and a payload; a descending field has all its
// bytes inverted. Ascending class bytes are 0x10..0x7e, so inverted ones are 0x81..0xef and a key
// can be read without its ordering; the endings (0x01 before, 0x04 exact, 0xfe after) lie outside.
//
// Numbers. A magnitude m in [1, 2^63) has a class by sign and by how many bytes big-endian
// 2 * floor(m) + (it has a fraction) takes, and these bytes; a fraction follows as 7 bytes: 52 bits
// (all that a double of magnitude >= 1 can have), 4 bits that are 0, or 1 when a decimal goes on:
// its coefficient, scaled to 34 digits, 15 bytes. Smaller and larger magnitudes are the bits of the
// double next toward zero, shifted left by one (the sign is in the class), the last bit set when a
// decimal goes on: its exponent, 2 bytes, and coefficient as above. Negative payloads are inverted.
//
// Text: NUL is written 0x00 0xff, the end 0x00; no byte 0xff ever starts what follows. Nested
// fields: the lowest class byte of the type's rank, name, NUL, [class byte where the rank has
// several], payload; the end is 0x00.
//
// Type bits: one tag byte a number or text, in order; trailing tags that say "implied" are left
// out. Implied are: int32 for integers that fit, then int64, double for the rest, string for text.
#include "bson/key.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/decimal.h"
#include "bson/validate.h"

namespace tessera::bson {
namespace {

enum : std::uint8_t {
    nested_end = 0x00,
    ending_before = 0x01,
    ending_exact = 0x04,
    class_min_key = 0x10,
    class_undefined = 0x14,
    class_null = 0x18,
    class_nan = 0x20,
    class_negative_big = 0x21,
    class_negative_8 = 0x22,  // ... 0x29: one byte.
    class_negative_1 = 0x29,
    class_negative_small = 0x2a,
    class_zero = 0x2b,
    class_small = 0x2c,
    class_1 = 0x2d,  // ... 0x34: eight bytes.
    class_8 = 0x34,
    class_big = 0x35,
    class_text = 0x3c,
    class_object = 0x40,
    class_array = 0x44,
    class_binary = 0x48,
    class_object_id = 0x4c,
    class_false = 0x50,
    class_true = 0x51,
    class_date = 0x54,
    class_timestamp = 0x58,
    class_regex = 0x5c,
    class_db_pointer = 0x60,
    class_code = 0x64,
    class_code_with_scope = 0x68,
    class_max_key = 0x7e,
    ending_after = 0xfe,
};

enum Tag : char {
    tag_implied = 0,
    tag_int32 = 1,
    tag_int64 = 2,
    tag_double = 3,
    tag_negative_zero = 4,
    tag_decimal = 5,  // 16 bytes follow: the decimal as stored.
    tag_symbol = 6,
    tag_double_raw = 7,  // 8 bytes follow: a NaN's bits.
};

constexpr std::uint64_t quiet_nan = 0x7ff8000000000000U;
constexpr double two_63 = 0x1p63;
constexpr std::uint64_t fraction_goes_on = 1;

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

bool has_own_class_byte(std::uint8_t rank_class) {
    return rank_class == class_nan || rank_class == class_false;
}

void invert(std::string& bytes, std::size_t from) {
    for (std::size_t at = from; at < bytes.size(); ++at) {
        bytes[at] = static_cast<char>(~static_cast<unsigned char>(bytes[at]));
    }
}

/// Appends the lowest `count` bytes of `value`, most significant first.
void append_big_endian(std::string& out, std::uint64_t value, std::size_t count) {
    const std::uint64_t swapped = __builtin_bswap64(value);
    char bytes[8];
    std::memcpy(bytes, &swapped, 8);
    out.append(bytes + 8 - count, count);
}

std::uint64_t load_big_endian(const char* data, std::size_t count) {
    std::uint64_t result = 0;
    for (std::size_t i = 0; i < count; ++i) {
        result = result << 8 | static_cast<unsigned char>(data[i]);
    }
    return result;
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
        append_big_endian(key_, static_cast<std::uint64_t>(exponent + 0x4000), 2);
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
    return {static_cast<std::int64_t>(load_big_endian(key.data(), 8))};
}

namespace {

Error corrupt() {
    return {ErrorCode::internal_error, "an index key holds bytes no encoder writes"};
}

/// Reads fields; `mask_` undoes the inversion of descending ones.
class KeyDecoder {
public:
    KeyDecoder(std::string_view key, std::string_view type_bits, Arena& arena)
        : key_(key), type_bits_(type_bits), arena_(arena) {}

    Status fields(std::vector<Value>& values) {
        while (at_ < key_.size()) {
            const auto first = static_cast<std::uint8_t>(key_[at_]);
            if (first == ending_before || first == ending_exact || first == ending_after) break;
            mask_ = first >= 0x80 ? 0xff : 0;
            TRY(const std::uint8_t rank_class, byte());
            TRY(const Value value, payload(rank_class, 0));
            values.push_back(value);
        }
        return ok();
    }

private:
    Result<std::uint8_t> byte() {
        if (at_ >= key_.size()) return corrupt();
        return static_cast<std::uint8_t>(static_cast<std::uint8_t>(key_[at_++]) ^ mask_);
    }

    /// The next bytes as they were before any inversion.
    Result<std::string> take(std::size_t count) {
        if (count > key_.size() - at_) return corrupt();
        std::string result(key_.substr(at_, count));
        if (mask_ != 0) invert(result, 0);
        at_ += count;
        return result;
    }

    Result<std::uint64_t> big_endian(std::size_t count) {
        if (count > key_.size() - at_) return corrupt();
        std::uint64_t result = load_big_endian(key_.data() + at_, count);
        at_ += count;
        if (mask_ != 0) result = ~result;
        if (count < 8) result &= (std::uint64_t{1} << 8 * count) - 1;
        return result;
    }

    Result<std::string> text() {
        std::string result;
        for (;;) {
            const std::size_t end = key_.find(static_cast<char>(mask_), at_);
            if (end == std::string_view::npos) return corrupt();
            result.append(key_.substr(at_, end - at_));
            at_ = end + 1;
            if (at_ == key_.size() || key_[at_] != static_cast<char>(~mask_)) break;
            result.push_back(static_cast<char>(mask_));
            ++at_;
        }
        if (mask_ != 0) invert(result, 0);
        return result;
    }

    /// A C string, such as a field's name: no NUL is inside, so nothing is escaped.
    Result<std::string> name() {
        const std::size_t end = key_.find(static_cast<char>(mask_), at_);
        if (end == std::string_view::npos) return corrupt();
        TRY(std::string result, take(end - at_));
        ++at_;
        return result;
    }

    Result<Value> payload(std::uint8_t rank_class, int depth) {
        if (depth > nesting_max) return corrupt();
        switch (rank_class) {
            case class_min_key:
                return Arena::make_min_key();
            case class_undefined:
                return Value(Type::undefined, "", 0);
            case class_null:
                return Arena::make_null();
            case class_text:
                return tagged_text();
            case class_object:
                return nested(true, depth);
            case class_array:
                return nested(false, depth);
            case class_binary:
                return binary();
            case class_object_id:
                return raw(Type::object_id, 12);
            case class_false:
                return Arena::make_bool(false);
            case class_true:
                return Arena::make_bool(true);
            case class_date: {
                TRY(const std::uint64_t bits, big_endian(8));
                return arena_.make(
                    WallTime{static_cast<std::int64_t>(bits ^ std::uint64_t{1} << 63)});
            }
            case class_timestamp: {
                TRY(const std::uint64_t bits, big_endian(8));
                return arena_.make(Timestamp::unpack(bits));
            }
            case class_regex:
                return regex();
            case class_db_pointer: {
                TRY(const std::uint64_t size, big_endian(4));
                return raw(Type::db_pointer, size);
            }
            case class_code: {
                TRY(const std::string code, text());
                return arena_.make_text(Type::code, code);
            }
            case class_code_with_scope:
                return code_with_scope(depth);
            case class_max_key:
                return Arena::make_max_key();
            default:
                return number(rank_class);
        }
    }

    Value in_arena(Type type, std::string_view bytes) {
        const std::string_view copy = arena_.copy(bytes);
        return {type, copy.data(), static_cast<std::uint32_t>(copy.size())};
    }

    Result<Value> raw(Type type, std::size_t size) {
        TRY(const std::string bytes, take(size));
        return in_arena(type, bytes);
    }

    Result<Value> tagged_text() {
        TRY(const Tag kind, tag());
        TRY(const std::string value, text());
        if (kind != tag_implied && kind != tag_symbol) return corrupt();
        return arena_.make_text(kind == tag_symbol ? Type::symbol : Type::string, value);
    }

    Result<Value> nested(bool with_names, int depth) {
        Builder object;
        ArrayBuilder array;
        for (;;) {
            TRY(std::uint8_t rank_class, byte());
            if (rank_class == nested_end) break;
            std::string field;
            if (with_names) {
                TRY(field, name());
            }
            if (has_own_class_byte(rank_class)) {
                TRY(rank_class, byte());
            }
            TRY(const Value value, payload(rank_class, depth + 1));
            if (with_names) {
                object.append(field, value);
            } else {
                array.append(value);
            }
        }
        if (with_names) return in_arena(Type::object, std::move(object).finish().bytes());
        return in_arena(Type::array, std::move(array).finish().bytes());
    }

    Result<Value> binary() {
        TRY(std::uint64_t size, big_endian(1));
        if (size == 0xff) {
            TRY(size, big_endian(4));
        }
        TRY(const std::string bytes, take(size + 1));
        const auto length = static_cast<std::uint32_t>(size);
        std::string whole(reinterpret_cast<const char*>(&length), 4);
        whole += bytes;
        return in_arena(Type::binary, whole);
    }

    Result<Value> regex() {
        TRY(std::string pattern, name());
        TRY(const std::string options, name());
        pattern.push_back('\0');
        pattern += options;
        pattern.push_back('\0');
        return in_arena(Type::regex, pattern);
    }

    Result<Value> code_with_scope(int depth) {
        TRY(const std::string code, text());
        TRY(const Value scope, nested(true, depth + 1));
        const auto code_size = static_cast<std::uint32_t>(code.size() + 1);
        const auto size = static_cast<std::uint32_t>(8 + code_size + scope.bytes().size());
        std::string whole(reinterpret_cast<const char*>(&size), 4);
        whole.append(reinterpret_cast<const char*>(&code_size), 4);
        whole += code;
        whole.push_back('\0');
        whole += scope.bytes();
        return in_arena(Type::code_with_scope, whole);
    }

    Result<Tag> tag() {
        if (type_bits_.empty()) return tag_implied;
        const char first = type_bits_.front();
        if (first < tag_implied || first > tag_double_raw) return corrupt();
        type_bits_.remove_prefix(1);
        return static_cast<Tag>(first);
    }

    Result<Value> raw_bits(Type type, std::size_t size) {
        if (type_bits_.size() < size) return corrupt();
        const Value result = in_arena(type, type_bits_.substr(0, size));
        type_bits_.remove_prefix(size);
        return result;
    }

    Result<Value> number(std::uint8_t number_class) {
        if (number_class < class_nan || number_class > class_big) return corrupt();
        TRY(const Tag kind, tag());
        Value implied;
        if (number_class == class_nan) {
            implied = arena_.make(std::bit_cast<double>(quiet_nan));
        } else if (number_class == class_zero) {
            implied = arena_.make(std::int32_t{0});
        } else if (number_class == class_big || number_class == class_small ||
                   number_class == class_negative_big || number_class == class_negative_small) {
            TRY(implied, outside(number_class));
        } else {
            TRY(implied, whole(number_class));
        }
        switch (kind) {
            case tag_implied:
                break;
            case tag_int32:
                return arena_.make(static_cast<std::int32_t>(implied.to_int64()));
            case tag_int64:
                return arena_.make(implied.to_int64());
            case tag_double:
                return arena_.make(implied.to_double());
            case tag_negative_zero:
                return arena_.make(-0.0);
            case tag_decimal:
                return raw_bits(Type::decimal128, 16);
            case tag_double_raw:
                return raw_bits(Type::number_double, 8);
            case tag_symbol:
                return corrupt();
        }
        return implied;
    }

    Result<Value> outside(std::uint8_t number_class) {
        const bool is_negative = number_class < class_zero;
        TRY(std::uint64_t bits, big_endian(8));
        if (is_negative) bits = ~bits;
        if ((bits & 1U) != 0) TRY_OK(skip(17));
        const auto magnitude = std::bit_cast<double>(bits >> 1);
        return arena_.make(is_negative ? -magnitude : magnitude);
    }

    Result<Value> whole(std::uint8_t number_class) {
        const bool is_negative = number_class < class_zero;
        const auto count = static_cast<std::size_t>(
            is_negative ? class_negative_1 + 1 - number_class : number_class - class_1 + 1);
        TRY(std::uint64_t doubled, big_endian(count));
        if (is_negative) doubled = ~doubled & (~std::uint64_t{0} >> (64 - 8 * count));
        const std::uint64_t floor = doubled >> 1;
        const std::int64_t sign = is_negative ? -1 : 1;
        if ((doubled & 1U) == 0) {
            const std::int64_t value = sign * static_cast<std::int64_t>(floor);
            const auto narrow = static_cast<std::int32_t>(value);
            return narrow == value ? arena_.make(narrow) : arena_.make(value);
        }
        TRY(std::uint64_t fraction, big_endian(7));
        if (is_negative) fraction = ~fraction & (~std::uint64_t{0} >> 8);
        if ((fraction & fraction_goes_on) != 0) TRY_OK(skip(15));
        const double magnitude =
            static_cast<double>(floor) + static_cast<double>(fraction >> 4) * 0x1p-52;
        return arena_.make(is_negative ? -magnitude : magnitude);
    }

    Status skip(std::size_t count) {
        if (count > key_.size() - at_) return corrupt();
        at_ += count;
        return ok();
    }

    std::string_view key_;
    std::size_t at_ = 0;
    std::uint8_t mask_ = 0;
    std::string_view type_bits_;
    Arena& arena_;
};

/// Finds where a field ends, without reading it.
class FieldSkipper {
public:
    explicit FieldSkipper(std::string_view key) : key_(key) {}

    /// Returns the length, 0 on foreign bytes.
    std::size_t length() {
        if (key_.empty()) return 0;
        const auto first = static_cast<std::uint8_t>(key_[0]);
        mask_ = first >= 0x80 ? 0xff : 0;
        const auto rank_class = static_cast<std::uint8_t>(first ^ mask_);
        if (rank_class < class_min_key || rank_class > class_max_key) return 0;
        at_ = 1;
        return payload(rank_class, 0) && at_ <= key_.size() ? at_ : 0;
    }

private:
    std::uint8_t peek(std::size_t ahead = 0) const {
        return static_cast<std::uint8_t>(static_cast<std::uint8_t>(key_[at_ + ahead]) ^ mask_);
    }
    bool has(std::size_t count) const { return at_ <= key_.size() && count <= key_.size() - at_; }

    bool fixed(std::size_t count) {
        at_ += count;
        return true;
    }

    bool name() {
        const std::size_t end = key_.find(static_cast<char>(mask_), at_);
        if (end == std::string_view::npos) return false;
        at_ = end + 1;
        return true;
    }

    bool text() {
        while (name()) {
            if (!has(1) || peek() != 0xff) return true;
            ++at_;
        }
        return false;
    }

    bool nested(bool with_names, int depth) {
        if (depth > nesting_max) return false;
        while (has(1)) {
            std::uint8_t rank_class = peek();
            ++at_;
            if (rank_class == nested_end) return true;
            if (with_names && !name()) return false;
            if (has_own_class_byte(rank_class)) {
                if (!has(1)) return false;
                rank_class = peek();
                ++at_;
            }
            if (!payload(rank_class, depth + 1)) return false;
        }
        return false;
    }

    /// The bit that says a decimal goes on, in the last of `count` bytes.
    bool goes_on(std::size_t count, bool is_negative) const {
        return ((peek(count - 1) & 1U) != 0) != is_negative;
    }

    bool number(std::uint8_t number_class) {
        const bool is_negative = number_class < class_zero;
        if (number_class == class_nan || number_class == class_zero) return true;
        if (number_class == class_big || number_class == class_small ||
            number_class == class_negative_big || number_class == class_negative_small) {
            return has(8) && fixed(goes_on(8, is_negative) ? 8 + 17 : 8);
        }
        if (number_class < class_nan || number_class > class_big) return false;
        const auto count = static_cast<std::size_t>(
            is_negative ? class_negative_1 + 1 - number_class : number_class - class_1 + 1);
        if (!has(count)) return false;
        const bool has_fraction = goes_on(count, is_negative);
        at_ += count;
        if (!has_fraction) return true;
        return has(7) && fixed(goes_on(7, is_negative) ? 7 + 15 : 7);
    }

    bool binary() {
        if (!has(5)) return has(1) && peek() < 4 && fixed(2U + peek());
        const std::uint8_t size = peek();
        if (size != 0xff) return fixed(2U + size);
        std::size_t large = 0;
        for (std::size_t i = 1; i <= 4; ++i)
            large = large << 8 | peek(i);
        return fixed(6 + large);
    }

    bool db_pointer() {
        if (!has(4)) return false;
        std::size_t size = 0;
        for (std::size_t i = 0; i < 4; ++i)
            size = size << 8 | peek(i);
        return fixed(4 + size);
    }

    bool payload(std::uint8_t rank_class, int depth) {
        switch (rank_class) {
            case class_min_key:
            case class_undefined:
            case class_null:
            case class_false:
            case class_true:
            case class_max_key:
                return true;
            case class_text:
            case class_code:
                return text();
            case class_object:
                return nested(true, depth);
            case class_array:
                return nested(false, depth);
            case class_binary:
                return binary();
            case class_object_id:
                return fixed(12);
            case class_date:
            case class_timestamp:
                return fixed(8);
            case class_regex:
                return name() && name();
            case class_db_pointer:
                return db_pointer();
            case class_code_with_scope:
                return text() && nested(true, depth);
            default:
                return number(rank_class);
        }
    }

    std::string_view key_;
    std::size_t at_ = 0;
    std::uint8_t mask_ = 0;
};

}  // namespace

std::size_t field_length(std::string_view key) {
    return FieldSkipper(key).length();
}

Status decode_key(std::string_view key,
                  std::string_view type_bits,
                  Ordering /*ordering*/,
                  Arena& arena,
                  std::vector<Value>& values) {
    return KeyDecoder(key, type_bits, arena).fields(values);
}

}  // namespace tessera::bson
