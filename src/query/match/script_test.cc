// SPDX-License-Identifier: Apache-2.0
//
// Runs src/query/testdata/{match,update,projection}*.txt. A file is a list of cases divided by
// blank lines: lines of input, "----", the expected output. Running the test with --rewrite (or
// TESSERA_REWRITE=1) writes the actual output into the files; review the difference.
//
//   filter {...}          then doc {...} lines: whether each matches, and the matched index
//   validate {...}        then doc {...} lines: valid, or errInfo.details
//   parse {...}           how explain would show the filter, or its error
//   update {...}          optional query {...}, arrayFilters [...], immutable a.b; then doc lines:
//                         the new document and the oplog entry
//   upsert {...}          with query {...}
//   project {...}         optional query {...}, sortKey {...}; then doc lines
//   diff {...}            then before {...} lines: what applying the diff gives
//   compute {...}         then before {...} lines: the diff from before to the given document
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "query/match/failure.h"
#include "query/match/filter.h"
#include "query/projection/projection.h"
#include "query/update/diff.h"
#include "query/update/update.h"

namespace tessera::query {
namespace {

using bson::Document;
using bson::Value;

std::string show(const Error& error) {
    return "error " + std::to_string(static_cast<int>(error.code())) + ": " + error.reason() + "\n";
}

class Case {
public:
    explicit Case(const std::vector<std::string>& lines) : lines_(lines) {}

    std::string run() {
        const auto [verb, argument] = split(lines_.at(0));
        const Document document = read(argument);
        const Value main = document["v"];
        if (verb == "filter") return run_filter(main);
        if (verb == "validate") return run_validate(main);
        if (verb == "parse") return run_parse(main);
        if (verb == "update") return run_update(main);
        if (verb == "upsert") return run_upsert(main);
        if (verb == "project") return run_projection(main);
        if (verb == "diff") return run_diff(main);
        if (verb == "compute") return run_compute(main);
        return "unknown verb " + verb + "\n";
    }

private:
    static std::pair<std::string, std::string> split(const std::string& line) {
        const auto space = line.find(' ');
        return {line.substr(0, space), line.substr(std::min(space, line.size() - 1) + 1)};
    }
    static Document read(const std::string& json) {
        auto result = bson::from_json("{\"v\": " + json + "}");
        EXPECT_TRUE(result) << json;
        bson::Builder out;
        if (result) copy(*result, out);
        return std::move(out).finish();
    }
    // Extended JSON claims $type, $regex and $ref for itself: "@type" in a script says "$type".
    static void copy(bson::View from, bson::Builder& out) {
        for (const auto& element : from) {
            std::string name(element.name);
            if (name.starts_with('@')) name[0] = '$';
            if (element.value.is_object() || element.value.is_array()) {
                bson::Builder inner;
                copy(element.value.as_view(), inner);
                const Document document = std::move(inner).finish();
                if (element.value.is_array()) {
                    out.append_array(name, document);
                } else {
                    out.append(name, document);
                }
            } else {
                out.append(name, element.value);
            }
        }
    }
    Document option(const std::string& verb) const {
        for (const auto& line : lines_) {
            if (split(line).first == verb) return read(split(line).second);
        }
        return {};
    }
    template <class Each>
    std::string each(const std::string& verb, const Each& run) const {
        std::string out;
        for (const auto& line : lines_) {
            const auto [name, json] = split(line);
            if (name != verb) continue;
            const Document document = read(json);
            out += run(document["v"].as_view());
        }
        return out;
    }

    std::string run_filter(const Value& main) const {
        auto filter = Filter::parse(main.as_view(), {});
        if (!filter) return show(filter.error());
        MatchContext context;
        return each("doc", [&](bson::View view) {
            auto result = filter->matches(view, context);
            if (!result) return show(result.error());
            std::string text = *result ? "true" : "false";
            if (*result && context.matched_index >= 0) {
                text += " @" + std::to_string(context.matched_index);
            }
            return text + "\n";
        });
    }
    std::string run_validate(const Value& main) const {
        auto filter = Filter::parse(main.as_view(), {});
        if (!filter) return show(filter.error());
        MatchContext context;
        return each("doc", [&](bson::View view) {
            if (*filter->matches(view, context)) return std::string("valid\n");
            return bson::to_json(describe_failure(*filter, view, context)) + "\n";
        });
    }
    static std::string run_parse(const Value& main) {
        auto filter = Filter::parse(main.as_view(), {});
        if (!filter) return show(filter.error());
        return bson::to_json(filter->serialize()) + "\n";
    }

