// SPDX-License-Identifier: Apache-2.0
#include "query/expression/accumulator.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/node.h"
#include "query/expression/number.h"
#include "query/expression/value_map.h"

namespace tessera::query {

using bson::Arena;
using bson::Type;
using bson::Value;
using bson::View;
using expression::ArrayMaker;
using expression::failure;
using expression::NumberSum;

namespace {

class Sum final : public Accumulator {
public:
    Status add(const Value& value, const Value*) override {
        if (value.is_number()) sum_.add(value);
        return {};
    }
    Status merge(const Value& partial) override {
        if (partial.is_object()) sum_.add_state(partial.as_view());
        return {};
    }
    Value result(Arena& arena) const override { return sum_.result(arena); }
    Value partial(Arena& arena) const override { return sum_.state(arena); }
    std::size_t memory() const override { return sizeof(*this); }

private:
    NumberSum sum_;
};

class Average final : public Accumulator {
public:
    Status add(const Value& value, const Value*) override {
        if (!value.is_number()) return {};
        sum_.add(value);
        ++count_;
        return {};
    }
    Status merge(const Value& partial) override {
        if (!partial.is_object()) return {};
        count_ += partial.as_view()["count"].to_int64();
        const Value state = partial.as_view()["subTotal"];
        if (state.is_object()) sum_.add_state(state.as_view());
        return {};
    }
    Value result(Arena& arena) const override {
        return count_ == 0 ? Arena::make_null() : sum_.average(arena, count_);
    }
    Value partial(Arena& arena) const override {
        bson::Builder builder;
        builder.append("subTotal", sum_.state(arena)).append("count", count_);
        const bson::Document document = std::move(builder).finish();
        return arena.make_object(document.view());
    }
    std::size_t memory() const override { return sizeof(*this); }

private:
    NumberSum sum_;
    std::int64_t count_ = 0;
};

class Extreme final : public Accumulator {
public:
    explicit Extreme(int sign) : sign_(sign) {}
    Status add(const Value& value, const Value*) override {
        if (value.is_nullish()) return {};
        if (best_.view().is_missing() || bson::compare(value, best_.view()) * sign_ < 0)
            best_ = value;
        return {};
    }
    Status merge(const Value& partial) override { return add(partial, nullptr); }
    Value result(Arena& arena) const override {
        return best_.view().is_missing() ? Arena::make_null() : arena.copy(best_.view());
    }
    std::size_t memory() const override { return sizeof(*this) + best_.memory(); }

private:
    int sign_;  // 1: the least, -1: the greatest.
    OwnedValue best_;
};

class FirstLast final : public Accumulator {
public:
    explicit FirstLast(bool is_first) : is_first_(is_first) {}
    Status add(const Value& value, const Value*) override {
        if (is_first_ && has_value_) return {};
        has_value_ = true;
        value_ = value;
        return {};
    }
    Status merge(const Value& partial) override { return add(partial, nullptr); }
    Value result(Arena& arena) const override {
        return value_.view().is_missing() ? Arena::make_null() : arena.copy(value_.view());
    }
    std::size_t memory() const override { return sizeof(*this) + value_.memory(); }

private:
    bool is_first_;
    bool has_value_ = false;
    OwnedValue value_;
};

class Push final : public Accumulator {
public:
    /// `spreads`: arrays give their elements ($concatArrays).
    explicit Push(bool spreads) : spreads_(spreads) {}
    Status add(const Value& value, const Value*) override {
        if (spreads_) {
            if (value.is_missing()) return {};
            if (!value.is_array())
                return Error(
                    ErrorCode::type_mismatch,
                    fmt::format("$concatArrays requires array inputs, but input is of type "
                                "{}",
                                expression::type_text(value)));
            return merge(value);
        }
        if (!value.is_missing()) append(value);
        return {};
    }
    Status merge(const Value& partial) override {
        if (!partial.is_array()) return {};
        for (const auto& element : partial.as_view())
            append(element.value);
        return {};
    }
    Value result(Arena& arena) const override {
        ArrayMaker maker;
        std::size_t at = 0;
        for (const auto& [type, size] : values_) {
            maker.add(Value(type, bytes_.data() + at, size));
            at += size;
        }
        return std::move(maker).make(arena);
    }
    std::size_t memory() const override {
        return sizeof(*this) + bytes_.size() + values_.size() * sizeof(values_[0]);
    }

private:
    void append(const Value& value) {
        bytes_.append(value.bytes());
        values_.emplace_back(value.type(), static_cast<std::uint32_t>(value.bytes().size()));
    }
    bool spreads_;
    std::string bytes_;
    std::vector<std::pair<Type, std::uint32_t>> values_;
};

class AddToSet final : public Accumulator {
public:
    /// `spreads`: arrays give their elements ($setUnion).
    explicit AddToSet(bool spreads) : spreads_(spreads) {}
    Status add(const Value& value, const Value*) override {
        if (spreads_) {
            if (value.is_missing()) return {};
            if (!value.is_array())
                return Error(ErrorCode::type_mismatch,
                             fmt::format("$setUnion requires array inputs, but input is of type {}",
                                         expression::type_text(value)));
            return merge(value);
        }
        if (!value.is_missing()) insert(value);
        return {};
    }
    Status merge(const Value& partial) override {
        if (!partial.is_array()) return {};
        for (const auto& element : partial.as_view())
            insert(element.value);
        return {};
    }
    Value result(Arena& arena) const override {
        ArrayMaker maker;
        for (const Value& value : set_.keys())
            maker.add(value);
        return std::move(maker).make(arena);
    }
    std::size_t memory() const override { return sizeof(*this) + set_.memory() + arena_.used(); }

private:
    void insert(const Value& value) {
        const auto inserted = set_.insert(value);
        if (inserted.is_new) set_.replace_key(inserted.number, arena_.copy(value));
    }
    bool spreads_;
    ValueMap set_;
    Arena arena_;
};

class StandardDeviation final : public Accumulator {
public:
    explicit StandardDeviation(bool is_sample) : is_sample_(is_sample) {}
    // Welford's algorithm; merging after Chan, Golub and LeVeque.
    Status add(const Value& value, const Value*) override {
        if (!value.is_number()) return {};
        const double number = value.to_double();
        ++count_;
        const double delta = number - mean_;
        mean_ += delta / static_cast<double>(count_);
        m2_ += delta * (number - mean_);
        return {};
    }
    Status merge(const Value& partial) override {
        if (!partial.is_object()) return {};
        const View state = partial.as_view();
        const std::int64_t count = state["count"].to_int64();
        if (count == 0) return {};
        const double delta = state["mean"].to_double() - mean_;
        const auto mine = static_cast<double>(count_);
        const auto theirs = static_cast<double>(count);
        mean_ += delta * theirs / (mine + theirs);
        m2_ += state["m2"].to_double() + delta * delta * mine * theirs / (mine + theirs);
        count_ += count;
        return {};
    }
    Value result(Arena& arena) const override {
        const std::int64_t divisor = is_sample_ ? count_ - 1 : count_;
        if (divisor <= 0) return Arena::make_null();
        if (!std::isfinite(m2_)) return Arena::make_null();
        return arena.make(std::sqrt(m2_ / static_cast<double>(divisor)));
    }
    Value partial(Arena& arena) const override {
        const bson::Document state = bson::make("m2", m2_, "mean", mean_, "count", count_);
        return arena.make_object(state.view());
    }
    std::size_t memory() const override { return sizeof(*this); }

private:
    bool is_sample_;
    std::int64_t count_ = 0;
    double mean_ = 0;
    double m2_ = 0;
};

class MergeObjects final : public Accumulator {
public:
    Status add(const Value& value, const Value*) override {
        if (value.is_nullish()) return {};
        if (!value.is_object())
            return failure(40400,
                           fmt::format("$mergeObjects requires object inputs, but input {} "
                                       "is of type {}",
                                       bson::to_json(value, bson::JsonMode::message),
                                       expression::type_text(value)));
        bson::Builder builder;
        const View given = value.as_view();
        for (const auto& element : document_.view()) {
            const Value newer = given[element.name];
            builder.append(element.name, newer.is_missing() ? element.value : newer);
        }
        for (const auto& element : given)
            if (!document_.view().has(element.name)) builder.append(element);
        document_ = std::move(builder).finish();
        return {};
    }
    Status merge(const Value& partial) override { return add(partial, nullptr); }
    Value result(Arena& arena) const override { return arena.make_object(document_.view()); }
    std::size_t memory() const override { return sizeof(*this) + document_.size(); }

private:
    bson::Document document_;
};

/// $firstN, $lastN, $minN, $maxN, and with keys $top, $topN, $bottom, $bottomN.
class BestN final : public Accumulator {
public:
    enum class Order { arrival, value, key };
    struct Options {
        Order order;
        bool is_last;    // Keeps the last in the order ($lastN, $maxN, $bottom).
        bool is_single;  // The result is the value itself ($top, $bottom).
    };
    BestN(const AccumulatorParameters& parameters, Options options)
        : n_(static_cast<std::size_t>(parameters.n)), sort_(parameters.sort), options_(options) {}

