// SPDX-License-Identifier: Apache-2.0
//
// Random documents, filters and sorts over random indexes: whatever plan is chosen gives what a
// scan of the collection gives, and in the order asked for.
#include <cmath>

#include <gtest/gtest.h>

#include "bson/compare.h"
#include "query/expression/sort_pattern.h"
#include "query/plan/fake_collection.h"

namespace tessera::query {
namespace {

using bson::Builder;
using bson::Document;

/// Documents and requests over few fields and few values, so that they meet.
class Generator {
public:
    explicit Generator(std::uint64_t seed) : random_(seed) {}

    Document document(int id) {
        Builder out;
        out.append("_id", id);
        for (const char* name : {"a", "b", "c"}) {
            if (below(5) != 0) field(out, name, 2);
        }
        return std::move(out).finish();
    }

    Document filter(int depth = 2) {
        Builder out;
        for (std::uint64_t i = 1 + below(2); i > 0; --i)
            clause(out, depth);
        return std::move(out).finish();
    }

    Document pattern() {
        Builder out;
        std::vector<std::string> used;
        for (std::uint64_t i = 1 + below(3); i > 0; --i) {
            const std::string name = path();
            if (std::find(used.begin(), used.end(), name) != used.end()) continue;
            used.push_back(name);
            out.append(name, below(2) != 0 ? 1 : -1);
        }
        return std::move(out).finish();
    }

    std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }

private:
    std::string path() {
        constexpr const char* paths[] = {"a", "b", "c", "a.x", "a.y", "b.x", "_id"};
        return paths[below(std::size(paths))];
    }

    void scalar(Builder& out, std::string_view name) {
        switch (below(12)) {
            case 0:
                out.append_null(name);
                return;
            case 1:
                out.append(name, below(2) != 0);
                return;
            case 2:
                out.append(name, below(2) != 0 ? "ab" : "b");
                return;
            case 3:
                out.append(name, std::string("a") + static_cast<char>('a' + below(3)));
                return;
            case 4:
                out.append(name, static_cast<double>(below(6)) / 2);
                return;
            case 5:
                out.append(name, static_cast<std::int64_t>(below(4)));
                return;
            case 6:
                out.append(name, WallTime{static_cast<std::int64_t>(below(3))});
                return;
            case 7:
                out.append(name, std::nan(""));
                return;
            default:
                out.append(name, static_cast<int>(below(5)));
                return;
        }
    }

    void field(Builder& out, std::string_view name, int depth) {
        const std::uint64_t kind = below(depth > 0 ? 8 : 5);
        if (kind == 7) {
            auto object = out.object(name);
            for (const char* inner : {"x", "y"}) {
                if (below(4) != 0) field(object, inner, depth - 1);
            }
            return;
        }
        if (kind < 5 || has_arrays_ == false) return scalar(out, name);
        auto list = out.array(name);
        Builder holder;
        for (std::uint64_t i = below(4); i > 0; --i) {
            Builder element;
            if (below(3) == 0) {
                auto object = element.object("e");
                for (const char* inner : {"x", "y"}) {
                    if (below(4) != 0) scalar(object, inner);
                }
            } else {
                scalar(element, "e");
            }
            const Document made = std::move(element).finish();
            list.append(made["e"]);
        }
    }

    void condition(Builder& out) {
        constexpr const char* comparisons[] = {"$lt", "$lte", "$gt", "$gte", "$eq", "$ne"};
        switch (below(11)) {
            case 0:
                out.append("$exists", below(2) != 0);
                return;
            case 1:
            case 2: {
                auto list = out.array(below(4) == 0 ? "$nin" : "$in");
                for (std::uint64_t i = below(4); i > 0; --i) {
                    Builder holder;
                    scalar(holder, "v");
                    const Document made = std::move(holder).finish();
                    list.append(made["v"]);
                }
                return;
            }
            case 3: {
                auto inner = out.object("$not");
                scalar(inner, comparisons[below(4)]);
                return;
            }
            case 4:
                out.append("$regex", below(2) != 0 ? "^a" : "b");
                return;
            case 5:
                out.append("$type", below(2) != 0 ? "number" : "string");
                return;
            default:
                scalar(out, comparisons[below(6)]);
                return;
        }
    }

