// SPDX-License-Identifier: Apache-2.0
//
// Stages other files of this folder know by type.
#pragma once

#include <algorithm>

#include "query/pipeline/stage.h"

namespace tessera::query {

class Limit final : public Stage {
public:
    Limit(const bson::Value& spec, std::int64_t count) : Stage("$limit", spec), left_(count) {}
    Result<Batch> next() override;
    bool add_dependencies(Dependencies&) const override { return false; }
    std::int64_t count() const { return left_; }

private:
    std::int64_t left_;
};

class Skip final : public Stage {
public:
    Skip(const bson::Value& spec, std::int64_t count) : Stage("$skip", spec), left_(count) {}
    Result<Batch> next() override;
    bool add_dependencies(Dependencies&) const override { return false; }
    std::int64_t count() const { return left_; }

private:
    std::int64_t left_;
};

}  // namespace tessera::query
