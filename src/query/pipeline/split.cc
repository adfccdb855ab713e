// SPDX-License-Identifier: Apache-2.0
#include "query/pipeline/split.h"

#include <algorithm>
#include <array>

#include "bson/builder.h"
#include "query/expression/sort_pattern.h"
#include "query/pipeline/simple_stages.h"
#include "query/pipeline/sort.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

using bson::Document;
using bson::Value;
using bson::View;

namespace {

/// Stages that treat each document by itself.
constexpr std::array<std::string_view, 9> by_document = {"$match",
                                                         "$project",
                                                         "$addFields",
                                                         "$set",
                                                         "$unset",
                                                         "$replaceRoot",
                                                         "$replaceWith",
                                                         "$unwind",
                                                         "$redact"};

bool is_by_document(const Stage& stage) {
    return std::find(by_document.begin(), by_document.end(), stage.name()) != by_document.end();
}

Document with_option(const Stage& stage, std::string_view option) {
    bson::Builder builder;
    {
        auto spec = builder.object(stage.name());
        spec.append_all(stage.spec().as_view());
        spec.append(option, true);
    }
    return std::move(builder).finish();
}

Document limit_stage(std::int64_t count) {
    return bson::make("$limit", count);
}

/// What `$skip`, `$limit` at `at` let through together; none when there is no $limit.
std::optional<std::int64_t> rows_needed(const std::vector<StagePtr>& stages, std::size_t at) {
    std::int64_t skip = 0;
    if (at < stages.size() && stages[at]->name() == "$skip")
        skip = static_cast<const Skip&>(*stages[at++]).count();
    if (at >= stages.size() || stages[at]->name() != "$limit") return std::nullopt;
    std::int64_t rows = 0;
    if (__builtin_add_overflow(skip, static_cast<const Limit&>(*stages[at]).count(), &rows))
        return std::nullopt;
    return rows;
}

}  // namespace

SplitPipeline split(const Pipeline& pipeline) {
    SplitPipeline result;
    const auto& stages = pipeline.stages();
    std::size_t at = 0;
    if (!stages.empty() && stages[0]->is_source() && stages[0]->name() != "$documents")
        result.shard_part.emplace_back(stages[at++]->bson());
    while (at < stages.size() && is_by_document(*stages[at]))
        result.shard_part.emplace_back(stages[at++]->bson());

    if (at < stages.size()) {
        const Stage& splitter = *stages[at];
        if (splitter.name() == "$group") {
            result.shard_part.push_back(with_option(splitter, "$_partial"));
            result.merge_part.push_back(with_option(splitter, "$doingMerge"));
            ++at;
        } else if (splitter.name() == "$sort") {
            result.shard_part.emplace_back(splitter.bson());
            result.merge_sort = static_cast<const Sort&>(splitter).pattern().to_bson();
            ++at;
            if (const auto rows = rows_needed(stages, at))
                result.shard_part.push_back(limit_stage(*rows));
        } else if (splitter.name() == "$sample") {
            result.shard_part.push_back(with_option(splitter, "$_internalKeys"));
            result.merge_sort = bson::make("$randVal", std::int32_t{1});
            result.merge_part.push_back(limit_stage(splitter.spec().as_view()["size"].to_int64()));
            result.merge_part.push_back(bson::make("$_internalStripRandom", View()));
            ++at;
        } else if (const auto rows = rows_needed(stages, at)) {
            result.shard_part.push_back(limit_stage(*rows));
        }
    }
    for (; at < stages.size(); ++at) {
        result.merge_part.emplace_back(stages[at]->bson());
        const std::string& name = stages[at]->name();
        result.merge_needs_shard = result.merge_needs_shard || name == "$out" || name == "$merge" ||
                                   name == "$lookup" || name == "$graphLookup";
    }
    return result;
}

namespace {

class MergingCursor final : public DocumentCursor {
public:
    MergingCursor(std::vector<std::unique_ptr<DocumentCursor>> cursors, const Document& pattern)
        : pattern_bson_(pattern), sources_(cursors.size()) {
        for (std::size_t i = 0; i < cursors.size(); ++i)
            sources_[i].cursor = std::move(cursors[i]);
    }

    Result<Batch> next() override {
        if (!pattern_) {
            TRY(pattern_, SortPattern::parse(pattern_bson_.view()));
        }
        Batch out;
        while (out.size() < batch_documents_max && out.bytes() < batch_bytes_max) {
            Source* best = nullptr;
            for (Source& source : sources_) {
                TRY_OK(fill(source));
                if (source.is_done) continue;
                if (!best || pattern_->compare(source.key.data(), best->key.data()) < 0)
                    best = &source;
            }
            if (!best) {
                out.is_last = true;
                break;
            }
            out.append(best->batch[best->at]);
            ++best->at;
            best->has_key = false;
        }
        return out;
    }

private:
    struct Source {
        std::unique_ptr<DocumentCursor> cursor;
        Batch batch;
        std::size_t at = 0;
        bool is_done = false;
        bool has_key = false;
        std::vector<Value> key;  // Of batch[at].
    };
    /// Sees to it that the source has a document ready, or is done.
    Status fill(Source& source) {
        while (!source.is_done && source.at >= source.batch.size()) {
            if (source.batch.is_last) {
                source.is_done = true;
                break;
            }
            TRY(source.batch, source.cursor->next());
            source.at = 0;
        }
        if (source.is_done || source.has_key) return {};
        source.key.resize(pattern_->size());
        source.has_key = true;
        return pattern_->make_key(source.batch[source.at], source.key.data());
    }

    Document pattern_bson_;
    std::optional<SortPattern> pattern_;
    std::vector<Source> sources_;
};

}  // namespace

std::unique_ptr<DocumentCursor> make_merging_cursor(
    std::vector<std::unique_ptr<DocumentCursor>> sources, View sort_pattern) {
    return std::make_unique<MergingCursor>(std::move(sources), Document(sort_pattern));
}

}  // namespace tessera::query
