// SPDX-License-Identifier: Apache-2.0
//
// Aggregation expressions ({$add: ["$a", 1]}), parsed once for a query and evaluated on many
// documents. A Program holds what the expressions of one stage share: the top-level fields they
// read, so that one walk over a document finds them all; the slots of their variables; and their
// constants. User variables (`let`), $$NOW and $$CLUSTER_TIME do not change while a command runs,
// so they are constants to the parser.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "bson/arena.h"
#include "bson/view.h"

namespace tessera::query {

/// What an expression may know about the world: constant for one command.
struct ExpressionContext {
    bson::Document let;                     // User variables: name -> value.
    WallTime now;                           // $$NOW.
    std::optional<Timestamp> cluster_time;  // $$CLUSTER_TIME; absent on a standalone.
    std::uint64_t random_seed = 0;          // $rand, $sampleRate.
};

namespace expression {
class Node;
class Parser;
class TimeZone;
}  // namespace expression

class Program;

/// The state of evaluating a Program's expressions: the document at hand, its fields, variables.
/// One thread's; the program must outlive it. Values it makes live in `arena`.
class Evaluation {
public:
    Evaluation(const Program& program, bson::Arena& arena);

    /// Evaluate on this document from now on; it must outlive the values computed from it.
    void bind(bson::View document) {
        root_ = document.as_object_value();
        are_fields_loaded_ = false;
    }
    void bind(const bson::Value& root) {
        root_ = root;
        are_fields_loaded_ = false;
    }

    const bson::Value& root() const { return root_; }
    const bson::Value& field(std::size_t slot) {
        if (!are_fields_loaded_) load_fields();
        return fields_[slot];
    }
    bson::Value& variable(std::size_t slot) { return variables_[slot]; }
    bson::Arena& arena() { return *arena_; }
    Random& random() { return random_; }
    /// A string to build in; empty at each call. Not to be held over another evaluate().
    std::string& scratch() {
        scratch_.clear();
        return scratch_;
    }

    /// The time zone used last, so that its file is read once.
    struct Zone {
        std::string name;
        std::shared_ptr<const expression::TimeZone>
            zone;  // Shared with nobody, but incomplete here.
    };
    Zone& kept_zone() { return zone_; }

private:
    void load_fields();

    const Program* program_;
    bson::Arena* arena_;
    bson::Value root_;
    bool are_fields_loaded_ = false;
    std::vector<bson::Value> fields_;
    std::vector<bson::Value> variables_;
    std::string scratch_;
    Zone zone_;
    Random random_;
};

/// A compiled expression; refers to the Program it was parsed in. Immutable, any thread's.
class Expression {
public:
    Expression();
    explicit Expression(std::unique_ptr<expression::Node> node);
    Expression(Expression&&) noexcept;
    Expression& operator=(Expression&&) noexcept;
    ~Expression();

    /// Returns the value; missing when there is none.
    Result<bson::Value> evaluate(Evaluation& evaluation) const;
    /// Folds constant parts. An error found so is the client's ("Failed to optimize ...").
    Status optimize(Program& program);
    /// The value, if the expression is a constant.
    std::optional<bson::Value> constant() const;
    /// "a.b" when the expression is just the path "$a.b" of the document.
    std::optional<std::string> field_path() const;
    bool is_set() const { return node_ != nullptr; }

private:
    std::unique_ptr<expression::Node> node_;
};

/// What the expressions of one stage (or filter, or projection) share. Not copied; must outlive
/// them.
class Program {
public:
    explicit Program(const ExpressionContext& context);
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    /// Parses any operand: a field path or variable, an operator object, an object of expressions,
    /// an array, a literal. `spec` may die after the call.
    Result<Expression> parse(const bson::Value& spec);
    /// Parses {$operator: argument}; unknown ones fail with 168 "Unrecognized expression '$x'".
    Result<Expression> parse_operator(std::string_view name, const bson::Value& argument);
    /// Whether an operator of that name ("$add") exists.
    static bool has_operator(std::string_view name);
    /// An expression that reads the document's field at a dotted path.
    Result<Expression> parse_path(std::string_view path);

    /// Defines a further constant, $$name ($$KEEP of $redact ...).
    void define(std::string_view name, const bson::Value& value);

    /// Dotted paths of the document that are read; meaningless when needs_whole_document().
    const std::set<std::string, std::less<>>& dependencies() const { return dependencies_; }
    bool needs_whole_document() const { return needs_whole_document_; }

private:
    friend class expression::Parser;
    friend class Evaluation;
    friend class Expression;

    std::size_t field_slot(std::string_view name);

    bson::Arena constants_;
    std::vector<std::pair<std::string, bson::Value>> system_;  // "NOW", user variables ...
    std::vector<std::string> fields_;                          // Top-level, a slot each.
    std::size_t variable_slots_ = 0;
    std::set<std::string, std::less<>> dependencies_;
    bool needs_whole_document_ = false;
    std::uint64_t random_seed_ = 0;
};

/// One expression on its own, for $expr, computed projections and the like.
class StandaloneExpression {
public:
    static Result<std::unique_ptr<StandaloneExpression>> parse(const bson::Value& spec,
                                                               const ExpressionContext& context);
    Result<bson::Value> evaluate(bson::View document, bson::Arena& arena) const;
    const Program& program() const { return program_; }
    const Expression& expression() const { return expression_; }

private:
    explicit StandaloneExpression(const ExpressionContext& context) : program_(context) {}
    Program program_;
    Expression expression_;
};

}  // namespace tessera::query
