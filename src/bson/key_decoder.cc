// SPDX-License-Identifier: Apache-2.0
//
// Reads keys; key_format.h describes them. What is read may be anything: a damaged index must not
// stop the process, so every step is checked.
#include <bit>

#include "bson/builder.h"
#include "bson/key.h"
#include "bson/key_format.h"
#include "bson/validate.h"

namespace tessera::bson {

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
