// SPDX-License-Identifier: Apache-2.0
//
// Random values for property tests, of this module and of those above it. Small ranges and known
// hard cases come up often, so that equal and nearly equal values meet.
#pragma once

#include <cmath>
#include <limits>
#include <string>

#include "base/random.h"
#include "bson/arena.h"
#include "bson/builder.h"
#include "bson/decimal.h"

namespace tessera::bson {

class RandomValues {
public:
    RandomValues(std::uint64_t seed, Arena& arena) : random_(seed), arena_(arena) {}

    Random& random() { return random_; }

    Value any(int depth = 2) {
        switch (random_.below(depth > 0 ? 21 : 19)) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4:
            case 5:
                return number();
            case 6:
            case 7:
                return arena_.make_text(Type::string, text());
            case 8:
                return arena_.make_text(Type::symbol, text());
            case 9:
                return arena_.make_text(Type::code, text());
            case 10:
                return random_.below(2) != 0 ? Arena::make_null() : Value(Type::undefined, "", 0);
            case 11:
                return Arena::make_bool(random_.below(2) != 0);
            case 12:
                return arena_.make(WallTime{integer()});
            case 13:
                return arena_.make(Timestamp::unpack(static_cast<std::uint64_t>(integer())));
            case 14:
                return object_id();
            case 15:
                return arena_.make_binary(
                    {random_.below(2) != 0 ? BinarySubtype::generic : BinarySubtype::uuid, text()});
            case 16:
                return regex();
            case 17:
                return random_.below(2) != 0 ? Arena::make_min_key() : Arena::make_max_key();
            case 18:
                return rare();
            case 19:
                return object(depth - 1);
            default:
                return array(depth - 1);
        }
    }

    Value number() {
        switch (random_.below(4)) {
            case 0:
                return arena_.make(static_cast<std::int32_t>(integer()));
            case 1:
                return arena_.make(integer());
            case 2:
                return arena_.make(floating());
            default:
                return arena_.make(decimal());
        }
    }

    std::int64_t integer() {
        constexpr std::int64_t hard[] = {0,
                                         1,
                                         -1,
                                         127,
                                         128,
                                         -128,
                                         255,
                                         256,
                                         65535,
                                         65536,
                                         1LL << 31,
                                         -(1LL << 31),
                                         (1LL << 31) - 1,
                                         1LL << 32,
                                         (1LL << 53) - 1,
                                         1LL << 53,
                                         (1LL << 53) + 1,
                                         -(1LL << 53) - 1,
                                         (1LL << 62),
                                         INT64_MAX - 1,
                                         INT64_MAX,
                                         INT64_MIN,
                                         INT64_MIN + 1};
        switch (random_.below(3)) {
            case 0:
                return hard[random_.below(std::size(hard))];
            case 1:
                return static_cast<std::int64_t>(random_.below(21)) - 10;
            default:
                return static_cast<std::int64_t>(random_.next() >> random_.below(64));
        }
    }

    double floating() {
        using Limits = std::numeric_limits<double>;
        const double hard[] = {0.0,
                               -0.0,
                               1.5,
                               -1.5,
                               0.1,
                               -0.1,
                               0.5,
                               1e300,
                               -1e300,
                               Limits::infinity(),
                               -Limits::infinity(),
                               Limits::quiet_NaN(),
                               Limits::denorm_min(),
                               -Limits::denorm_min(),
                               Limits::min(),
                               Limits::max(),
                               Limits::lowest(),
                               0x1p53,
                               0x1p63,
                               -0x1p63,
                               0x1.fffffffffffffp62,
                               1 - 0x1p-53,
                               1 + 0x1p-52,
                               3.25};
        switch (random_.below(4)) {
            case 0:
                return hard[random_.below(std::size(hard))];
            case 1:
                return static_cast<double>(integer());
            case 2:
                return (static_cast<double>(random_.below(200)) - 100) / 8;
            default:
                return std::bit_cast<double>(random_.next());
        }
    }