    struct Parts {
        Document query;
        Document filters;
        std::vector<std::string> immutable;
        ApplyOptions apply;
    };
    Parts parts() const {
        Parts result;
        result.query = option("query");
        result.filters = option("arrayFilters");
        for (const auto& line : lines_) {
            if (split(line).first == "immutable") result.immutable.push_back(split(line).second);
        }
        result.apply.now = WallTime{1'700'000'000'000};
        result.apply.timestamp = Timestamp{1'700'000'000, 1};
        return result;
    }

    std::string run_update(const Value& main) const {
        Parts given = parts();
        given.apply.immutable_paths = given.immutable;
        UpdateOptions options;
        options.array_filters = given.filters["v"];
        auto update = Update::parse(main, options);
        if (!update) return show(update.error());
        const Value query = given.query["v"];
        auto filter = Filter::parse(query.is_object() ? query.as_view() : bson::View(), {});
        if (!filter) return show(filter.error());
        MatchContext match;
        UpdateContext context;
        return each("doc", [&](bson::View view) {
            auto is_match = filter->matches(view, match);
            if (!is_match || !*is_match) return std::string("no match\n");
            given.apply.matched_index = match.matched_index;
            auto result = update->apply(view, given.apply, context);
            if (!result) return show(result.error());
            if (result->is_noop) return std::string("no change\n");
            auto replayed = apply_oplog_update(view, result->oplog);
            if (!replayed || replayed->bytes() != result->after.bytes()) {
                return std::string("the oplog entry gives another document\n");
            }
            return bson::to_json(result->after) + "\n  " + bson::to_json(result->oplog) + "\n";
        });
    }
    std::string run_upsert(const Value& main) const {
        Parts given = parts();
        UpdateOptions options;
        options.array_filters = given.filters["v"];
        auto update = Update::parse(main, options);
        if (!update) return show(update.error());
        auto filter = Filter::parse(given.query["v"].as_view(), {});
        if (!filter) return show(filter.error());
        UpdateContext context;
        bson::Arena arena;
        auto made = update->make_upsert(*filter, arena.make("new"), given.apply, context);
        return made ? bson::to_json(*made) + "\n" : show(made.error());
    }
    std::string run_projection(const Value& main) const {
        const Document query = option("query");
        const Document sort_key = option("sortKey");
        auto filter =
            Filter::parse(query["v"].is_object() ? query["v"].as_view() : bson::View(), {});
        if (!filter) return show(filter.error());
        ProjectionOptions options;
        options.query = &*filter;
        auto projection = Projection::parse(main.as_view(), options);
        if (!projection) return show(projection.error());
        MatchContext match;
        ProjectionContext context;
        return each("doc", [&](bson::View view) {
            if (!*filter->matches(view, match)) return std::string("no match\n");
            ProjectionInput input;
            input.matched_index = match.matched_index;
            input.sort_key = sort_key["v"];
            std::string out;
            auto status = projection->apply(view, input, context, out);
            if (!status) return show(status.error());
            return bson::to_json(bson::View(out.data())) + "\n";
        });
    }
    std::string run_diff(const Value& main) const {
        return each("before", [&](bson::View view) {
            auto result = apply_diff(view, main.as_view());
            if (!result) return show(result.error());
            auto again = apply_diff(*result, main.as_view());
            EXPECT_TRUE(again && again->bytes() == result->bytes()) << "not idempotent";
            return bson::to_json(*result) + "\n";
        });
    }
    std::string run_compute(const Value& main) const {
        return each("before", [&](bson::View view) {
            const ComputedDiff diff = compute_diff(view, main.as_view());
            if (diff.is_equal) return std::string("equal\n");
            if (!diff.diff) return std::string("none\n");
            auto after = apply_diff(view, *diff.diff);
            EXPECT_TRUE(after && after->view() == main.as_view()) << bson::to_json(*diff.diff);
            return bson::to_json(*diff.diff) + "\n";
        });
    }

    std::vector<std::string> lines_;
};

bool is_rewriting() {
    const auto arguments = ::testing::internal::GetArgvs();
    for (const auto& argument : arguments) {
        if (argument == "--rewrite") return true;
    }
    return std::getenv("TESSERA_REWRITE") != nullptr;
}

void run_file(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::stringstream actual;
    std::string line;
    std::vector<std::string> input;
    std::string expected;
    bool is_in_output = false;
    int number = 0;
    int first = 0;
    const auto finish = [&] {
        if (input.empty()) return;
        std::vector<std::string> lines;
        for (const auto& text : input) {
            actual << text << "\n";
            if (!text.starts_with('#')) lines.push_back(text);
        }
        if (!lines.empty()) {
            const std::string output = Case(lines).run();
            actual << "----\n" << output;
            if (!is_rewriting()) {
                EXPECT_EQ(output, expected) << path << ":" << first;
            }
        }
        actual << "\n";
        input.clear();
        expected.clear();
        is_in_output = false;
    };
    while (std::getline(in, line)) {
        ++number;
        if (line.empty()) {
            finish();
        } else if (line == "----") {
            is_in_output = true;
        } else if (is_in_output) {
            expected += line + "\n";
        } else {
            if (input.empty()) first = number;
            input.push_back(line);
        }
    }
    finish();
    in.close();
    if (!is_rewriting()) return;
    std::ofstream out(path);
    out << actual.str().substr(0, actual.str().size() - 1);
}

TEST(Script, GivesTheRecordedAnswers) {
    const auto folder = std::filesystem::path(__FILE__).parent_path().parent_path() / "testdata";
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename();
        const bool is_ours = name.starts_with("match") || name.starts_with("update") ||
                             name.starts_with("projection") || name.starts_with("diff");
        if (!is_ours || !name.ends_with(".txt")) continue;
        run_file(entry.path());
        ++count;
    }
    EXPECT_GT(count, 0);
}

}  // namespace
}  // namespace tessera::query
