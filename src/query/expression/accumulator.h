// SPDX-License-Identifier: Apache-2.0
//
// Accumulators: what $group, $bucket and the expressions $sum, $avg ... compute over many values.
// Each can give its state as a value (partial) that another merges, so that a sharded $group needs
// only one value a shard and group.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "query/expression/expression.h"
#include "query/expression/sort_pattern.h"

namespace tessera::query {

/// A value that owns its bytes.
class OwnedValue {
public:
    OwnedValue() = default;
    explicit OwnedValue(const bson::Value& value) { *this = value; }
    OwnedValue& operator=(const bson::Value& value) {
        bytes_.assign(value.bytes());
        type_ = value.type();
        return *this;
    }
    /// Valid until this object changes or moves.
    bson::Value view() const {
        return {type_, bytes_.data(), static_cast<std::uint32_t>(bytes_.size())};
    }
    std::size_t memory() const { return sizeof(*this) + bytes_.size(); }

private:
    bson::Type type_ = bson::Type::missing;
    std::string bytes_;
};

class Accumulator {
public:
    virtual ~Accumulator() = default;
    /// Takes a value; `key` is the document's sort key for accumulators that sort, else null.
    virtual Status add(const bson::Value& value, const bson::Value* key) = 0;
    virtual Status merge(const bson::Value& partial) = 0;
    virtual bson::Value result(bson::Arena& arena) const = 0;
    virtual bson::Value partial(bson::Arena& arena) const { return result(arena); }
    /// Bytes held.
    virtual std::size_t memory() const { return sizeof(*this); }
};

/// What makes an accumulator beside its name.
struct AccumulatorParameters {
    std::string name;                         // "$sum".
    std::int64_t n = 1;                       // $firstN, $topN ...
    std::shared_ptr<const SortPattern> sort;  // $top ...; shared by the accumulators of all groups.
    std::vector<double> percentiles;          // $percentile; $median: {0.5}.
};
std::unique_ptr<Accumulator> make_accumulator(const AccumulatorParameters& parameters);

/// One field of a $group: {total: {$sum: "$a"}}.
class AccumulatorSpec {
public:
    /// Parses {$sum: <expression>}. Fails with 15952 "unknown group operator '$foo'".
    static Result<AccumulatorSpec> parse(std::string_view name,
                                         const bson::Value& argument,
                                         Program& program);
    static bool is_known(std::string_view name);

    std::unique_ptr<Accumulator> make() const { return make_accumulator(parameters_); }
    /// Evaluates the argument on the document bound and gives it to the accumulator.
    Status feed(Accumulator& accumulator, Evaluation& evaluation) const;
    Expression& argument() { return argument_; }
    const AccumulatorParameters& parameters() const { return parameters_; }

private:
    AccumulatorParameters parameters_;
    Expression argument_;
};

}  // namespace tessera::query
