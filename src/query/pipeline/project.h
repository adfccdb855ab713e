// SPDX-License-Identifier: Apache-2.0
//
// The tree behind $project, $addFields/$set and $unset.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "query/pipeline/stage.h"

namespace tessera::query {

class FieldTree {
public:
    enum class Mode {
        include,  // What is named, and what is computed.
        exclude,  // All but what is named.
        add,      // All, and what is computed.
    };
    enum class Kind { inner, include, exclude, computed };
    struct Field {
        std::string name;
        Kind kind = Kind::inner;
        std::vector<Field> children;  // In the order given.
        Expression expression;
        /// Whether a computed field is here or below.
        bool is_computing = false;
    };

    /// Parses the argument of $project (or, with Mode::add, of $addFields).
    static Result<std::unique_ptr<FieldTree>> parse(bson::View spec,
                                                    bool is_add,
                                                    const ExpressionContext& context);
    /// Excludes the paths ($unset).
    static Result<std::unique_ptr<FieldTree>> exclude(const std::vector<std::string>& paths,
                                                      const ExpressionContext& context);

    Status apply(bson::View document, Evaluation& evaluation, std::string& out) const;
    Status optimize();
    Mode mode() const { return mode_; }
    const Program& program() const { return program_; }
    /// Paths named for inclusion or computed from.
    void add_included(std::set<std::string, std::less<>>& paths) const;

private:
    friend class FieldTreeParser;
    explicit FieldTree(const ExpressionContext& context) : program_(context) {}

    Program program_;
    Mode mode_ = Mode::include;
    Field root_;
};

}  // namespace tessera::query