    void clause(Builder& out, int depth) {
        if (depth > 0 && below(5) == 0) {
            auto list = out.array(below(4) == 0 ? "$and" : "$or");
            for (std::uint64_t i = 1 + below(3); i > 0; --i) {
                const Document inner = filter(depth - 1);
                list.append(inner.view());
            }
            return;
        }
        const std::string name = path();
        switch (below(8)) {
            case 0:
            case 1:
                field(out, name, 1);
                return;
            case 2: {
                auto holder = out.object(name);
                auto inner = holder.object("$elemMatch");
                if (below(2) == 0) {
                    scalar(inner, below(2) != 0 ? "$gt" : "$gte");
                    scalar(inner, "$lt");
                } else {
                    scalar(inner, "x");
                    if (below(2) != 0) scalar(inner, "y");
                }
                return;
            }
            case 3: {
                auto inner = out.object(name);
                scalar(inner, "$gt");
                scalar(inner, "$lt");
                return;
            }
            default: {
                auto inner = out.object(name);
                condition(inner);
                return;
            }
        }
    }

    Random random_;

public:
    bool has_arrays_ = true;
};

struct Outcome {
    std::vector<std::int64_t> ids;
    std::vector<Document> documents;
    std::string plan;
    std::optional<Error> error;
};

ReadRequest make(const Document& filter, const Document& sort) {
    ReadRequest request;
    auto parsed = Filter::parse(filter, {});
    EXPECT_TRUE(parsed) << bson::to_json(filter);
    if (parsed) request.filter = *std::move(parsed);
    request.sort = sort;
    return request;
}

Outcome run(FakeCollection& collection, ReadRequest request) {
    Outcome outcome;
    auto transaction = *collection.engine().begin();
    Executor executor(collection, std::move(request));
    const Status started = executor.start(*transaction);
    if (!started) {
        outcome.error = started.error();
        return outcome;
    }
    outcome.plan = executor.plan_summary();
    while (true) {
        const auto has_document = executor.next();
        if (!has_document) {
            outcome.error = has_document.error();
            return outcome;
        }
        if (!*has_document) return outcome;
        outcome.ids.push_back(executor.record_id().value);
        outcome.documents.emplace_back(executor.document());
    }
}

/// Adds an index if every document can be indexed (no parallel arrays).
void try_index(FakeCollection& collection, Generator& generator) {
    FakeIndexOptions options;
    const std::uint64_t kind = generator.below(6);
    if (kind == 0) options.is_sparse = true;
    if (kind == 1) options.partial_filter = R"({"a": {"$gt": 1}})";
    if (kind == 2) options.partial_filter = R"({"b": {"$exists": true}})";
    Document pattern = generator.pattern();
    if (kind == 3 && !generator.has_arrays_) pattern = bson::make("a", "hashed", "b", 1);
    IndexInfo probe;
    probe.key_pattern = pattern;
    for (const bson::Element& element : pattern.view()) {
        if (element.name == "_id" && pattern.view().count() == 1) return;
        probe.paths.emplace_back(element.name);
    }
    KeySet keys;
    for (const Document& document : collection.documents()) {
        if (!KeyGenerator(probe).generate(document, keys)) return;
    }
    for (const IndexInfo& index : collection.indexes()) {
        if (index.key_pattern.view() == pattern.view()) return;  // Names are made of patterns.
    }
    collection.add_index(bson::to_json(pattern), options);
}

void expect_sorted(const Outcome& outcome, const Document& sort, const std::string& what) {
    const SortPattern pattern = *SortPattern::parse(sort);
    std::vector<bson::Value> last(pattern.size());
    std::vector<bson::Value> next(pattern.size());
    for (std::size_t i = 0; i < outcome.documents.size(); ++i) {
        // Two arrays have no place in the order; an index that gives it never compares them.
        if (!pattern.make_key(outcome.documents[i], next.data())) return;
        if (i > 0) {
            EXPECT_LE(pattern.compare(last.data(), next.data()), 0) << what;
        }
        last.swap(next);
    }
}

class Metamorphic : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Metamorphic, EveryPlanGivesTheSameDocumentsInOrder) {
    Generator generator(GetParam());
    generator.has_arrays_ = GetParam() % 3 != 0;
    FakeCollection collection;
    for (int i = 0; i < 60; ++i)
        collection.insert(generator.document(i));
    for (int i = 0; i < 4; ++i)
        try_index(collection, generator);
    for (int round = 0; round < 60; ++round) {
        const Document filter = generator.filter();
        const Document sort = generator.below(3) == 0 ? generator.pattern() : Document();
        ReadRequest natural = make(filter, {});
        natural.hint.pattern = bson::make("$natural", 1);
        Outcome expected = run(collection, std::move(natural));
        ASSERT_FALSE(expected.error);
        Outcome outcome = run(collection, make(filter, sort));
        if (outcome.error) {
            EXPECT_NE(outcome.error->reason().find("parallel"), std::string::npos)
                << outcome.error->to_string();
            continue;
        }
        const std::string what = "seed " + std::to_string(GetParam()) + " filter " +
                                 bson::to_json(filter) + " sort " + bson::to_json(sort) + " plan " +
                                 outcome.plan;
        if (!sort.is_empty()) expect_sorted(outcome, sort, what);
        std::sort(outcome.ids.begin(), outcome.ids.end());
        EXPECT_EQ(outcome.ids, expected.ids) << what;
        // Each index by hint, where it may be hinted at.
        for (const IndexInfo& index : collection.indexes()) {
            if (index.is_sparse) continue;
            ReadRequest hinted = make(filter, sort);
            hinted.hint.name = index.name;
            Outcome other = run(collection, std::move(hinted));
            if (other.error) continue;
            if (!sort.is_empty()) expect_sorted(other, sort, what + " hint " + index.name);
            std::sort(other.ids.begin(), other.ids.end());
            EXPECT_EQ(other.ids, expected.ids) << what << " hint " << index.name;
        }
        ReadRequest count = make(filter, {});
        count.purpose = ReadPurpose::count;
        auto transaction = *collection.engine().begin();
        Executor counter(collection, std::move(count));
        ASSERT_TRUE(counter.start(*transaction));
        EXPECT_EQ(*counter.count(), static_cast<std::int64_t>(expected.ids.size())) << what;
        if (testing::Test::HasFailure()) break;
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Metamorphic, testing::Range<std::uint64_t>(1, 21));

TEST(Covered, GivesTheValuesTheDocumentsHave) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Generator generator(seed);
        generator.has_arrays_ = seed % 2 == 0;
        FakeCollection collection;
        for (int i = 0; i < 40; ++i)
            collection.insert(generator.document(i));
        for (const char* pattern : {R"({"a": 1, "b": -1})", R"({"a.x": 1, "a.y": 1, "c": 1})"}) {
            KeySet keys;
            IndexInfo probe;
            probe.key_pattern = *bson::from_json(pattern);
            for (const bson::Element& element : probe.key_pattern.view()) {
                probe.paths.emplace_back(element.name);
            }
            bool is_possible = true;
            for (const Document& document : collection.documents()) {
                is_possible = is_possible && KeyGenerator(probe).generate(document, keys);
            }
            if (is_possible) collection.add_index(pattern);
        }
        for (std::size_t i = 1; i < collection.indexes().size(); ++i) {
            const IndexInfo& index = collection.indexes()[i];
            ReadRequest request;
            request.hint.name = index.name;
            request.projection.paths.emplace();
            for (const Path& path : index.paths)
                request.projection.paths->push_back(path.dotted());
            const Outcome outcome = run(collection, std::move(request));
            ASSERT_FALSE(outcome.error);
            EXPECT_EQ(outcome.ids.size(), 40U);
            for (std::size_t k = 0; k < outcome.ids.size(); ++k) {
                const bson::View whole =
                    collection.documents()[static_cast<std::size_t>(outcome.ids[k] - 1)];
                for (const Path& path : index.paths) {
                    const bson::Value expected = whole.at_path(path.dotted());
                    const bson::Value actual = outcome.documents[k].view().at_path(path.dotted());
                    EXPECT_EQ(actual.type(), expected.type()) << bson::to_json(whole);
                    EXPECT_EQ(actual.bytes(), expected.bytes()) << bson::to_json(whole);
                }
            }
        }
    }
}

}  // namespace
}  // namespace tessera::query
