// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "storage/memory/engine.h"

namespace tessera::storage::memory {

void MemoryTransaction::take_snapshot() {
    if (!snapshot_) snapshot_ = engine_.last_commit_;
}

Result<const Version*> MemoryTransaction::visible(const MemoryTable& table, const Chain& chain) {
    for (auto version = chain.rbegin(); version != chain.rend(); ++version) {
        if (version->owner != 0) {
            if (version->owner == id_) return version->value ? &*version : nullptr;
            const bool is_future =
                !options_.read_at.is_null() && version->timestamp > options_.read_at;
            if (version->is_prepared && !options_.ignore_prepared && !is_future) {
                return Error(ErrorCode::prepared_transaction_in_progress,
                             "A prepared transaction holds this document; wait for its decision");
            }
            continue;
        }
        if (version->committed > *snapshot_) continue;
        if (!table.options().is_logged && !options_.read_at.is_null() &&
            version->timestamp > options_.read_at) {
            continue;
        }
        return version->value ? &*version : nullptr;
    }
    return static_cast<const Version*>(nullptr);
}

Result<std::optional<std::string_view>> MemoryTransaction::get(Table& base, std::string_view key) {
    auto& table = static_cast<MemoryTable&>(base);
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    take_snapshot();
    const auto row = table.rows.find(key);
    if (row == table.rows.end()) return std::optional<std::string_view>();
    TRY(const Version* const version, visible(table, row->second));
    if (version == nullptr) return std::optional<std::string_view>();
    last_read_ = version->value;
    return std::optional<std::string_view>(*last_read_);
}

// Requires the engine's mutex.
Status MemoryTransaction::write(MemoryTable& table, std::string_view key, Bytes value) {
    ENSURE(is_active_);
    ENSURE(prepared_at_.is_null());
    if (must_roll_back_) return write_conflict();
    take_snapshot();
    auto row = table.rows.find(key);
    if (row == table.rows.end()) row = table.rows.try_emplace(std::string(key)).first;
    Chain& chain = row->second;
    bytes_written_ += key.size() + (value ? value->size() : 0);
    if (!chain.empty()) {
        Version& newest = chain.back();
        if (newest.owner == id_ && newest.timestamp == timestamp_) {
            newest.value = std::move(value);
            return ok();
        }
        const bool is_foreign = newest.owner != 0 && newest.owner != id_;
        const bool is_newer = newest.owner == 0 && newest.committed > *snapshot_;
        const bool is_future = newest.owner == 0 && !table.options().is_logged &&
                               !options_.read_at.is_null() && newest.timestamp > options_.read_at;
        if (is_foreign || is_newer || is_future) {
            must_roll_back_ = true;
            return write_conflict();
        }
    }
    Version version;
    version.owner = id_;
    version.timestamp = timestamp_;
    version.value = std::move(value);
    chain.push_back(std::move(version));
    writes_.push_back({&table, std::string(key), timestamp_});
    return ok();
}

Status MemoryTransaction::put(Table& table, std::string_view key, std::string_view value) {
    std::lock_guard lock(engine_.mutex_);
    return write(static_cast<MemoryTable&>(table), key, std::make_shared<const std::string>(value));
}

Result<bool> MemoryTransaction::insert(Table& base, std::string_view key, std::string_view value) {
    auto& table = static_cast<MemoryTable&>(base);
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    take_snapshot();
    if (const auto row = table.rows.find(key); row != table.rows.end()) {
        TRY(const Version* const version, visible(table, row->second));
        if (version != nullptr) return false;
    }
    TRY_OK(write(table, key, std::make_shared<const std::string>(value)));
    return true;
}

Result<bool> MemoryTransaction::remove(Table& base, std::string_view key) {
    auto& table = static_cast<MemoryTable&>(base);
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    take_snapshot();
    const auto row = table.rows.find(key);
    if (row == table.rows.end()) return false;
    TRY(const Version* const version, visible(table, row->second));
    if (version == nullptr) {
        // Gone or not there yet as we see it: a conflict if somebody is changing just that.
        const Version& newest = row->second.back();
        const bool is_changing = newest.owner != 0 && newest.owner != id_;
        if (!is_changing && (newest.owner == id_ || newest.committed <= *snapshot_)) return false;
        must_roll_back_ = true;
        return write_conflict();
    }
    TRY_OK(write(table, key, nullptr));
    return true;
}

Status MemoryTransaction::truncate(Table& base, std::string_view begin, std::string_view end) {
    auto& table = static_cast<MemoryTable&>(base);
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    take_snapshot();
    for (auto row = table.rows.lower_bound(begin);
         row != table.rows.end() && (end.empty() || row->first < end);
         ++row) {
        TRY(const Version* const version, visible(table, row->second));
        if (version == nullptr) continue;
        TRY_OK(write(table, row->first, nullptr));
    }
    return ok();
}

std::unique_ptr<Cursor> MemoryTransaction::open_cursor(Table& table, Direction direction) {
    return std::make_unique<MemoryCursor>(
        engine_, *this, static_cast<MemoryTable&>(table), direction);
}

Status MemoryTransaction::set_timestamp(Timestamp at) {
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    if (at <= engine_.stable_ || at < first_timestamp_ || at < prepared_at_) {
        return Error(
            ErrorCode::bad_value,
            "The storage engine refused a commit timestamp: " + at.to_string() + " is too early");
    }
    timestamp_ = at;
    if (first_timestamp_.is_null()) first_timestamp_ = at;
    return ok();
}

// Requires the engine's mutex.
void MemoryTransaction::finish(bool is_commit, Timestamp durable) {
    is_active_ = false;
    engine_.active_.erase(this);
    const Number number = is_commit && !writes_.empty() ? ++engine_.last_commit_ : 0;
    for (const Write& write : writes_) {
        const auto row = write.table->rows.find(write.key);
        if (row == write.table->rows.end()) continue;
        Chain& chain = row->second;
        if (!is_commit) {
            std::erase_if(chain, [this](const Version& version) { return version.owner == id_; });
            if (chain.empty()) write.table->rows.erase(row);
            continue;
        }
        for (Version& version : chain) {
            if (version.owner != id_) continue;
            version.owner = 0;
            version.is_prepared = false;
            version.committed = number;
            if (version.timestamp.is_null() || !prepared_at_.is_null()) {
                version.timestamp = timestamp_;
            }
            version.durable = std::max(version.timestamp, durable);
        }
        engine_.trim(*write.table, write.key);
    }
    writes_.clear();
    if (is_commit) {
        settle();
        engine_.newest_committed_ = std::max({engine_.newest_committed_, timestamp_, durable});
    }
    ++(is_commit ? engine_.stats_.transactions_committed : engine_.stats_.transactions_rolled_back);
}

Status MemoryTransaction::commit() {
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    if (must_roll_back_) {
        finish(false, {});
        return write_conflict();
    }
    finish(true, {});
    return ok();
}

void MemoryTransaction::rollback() {
    std::lock_guard lock(engine_.mutex_);
    if (is_active_) finish(false, {});
}

Status MemoryTransaction::prepare(Timestamp at) {
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    if (at <= engine_.stable_) {
        return Error(ErrorCode::bad_value, "The prepare timestamp is not after the stable one");
    }
    for (const Write& write : writes_) {
        if (write.table->options().is_logged) {
            return Error(ErrorCode::bad_value, "A prepared transaction cannot write logged tables");
        }
    }
    prepared_at_ = at;
    for (const Write& write : writes_) {
        for (Version& version : write.table->rows.find(write.key)->second) {
            if (version.owner != id_) continue;
            version.is_prepared = true;
            version.timestamp = at;
        }
    }
    return ok();
}

Status MemoryTransaction::commit_prepared(Timestamp commit_timestamp, Timestamp durable_timestamp) {
    std::lock_guard lock(engine_.mutex_);
    ENSURE(is_active_);
    ENSURE(!prepared_at_.is_null());
    if (commit_timestamp < prepared_at_ || durable_timestamp < commit_timestamp) {
        return Error(ErrorCode::bad_value, "Timestamps of a prepared commit are out of order");
    }
    timestamp_ = commit_timestamp;
    finish(true, durable_timestamp);
    return ok();
}

Result<bool> MemoryCursor::find(const std::string_view* key, bool is_strict) {
    std::lock_guard lock(engine_.mutex_);
    ENSURE(transaction_ != nullptr);
    ENSURE(transaction_->is_active());
    transaction_->take_snapshot();
    auto& rows = table_.rows;
    const auto show = [&](const auto& row) -> Result<bool> {
        TRY(const Version* const version, transaction_->visible(table_, row->second));
        if (version == nullptr) return false;
        at_ = row->first;
        shown_ = version->value;
        key_ = at_;
        value_ = *shown_;
        state_ = State::positioned;
        return true;
    };
    if (direction_ == Direction::forward) {
        auto row = key == nullptr ? rows.begin()
                   : is_strict    ? rows.upper_bound(*key)
                                  : rows.lower_bound(*key);
        for (; row != rows.end(); ++row) {
            TRY(const bool is_there, show(row));
            if (is_there) return true;
        }
    } else {
        auto row = key == nullptr ? rows.end()
                   : is_strict    ? rows.lower_bound(*key)
                                  : rows.upper_bound(*key);
        while (row != rows.begin()) {
            --row;
            TRY(const bool is_there, show(row));
            if (is_there) return true;
        }
    }
    state_ = State::at_end;
    key_ = value_ = {};
    return false;
}

Result<bool> MemoryCursor::next() {
    if (state_ == State::at_end) return false;
    if (state_ == State::unpositioned) return find(nullptr, false);
    const std::string from = std::move(at_);
    const std::string_view view = from;
    return find(&view, true);
}

void MemoryCursor::save() {
    transaction_ = nullptr;
    key_ = value_ = {};
    shown_.reset();
}

Status MemoryCursor::restore(Transaction& transaction) {
    ENSURE(transaction_ == nullptr);
    transaction_ = static_cast<MemoryTransaction*>(&transaction);
    return ok();
}

}  // namespace tessera::storage::memory