    Status add(const Value& value, const Value* key) override {
        Entry entry;
        if (options_.order == Order::value && value.is_nullish()) return {};
        if (options_.order == Order::arrival && !options_.is_last && entries_.size() >= n_)
            return {};
        if (options_.order == Order::key && key)
            for (std::size_t i = 0; i < sort_->size(); ++i)
                entry.key.emplace_back(key[i]);
        entry.value = value.is_missing() ? Arena::make_null() : value;
        bytes_ += memory_of(entry);
        insert(std::move(entry));
        return {};
    }
    Status merge(const Value& partial) override {
        if (!partial.is_array()) return {};
        for (const auto& element : partial.as_view()) {
            if (options_.order != Order::key) {
                TRY_OK(add(element.value, nullptr));
                continue;
            }
            const auto key = expression::elements(element.value.as_view()["k"]);
            TRY_OK(add(element.value.as_view()["v"], key.data()));
        }
        return {};
    }
    Value result(Arena& arena) const override {
        if (options_.is_single)
            return entries_.empty() ? Arena::make_null() : arena.copy(entries_[0].value.view());
        ArrayMaker maker;
        for (const Entry& entry : entries_)
            maker.add(entry.value.view());
        return std::move(maker).make(arena);
    }
    Value partial(Arena& arena) const override {
        ArrayMaker maker;
        for (const Entry& entry : entries_) {
            if (options_.order != Order::key) {
                maker.add(entry.value.view());
                continue;
            }
            ArrayMaker keys;
            for (const OwnedValue& part : entry.key)
                keys.add(part.view());
            bson::Builder pair;
            pair.append("k", std::move(keys).make(arena)).append("v", entry.value.view());
            const bson::Document document = std::move(pair).finish();
            maker.add(arena.make_object(document.view()));
        }
        return std::move(maker).make(arena);
    }
    std::size_t memory() const override { return sizeof(*this) + bytes_; }

private:
    struct Entry {
        std::vector<OwnedValue> key;
        OwnedValue value;
    };
    static std::size_t memory_of(const Entry& entry) {
        std::size_t result = entry.value.memory();
        for (const OwnedValue& part : entry.key)
            result += part.memory();
        return result;
    }
    /// Negative when `one` comes before `two`.
    int compare(const Entry& one, const Entry& two) const {
        if (options_.order == Order::value) {
            const int result = bson::compare(one.value.view(), two.value.view());
            return options_.is_last ? -result : result;
        }
        std::vector<Value> keys;
        for (const OwnedValue& part : one.key)
            keys.push_back(part.view());
        for (const OwnedValue& part : two.key)
            keys.push_back(part.view());
        return sort_->compare(keys.data(), keys.data() + sort_->size());
    }
    void insert(Entry entry) {
        if (options_.order == Order::arrival) {
            entries_.push_back(std::move(entry));
            if (entries_.size() > n_) drop(entries_.begin());
            return;
        }
        const auto at = std::upper_bound(
            entries_.begin(), entries_.end(), entry, [&](const Entry& one, const Entry& two) {
                return compare(one, two) < 0;
            });
        entries_.insert(at, std::move(entry));
        const bool drops_first = options_.order == Order::key && options_.is_last;
        if (entries_.size() > n_) drop(drops_first ? entries_.begin() : entries_.end() - 1);
    }
    void drop(std::vector<Entry>::iterator at) {
        bytes_ -= memory_of(*at);
        entries_.erase(at);
    }