    Decimal128 decimal() {
        constexpr const char* hard[] = {"0",
                                        "-0",
                                        "0E+6000",
                                        "0E-6176",
                                        "1",
                                        "1.0",
                                        "1.00",
                                        "10E-1",
                                        "0.1",
                                        "-0.1",
                                        "1.5",
                                        "NaN",
                                        "-NaN",
                                        "Infinity",
                                        "-Infinity",
                                        "9007199254740993",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "9223372036854775807.5",
                                        "-9223372036854775808",
                                        "-9223372036854775808.5",
                                        "9.999999999999999999999999999999999E+6144",
                                        "1E-6176",
                                        "4.940656458412465E-324",
                                        "1.797693134862315708145274237317044E+308",
                                        "1E+309",
                                        "0.1000000000000000055511151231257827",
                                        "0.1000000000000000055511151231257828",
                                        "3.25",
                                        "3.250000000000000000000000000000001",
                                        "3.249999999999999999999999999999999"};
        switch (random_.below(5)) {
            case 0:
                return *decimal_from(std::string_view(hard[random_.below(std::size(hard))]));
            case 1:
                return decimal_from(integer());
            case 2:
                return nearest_decimal(floating());
            case 3:
                return join({.is_negative = random_.below(2) != 0,
                             .exponent = -static_cast<std::int32_t>(random_.below(40)),
                             .coefficient = random_.next() >> random_.below(64)});
            default:
                return join({.is_negative = random_.below(2) != 0,
                             .exponent = static_cast<std::int32_t>(random_.below(12288)) - 6176,
                             .coefficient = random_.next() >> random_.below(64)});
        }
    }

    /// Short, over few letters, NUL and 0xff among them.
    std::string text() {
        constexpr char letters[] = {'a', 'b', 'B', '\0', '\xff', '\1'};
        std::string result;
        for (std::uint64_t i = random_.below(5); i > 0; --i) {
            result.push_back(letters[random_.below(std::size(letters))]);
        }
        return result;
    }

    Value object(int depth) {
        constexpr const char* names[] = {"a", "b", "ab", "", "\xff"};
        Builder builder;
        for (std::uint64_t i = random_.below(4); i > 0; --i) {
            builder.append(names[random_.below(std::size(names))], any(depth));
        }
        return arena_.make_object(std::move(builder).finish());
    }

    Value array(int depth) {
        ArrayBuilder builder;
        for (std::uint64_t i = random_.below(4); i > 0; --i)
            builder.append(any(depth));
        return arena_.make_array(std::move(builder).finish());
    }

private:
    Value object_id() {
        ObjectId id;
        id.bytes[random_.below(12)] = static_cast<std::uint8_t>(random_.below(256));
        return arena_.make(id);
    }

    Value raw(Type type, const std::string& bytes) {
        const std::string_view copy = arena_.copy(bytes);
        return {type, copy.data(), static_cast<std::uint32_t>(copy.size())};
    }

    Value regex() {
        constexpr const char* patterns[] = {"", "a", "^a", "ab", "\xff"};
        std::string bytes = patterns[random_.below(5)];
        bytes.push_back('\0');
        bytes += random_.below(2) != 0 ? "i" : "";
        bytes.push_back('\0');
        return raw(Type::regex, bytes);
    }

    Value rare() {
        const std::string content = text();
        const auto length = static_cast<std::uint32_t>(content.size() + 1);
        std::string code(reinterpret_cast<const char*>(&length), 4);
        code += content;
        code.push_back('\0');
        if (random_.below(2) != 0) return raw(Type::db_pointer, code + std::string(12, '\1'));
        const Value scope = object(0);
        const auto size = static_cast<std::uint32_t>(4 + code.size() + scope.bytes().size());
        std::string bytes(reinterpret_cast<const char*>(&size), 4);
        bytes += code;
        bytes += scope.bytes();
        return raw(Type::code_with_scope, bytes);
    }

    Random random_;
    Arena& arena_;
};

}  // namespace tessera::bson
