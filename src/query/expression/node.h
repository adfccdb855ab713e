// SPDX-License-Identifier: Apache-2.0
//
// The compiled form of expressions: a tree of nodes. Most operators are plain functions over
// values already evaluated (Function, NamedFunction); those that decide what to evaluate, or bind
// variables, have a Node of their own (Form).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/builder.h"
#include "bson/compare.h"
#include "query/expression/expression.h"

namespace tessera::query::expression {

using bson::Arena;
using bson::Type;
using bson::Value;
using bson::View;

class Node {
public:
    virtual ~Node() = default;
    virtual Result<Value> evaluate(Evaluation& evaluation) const = 0;
    /// Adds pointers to the children, so that optimize() can replace them.
    virtual void add_children(std::vector<std::unique_ptr<Node>*>&) {}
    /// Whether the value depends on the children's values alone.
    virtual bool is_foldable() const { return false; }
    virtual const Value* constant() const { return nullptr; }
    virtual const std::string* path() const { return nullptr; }
};
using NodePtr = std::unique_ptr<Node>;

class Literal final : public Node {
public:
    explicit Literal(const Value& value) : value_(value) {}
    Result<Value> evaluate(Evaluation&) const override { return value_; }
    const Value* constant() const override { return &value_; }

private:
    Value value_;  // In the program's constants.
};

class Parser;
using Args = std::span<const Value>;
using Run = Result<Value> (*)(Evaluation&, Args);

/// An operator whose arguments are a list: {$add: [a, b]} (or one operand without brackets).
struct Function {
    std::string_view name;
    int args_min;
    int args_max;  // -1: any number.
    Run run;
    bool is_pure = true;  // Same arguments, same value.
};

struct Parameter {
    std::string_view name;
    bool is_required = false;
};

/// An operator whose arguments are named: {$dateToString: {date: ..., format: ...}}.
struct NamedFunction {
    std::string_view name;
    std::span<const Parameter> parameters;  // Arguments come in this order; absent ones: absent().
    Run run;
    struct Codes {
        int not_object;
        int unknown;
        int required;
    } codes;
};

/// An operator that parses its argument itself.
struct Form {
    std::string_view name;
    Result<NodePtr> (*parse)(Parser&, std::string_view name, const Value& argument);
};

/// What NamedFunction gets for a parameter that was not written; is_missing() holds too.
Value absent();
bool is_absent(const Value& value);

/// The operators of one file.
struct OperatorTable {
    std::span<const Function> functions;
    std::span<const NamedFunction> named;
    std::span<const Form> forms;
};
OperatorTable arithmetic_operators();
OperatorTable trigonometry_operators();
OperatorTable logic_operators();
OperatorTable string_operators();
OperatorTable text_operators();
OperatorTable regex_operators();
OperatorTable array_operators();
OperatorTable array_form_operators();
OperatorTable set_operators();
OperatorTable object_operators();
OperatorTable date_operators();
OperatorTable date_text_operators();
OperatorTable date_arithmetic_operators();
OperatorTable conversion_operators();
OperatorTable accumulator_operators();

class Parser {
public:
    explicit Parser(Program& program) : program_(program) {}

    Result<NodePtr> operand(const Value& spec);
    Result<NodePtr> operator_call(std::string_view name, const Value& argument);
    Result<NodePtr> document_path(std::string_view path);
    NodePtr literal(const Value& value);
    Program& program() { return program_; }

    /// Binds a variable for what is parsed until leave(); returns its slot.
    std::size_t enter(std::string_view name);
    void leave();
    /// Fails unless a user may call a variable so.
    static Status check_variable_name(std::string_view name);

private:
    Result<NodePtr> object(View object);
    Result<NodePtr> array(View array);
    Result<NodePtr> text(std::string_view text);
    Result<NodePtr> call(const Function& function, const Value& argument);
    Result<NodePtr> named_call(const NamedFunction& function, const Value& argument);

    struct Binding {
        std::string name;
        std::size_t slot;
    };
    Program& program_;
    std::vector<Binding> scope_;
    std::size_t slots_used_ = 0;
};

// Helpers of operators.

inline Error failure(int code, std::string reason) {
    return Error(location(code), std::move(reason));
}
std::string type_text(const Value& value);  // "string", "missing" ...
inline Value null() {
    return Arena::make_null();
}
inline Value boolean(bool value) {
    return Arena::make_bool(value);
}

/// Fails with ExceededMemoryLimit (146) when what was made for the document at hand, and `more`
/// bytes about to be made, are more than one evaluation may hold. A few operators make much of
/// little, repeating a value: what they build must stay far from the 2 GiB a BSON length can say.
Status check_memory(Evaluation& evaluation, std::size_t more = 0);

/// Builds an array value; missing elements become null.
class ArrayMaker {
public:
    void add(const Value& value) {
        bytes_ += element_bytes + value.bytes().size();
        if (value.is_missing())
            builder_.append_null();
        else
            builder_.append(value);
    }
    std::size_t size() const { return builder_.size(); }
    /// About what the array takes so far.
    std::size_t bytes() const { return bytes_; }
    Value make(Arena& arena) && {
        const bson::Document array = std::move(builder_).finish();
        return arena.make_array(array.view());
    }

private:
    static constexpr std::size_t element_bytes = 8;  // Type, name, NUL.

    bson::ArrayBuilder builder_;
    std::size_t bytes_ = 0;
};

/// The elements of an array value.
std::vector<Value> elements(const Value& array);

/// The value at dotted `parts` below `value`, mapping over arrays as paths of expressions do.
Value walk_path(const Value& value, std::span<const std::string> parts, Arena& arena);

/// Splits and checks a field path ("a.b"), without its '$'.
Result<std::vector<std::string>> split_path(std::string_view path);

/// Whether an operator of that name exists.
bool is_operator(std::string_view name);

}  // namespace tessera::query::expression