    std::size_t n_;
    std::shared_ptr<const SortPattern> sort_;  // The parameters' own.
    Options options_;
    std::vector<Entry> entries_;  // At most n_, in the order of the result.
    std::size_t bytes_ = 0;
};

class Percentile final : public Accumulator {
public:
    Percentile(std::vector<double> percentiles, bool is_single)
        : percentiles_(std::move(percentiles)), is_single_(is_single) {}
    Status add(const Value& value, const Value*) override {
        if (value.is_number() && !std::isnan(value.to_double()))
            numbers_.push_back(value.to_double());
        return {};
    }
    Status merge(const Value& partial) override {
        if (partial.is_array())
            for (const auto& element : partial.as_view())
                TRY_OK(add(element.value, nullptr));
        return {};
    }
    Value result(Arena& arena) const override {
        std::vector<double> sorted = numbers_;
        std::sort(sorted.begin(), sorted.end());
        ArrayMaker maker;
        Value last = Arena::make_null();
        for (const double p : percentiles_) {
            if (!sorted.empty()) {
                const double rank = std::ceil(p * static_cast<double>(sorted.size()));
                last = arena.make(sorted[rank < 1 ? 0 : static_cast<std::size_t>(rank) - 1]);
            }
            maker.add(last);
        }
        return is_single_ ? last : std::move(maker).make(arena);
    }
    Value partial(Arena& arena) const override {
        ArrayMaker maker;
        for (const double number : numbers_)
            maker.add(arena.make(number));
        return std::move(maker).make(arena);
    }
    std::size_t memory() const override { return sizeof(*this) + numbers_.size() * 8; }

private:
    std::vector<double> percentiles_;
    bool is_single_;
    std::vector<double> numbers_;
};

constexpr std::array<std::string_view, 24> names = {
    "$sum",        "$avg",       "$min",        "$max",          "$first",        "$last",
    "$push",       "$addToSet",  "$count",      "$top",          "$bottom",       "$topN",
    "$bottomN",    "$firstN",    "$lastN",      "$minN",         "$maxN",         "$median",
    "$percentile", "$stdDevPop", "$stdDevSamp", "$mergeObjects", "$concatArrays", "$setUnion"};

}  // namespace

std::unique_ptr<Accumulator> make_accumulator(const AccumulatorParameters& parameters) {
    const std::string& name = parameters.name;
    using Order = BestN::Order;
    const auto best = [&](BestN::Options options) -> std::unique_ptr<Accumulator> {
        return std::make_unique<BestN>(parameters, options);
    };
    if (name == "$sum" || name == "$count") return std::make_unique<Sum>();
    if (name == "$avg") return std::make_unique<Average>();
    if (name == "$min") return std::make_unique<Extreme>(1);
    if (name == "$max") return std::make_unique<Extreme>(-1);
    if (name == "$first") return std::make_unique<FirstLast>(true);
    if (name == "$last") return std::make_unique<FirstLast>(false);
    if (name == "$push") return std::make_unique<Push>(false);
    if (name == "$concatArrays") return std::make_unique<Push>(true);
    if (name == "$addToSet") return std::make_unique<AddToSet>(false);
    if (name == "$setUnion") return std::make_unique<AddToSet>(true);
    if (name == "$stdDevPop") return std::make_unique<StandardDeviation>(false);
    if (name == "$stdDevSamp") return std::make_unique<StandardDeviation>(true);
    if (name == "$mergeObjects") return std::make_unique<MergeObjects>();
    if (name == "$firstN") return best({Order::arrival, false, false});
    if (name == "$lastN") return best({Order::arrival, true, false});
    if (name == "$minN") return best({Order::value, false, false});
    if (name == "$maxN") return best({Order::value, true, false});
    if (name == "$top") return best({Order::key, false, true});
    if (name == "$topN") return best({Order::key, false, false});
    if (name == "$bottom") return best({Order::key, true, true});
    if (name == "$bottomN") return best({Order::key, true, false});
    if (name == "$median" || name == "$percentile")
        return std::make_unique<Percentile>(parameters.percentiles, name == "$median");
    return nullptr;
}

bool AccumulatorSpec::is_known(std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

namespace {

/// The constant 'n' of $topN and its like.
Result<std::int64_t> parse_n(const Value& spec, Program& program) {
    TRY(Expression expression, program.parse(spec));
    TRY_OK(expression.optimize(program));
    const auto value = expression.constant();
    if (!value)
        return Error(ErrorCode::not_implemented,
                     "an 'n' that depends on the group is not supported");
    if (!value->is_number() || !value->is_integral())
        return failure(5787902,
                       fmt::format("Value for 'n' must be of integral type, but found {}",
                                   bson::to_json(*value, bson::JsonMode::message)));
    if (value->to_int64() <= 0)
        return failure(5787908,
                       fmt::format("'n' must be greater than 0, found {}", value->to_int64()));
    return value->to_int64();
}

Result<std::vector<double>> parse_percentiles(const Value& spec) {
    if (!spec.is_array() || spec.as_view().is_empty())
        return failure(7750300,
                       "The $percentile 'p' field must be an array of numbers from "
                       "[0.0, 1.0]");
    std::vector<double> result;
    for (const auto& element : spec.as_view()) {
        const double p = element.value.to_double();
        if (!element.value.is_number() || !(p >= 0 && p <= 1))
            return failure(7750301,
                           "The $percentile 'p' field must be an array of numbers from "
                           "[0.0, 1.0]");
        result.push_back(p);
    }
    return result;
}

struct NamedArguments {
    Value input, n, sort_by, output, p, method;
};
Result<NamedArguments> named_arguments(std::string_view name, const Value& argument) {
    if (!argument.is_object())
        return failure(5787900,
                       fmt::format("specification must be an object; found {}: {}",
                                   name,
                                   bson::to_json(argument, bson::JsonMode::message)));
    const bool is_sorting = name.starts_with("$top") || name.starts_with("$bottom");
    const bool is_percentile = name == "$median" || name == "$percentile";
    const bool has_n = name.ends_with("N");
    NamedArguments result;
    for (const auto& [field, value] : argument.as_view()) {
        if (field == "input" && !is_sorting)
            result.input = value;
        else if (field == "n" && has_n)
            result.n = value;
        else if (field == "sortBy" && is_sorting)
            result.sort_by = value;
        else if (field == "output" && is_sorting)
            result.output = value;
        else if (field == "p" && name == "$percentile")
            result.p = value;
        else if (field == "method" && is_percentile)
            result.method = value;
        else
            return failure(5787901,
                           fmt::format("Unknown argument for '{}' operator: {}", name, field));
    }
    if (has_n && result.n.is_missing()) return failure(5787906, "Missing value for 'n'");
    if (is_sorting && result.output.is_missing())
        return failure(5788004, "Missing value for 'output'");
    if (is_sorting && !result.sort_by.is_object())
        return failure(5788005, "Missing value for 'sortBy'");
    if (!is_sorting && result.input.is_missing())
        return failure(5787907, "Missing value for 'input'");
    if (is_percentile && !(result.method.is_string() && result.method.as_string() == "approximate"))
        return Error(ErrorCode::bad_value,
                     "Currently only 'approximate' can be used as a percentile 'method'.");
    return result;
}

}  // namespace

Result<AccumulatorSpec> AccumulatorSpec::parse(std::string_view name,
                                               const Value& argument,
                                               Program& program) {
    if (!is_known(name)) return failure(15952, fmt::format("unknown group operator '{}'", name));
    AccumulatorSpec spec;
    spec.parameters_.name = name;
    if (name == "$count") {
        if (!argument.is_object() || !argument.as_view().is_empty())
            return Error(ErrorCode::type_mismatch, "$count takes no arguments, i.e. $count:{}");
        Arena scratch;
        TRY(spec.argument_, program.parse(scratch.make(std::int32_t{1})));
        return spec;
    }
    const bool is_named = name.ends_with("N") || name == "$top" || name == "$bottom" ||
                          name == "$median" || name == "$percentile";
    if (!is_named) {
        if (argument.is_array() && argument.as_view().count() != 1 && name != "$push")
            return failure(40237, fmt::format("The {} accumulator is a unary operator", name));
        const bool unwraps = argument.is_array() && name != "$push";
        TRY(spec.argument_, program.parse(unwraps ? argument.as_view().front().value : argument));
        return spec;
    }
    TRY(const NamedArguments arguments, named_arguments(name, argument));
    if (!arguments.n.is_missing()) {
        TRY(spec.parameters_.n, parse_n(arguments.n, program));
    }
    if (!arguments.sort_by.is_missing()) {
        TRY(SortPattern sort, SortPattern::parse(arguments.sort_by.as_view()));
        for (const auto& part : sort.parts()) {
            // The sort key is read from the document itself; tell the program's dependencies.
            std::string path;
            for (const auto& step : part.path)
                path += path.empty() ? step : "." + step;
            TRY(const Expression read, program.parse_path(path));
        }
        spec.parameters_.sort = std::make_shared<const SortPattern>(std::move(sort));
    }
    if (name == "$median") spec.parameters_.percentiles = {0.5};
    if (name == "$percentile") {
        TRY(spec.parameters_.percentiles, parse_percentiles(arguments.p));
    }
    TRY(spec.argument_,
        program.parse(arguments.output.is_missing() ? arguments.input : arguments.output));
    return spec;
}

Status AccumulatorSpec::feed(Accumulator& accumulator, Evaluation& evaluation) const {
    TRY(const Value value, argument_.evaluate(evaluation));
    if (!parameters_.sort) return accumulator.add(value, nullptr);
    std::vector<Value> key(parameters_.sort->size());
    const Value& root = evaluation.root();
    TRY_OK(parameters_.sort->make_key(root.is_object() ? root.as_view() : View(), key.data()));
    return accumulator.add(value, key.data());
}

}  // namespace tessera::query

namespace tessera::query::expression {
namespace {

/// {$sum: [a, b]} over the arguments, {$sum: "$array"} over the elements.
Result<Value> accumulate(Evaluation& evaluation, Args args, const char* name) {
    AccumulatorParameters parameters;
    parameters.name = name;
    const auto accumulator = make_accumulator(parameters);
    if (args.size() == 1 && args[0].is_array()) {
        for (const auto& element : args[0].as_view())
            TRY_OK(accumulator->add(element.value, nullptr));
    } else {
        for (const Value& arg : args)
            TRY_OK(accumulator->add(arg, nullptr));
    }
    return accumulator->result(evaluation.arena());
}
Result<Value> sum(Evaluation& evaluation, Args args) {
    return accumulate(evaluation, args, "$sum");
}
Result<Value> average(Evaluation& evaluation, Args args) {
    return accumulate(evaluation, args, "$avg");
}
Result<Value> minimum(Evaluation& evaluation, Args args) {
    return accumulate(evaluation, args, "$min");
}
Result<Value> maximum(Evaluation& evaluation, Args args) {
    return accumulate(evaluation, args, "$max");
}
Result<Value> deviation_of_population(Evaluation& evaluation, Args args) {
    return accumulate(evaluation, args, "$stdDevPop");
}
Result<Value> deviation_of_sample(Evaluation& evaluation, Args args) {
    return accumulate(evaluation, args, "$stdDevSamp");
}

Result<Value> percentiles_of(Evaluation& evaluation,
                             const Value& input,
                             const Value& method,
                             const AccumulatorParameters& parameters) {
    if (!method.is_string() || method.as_string() != "approximate")
        return Error(ErrorCode::bad_value,
                     "Currently only 'approximate' can be used as a percentile 'method'.");
    const auto accumulator = make_accumulator(parameters);
    if (input.is_array()) {
        for (const auto& element : input.as_view())
            TRY_OK(accumulator->add(element.value, nullptr));
    } else {
        TRY_OK(accumulator->add(input, nullptr));
    }
    return accumulator->result(evaluation.arena());
}
Result<Value> median(Evaluation& evaluation, Args args) {
    AccumulatorParameters parameters;
    parameters.name = "$median";
    parameters.percentiles = {0.5};
    return percentiles_of(evaluation, args[0], args[1], parameters);
}
Result<Value> percentile(Evaluation& evaluation, Args args) {
    AccumulatorParameters parameters;
    parameters.name = "$percentile";
    TRY(parameters.percentiles, parse_percentiles(args[2]));
    return percentiles_of(evaluation, args[0], args[1], parameters);
}

constexpr Function functions[] = {
    {"$sum", 0, -1, sum},
    {"$avg", 0, -1, average},
    {"$min", 0, -1, minimum},
    {"$max", 0, -1, maximum},
    {"$stdDevPop", 0, -1, deviation_of_population},
    {"$stdDevSamp", 0, -1, deviation_of_sample},
};
constexpr Parameter median_parameters[] = {{"input", true}, {"method", true}};
constexpr Parameter percentile_parameters[] = {{"input", true}, {"method", true}, {"p", true}};
constexpr NamedFunction named[] = {
    {"$median", median_parameters, median, {7436100, 40415, 40414}},
    {"$percentile", percentile_parameters, percentile, {7436200, 40415, 40414}},
};

}  // namespace

OperatorTable accumulator_operators() {
    return {functions, named, {}};
}

}  // namespace tessera::query::expression
