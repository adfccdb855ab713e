// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic on BSON numbers. The result has the widest type among the arguments (int, long,
// double, decimal); an int that overflows becomes a long, a long a double.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/decimal.h"
#include "bson/value.h"

namespace tessera::query::expression {

__extension__ using WideInt = __int128;

/// Whichever of the two numeric types holds both.
bson::Type widest(bson::Type one, bson::Type two);

bson::Decimal128 as_decimal(const bson::Value& number);
/// An integer as an int when `type` is int and it fits, else a long; past a long, a double.
bson::Value make_integer(bson::Arena& arena, WideInt value, bson::Type type);

/// A sum that loses as little as it can: integers exactly, doubles with a compensation term
/// (Neumaier's sum), decimals as decimals.
class NumberSum {
public:
    /// Requires: a number.
    void add(const bson::Value& number);
    void add(const NumberSum& other);
    bson::Value result(bson::Arena& arena) const;
    /// The sum divided by `count`: a double, or a decimal when one was added.
    bson::Value average(bson::Arena& arena, std::int64_t count) const;
    bson::Type type() const { return type_; }
    /// The sum as a long, rounded; for dates.
    std::int64_t as_int64() const;

    /// As a value that add_state() takes, for a merging stage.
    bson::Value state(bson::Arena& arena) const;
    void add_state(bson::View state);

private:
    double total_double() const;
    bson::Decimal128 total_decimal() const;
    void add_double(double value);

    bson::Type type_ = bson::Type::int32;  // The widest so far.
    WideInt integers_ = 0;
    double doubles_ = 0;
    double compensation_ = 0;
    bson::Decimal128 decimals_ = bson::decimal_from(std::int64_t{0});
};

}  // namespace tessera::query::expression
