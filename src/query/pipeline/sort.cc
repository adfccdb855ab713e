// SPDX-License-Identifier: Apache-2.0
#include "query/pipeline/sort.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query {

using bson::Value;
using bson::View;
using expression::failure;

bool Sort::is_before(const Entry& one, const Entry& two) const {
    const int order = pattern_.compare(one.key.data(), two.key.data());
    return order != 0 ? order < 0 : one.arrival < two.arrival;
}

Status Sort::add(View document) {
    const auto before = [this](const Entry& one, const Entry& two) { return is_before(one, two); };
    key_.resize(pattern_.size());
    if (entries_.size() >= limit_) {
        // Cheap refusal: most documents of a top-k query end here, uncopied.
        TRY_OK(pattern_.make_key(document, key_.data()));
        if (pattern_.compare(key_.data(), entries_.front().key.data()) >= 0) return {};
    }
    Entry entry;
    entry.arrival = arrivals_++;
    entry.document = std::make_unique<char[]>(document.size());
    std::memcpy(entry.document.get(), document.data(), document.size());
    entry.key.resize(pattern_.size());
    TRY_OK(pattern_.make_key(View(entry.document.get()), entry.key.data()));
    memory_ += document.size() + sizeof(Entry) + pattern_.size() * sizeof(Value);
    entries_.push_back(std::move(entry));
    if (limit_ != SIZE_MAX) std::push_heap(entries_.begin(), entries_.end(), before);
    if (entries_.size() > limit_) {
        std::pop_heap(entries_.begin(), entries_.end(), before);
        memory_ -= View(entries_.back().document.get()).size() + sizeof(Entry) +
                   pattern_.size() * sizeof(Value);
        entries_.pop_back();
    }
    if (memory_ > memory_max_) {
        return Error(ErrorCode::query_exceeded_memory_limit_no_disk_use_allowed,
                     fmt::format("Sort exceeded memory limit of {} bytes, but did not opt in to "
                                 "external sorting.",
                                 memory_max_));
    }
    return {};
}

Status Sort::load() {
    bool is_last = false;
    while (!is_last) {
        TRY(const Batch batch, pull());
        is_last = batch.is_last;
        for (std::size_t i = 0; i < batch.size(); ++i)
            TRY_OK(add(batch[i]));
    }
    std::sort(entries_.begin(), entries_.end(), [this](const Entry& one, const Entry& two) {
        return is_before(one, two);
    });
    is_loaded_ = true;
    return {};
}

Result<Batch> Sort::next() {
    if (!is_loaded_) TRY_OK(load());
    Batch batch;
    while (at_ < entries_.size() && batch.size() < batch_documents_max &&
           batch.bytes() < batch_bytes_max) {
        batch.append(View(entries_[at_].document.get()));
        entries_[at_].document.reset();
        ++at_;
    }
    batch.is_last = at_ >= entries_.size();
    return batch;
}

bool Sort::add_dependencies(Dependencies& dependencies) const {
    const bson::Document fields = pattern_.to_bson();
    for (const auto& element : fields.view())
        dependencies.fields.insert(std::string(element.name));
    return false;
}

Status parse_sort(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_object()) return failure(15973, "the $sort key specification must be an object");
    TRY(SortPattern pattern, SortPattern::parse(spec.as_view()));
    out.push_back(std::make_unique<Sort>(spec, std::move(pattern), context.memory_max));
    return {};
}

namespace {

/// $sample: the `size` documents with the least random keys. With "$_internalKeys" each document
/// carries its key as a last field "$randVal", by which a merger goes on choosing.
class Sample final : public Stage {
public:
    Sample(const Value& spec, std::size_t size, bool with_keys, const PipelineContext& context)
        : Stage("$sample", spec),
          size_(size),
          with_keys_(with_keys),
          memory_max_(context.memory_max),
          random_(context.expression.random_seed) {}
    Result<Batch> next() override {
        if (!is_loaded_) TRY_OK(load());
        Batch batch;
        for (; at_ < entries_.size() && batch.size() < batch_documents_max &&
               batch.bytes() < batch_bytes_max;
             ++at_) {
            const View document = entries_[at_].document.view();
            if (!with_keys_) {
                batch.append(document);
                continue;
            }
            bson::Builder builder(batch.begin());
            builder.append_all(document);
            builder.append("$randVal", entries_[at_].key);
        }
        batch.is_last = at_ >= entries_.size();
        return batch;
    }
    bool add_dependencies(Dependencies&) const override { return false; }

private:
    struct Entry {
        double key;
        bson::Document document;
        bool operator<(const Entry& other) const { return key < other.key; }
    };
    Status load() {
        bool is_last = false;
        while (!is_last) {
            TRY(const Batch batch, pull());
            is_last = batch.is_last;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                const double key = random_.fraction();
                if (entries_.size() >= size_) {
                    if (key >= entries_.front().key) continue;
                    std::pop_heap(entries_.begin(), entries_.end());
                    memory_ -= entries_.back().document.size();
                    entries_.pop_back();
                }
                memory_ += batch[i].size();
                entries_.push_back({key, bson::Document(batch[i])});
                std::push_heap(entries_.begin(), entries_.end());
                if (memory_ > memory_max_) return memory_error("$sample", memory_max_);
            }
        }
        std::sort(entries_.begin(), entries_.end());
        is_loaded_ = true;
        return {};
    }

    std::size_t size_;
    bool with_keys_;
    std::size_t memory_max_;
    Random random_;
    bool is_loaded_ = false;
    std::vector<Entry> entries_;  // At most size_; a heap while loading.
    std::size_t memory_ = 0;
    std::size_t at_ = 0;
};

}  // namespace

Status parse_sample(const Value& spec, const PipelineContext& context, std::vector<StagePtr>& out) {
    if (!spec.is_object())
        return failure(28745, "the $sample stage specification must be an object");
    Value size;
    bool with_keys = false;
    for (const auto& element : spec.as_view()) {
        if (element.name == "size")
            size = element.value;
        else if (element.name == "$_internalKeys")
            with_keys = element.value.is_truthy();
        else
            return failure(28748, fmt::format("unrecognized option to $sample: {}", element.name));
    }
    if (size.is_missing()) return failure(28749, "$sample stage must specify a size");
    if (!size.is_number()) return failure(28746, "size argument to $sample must be a number");
    if (size.to_int64() < 0) return failure(28747, "size argument to $sample must not be negative");
    if (size.to_int64() == 0)
        return failure(28747, "size argument to $sample must be a positive integer");
    out.push_back(std::make_unique<Sample>(
        spec, static_cast<std::size_t>(size.to_int64()), with_keys, context));
    return {};
}

}  // namespace tessera::query
