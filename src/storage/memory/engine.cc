// SPDX-License-Identifier: Apache-2.0
#include "storage/memory/engine.h"

#include <algorithm>
#include <limits>

namespace tessera::storage::memory {

std::unique_ptr<MemoryEngine> open(const Options& options) {
    return std::make_unique<Implementation>(options);
}

Result<TablePtr> Implementation::create_table(std::string_view ident, TableOptions options) {
    std::lock_guard lock(mutex_);
    if (tables_.contains(ident)) {
        return Error(ErrorCode::namespace_exists, "The table exists: " + std::string(ident));
    }
    auto table = std::make_shared<MemoryTable>(next_table_id_++, std::string(ident), options);
    tables_.emplace(ident, table);
    return TablePtr(table);
}

Result<TablePtr> Implementation::open_table(std::string_view ident) {
    std::lock_guard lock(mutex_);
    const auto found = tables_.find(ident);
    if (found == tables_.end()) {
        return Error(ErrorCode::no_such_key, "No such table: " + std::string(ident));
    }
    return TablePtr(found->second);
}

void Implementation::drop_table(std::string_view ident, Timestamp when) {
    std::lock_guard lock(mutex_);
    const auto found = tables_.find(ident);
    if (found == tables_.end()) return;
    drops_.push_back({found->second, when});
    tables_.erase(found);
    finish_drops();
}

void Implementation::finish_drops() {
    // A table's rows live as long as somebody holds it; here it only leaves the list.
    const Timestamp safe = std::min(checkpoint_timestamp_, oldest_);
    std::erase_if(
        drops_, [&](const PendingDrop& drop) { return drop.when.is_null() || drop.when <= safe; });
}

void Implementation::take_drops_back(Timestamp after) {
    std::erase_if(drops_, [&](const PendingDrop& drop) {
        if (drop.when <= after) return false;
        tables_.emplace(drop.table->ident(), drop.table);
        return true;
    });
}

std::vector<std::string> Implementation::idents() {
    std::lock_guard lock(mutex_);
    std::vector<std::string> all;
    for (const auto& [ident, table] : tables_)
        all.push_back(ident);
    return all;
}

Status Implementation::set_logged(std::string_view ident, bool is_logged) {
    std::lock_guard lock(mutex_);
    const auto found = tables_.find(ident);
    if (found == tables_.end()) {
        return Error(ErrorCode::no_such_key, "No such table: " + std::string(ident));
    }
    TableOptions options = found->second->options();
    options.is_logged = is_logged;
    auto table = std::make_shared<MemoryTable>(next_table_id_++, std::string(ident), options);
    table->rows = std::move(found->second->rows);
    found->second = std::move(table);
    return ok();
}

Result<std::unique_ptr<Transaction>> Implementation::begin(const TransactionOptions& options) {
    std::lock_guard lock(mutex_);
    if (!options.read_at.is_null() && options.read_at < oldest_) {
        return Error(ErrorCode::snapshot_too_old,
                     "Read timestamp " + options.read_at.to_string() +
                         " is older than the oldest available timestamp");
    }
    if (active_.size() >= limits::transactions_max) {
        return Error(ErrorCode::temporarily_unavailable, "Too many storage transactions are open");
    }
    auto transaction = std::make_unique<MemoryTransaction>(*this, next_transaction_id_++, options);
    active_.insert(transaction.get());
    ++stats_.transactions_begun;
    return std::unique_ptr<Transaction>(std::move(transaction));
}

void Implementation::set_stable(Timestamp at) {
    std::lock_guard lock(mutex_);
    stable_ = std::max(stable_, at);
}

Timestamp Implementation::stable() const {
    std::lock_guard lock(mutex_);
    return stable_;
}

void Implementation::set_oldest(Timestamp at) {
    std::lock_guard lock(mutex_);
    oldest_ = std::max(oldest_, stable_.is_null() ? at : std::min(at, stable_));
    finish_drops();
}

Timestamp Implementation::oldest() const {
    std::lock_guard lock(mutex_);
    return oldest_;
}

Timestamp Implementation::all_durable() const {
    std::lock_guard lock(mutex_);
    Timestamp result = newest_committed_;
    for (const MemoryTransaction* transaction : active_) {
        const Timestamp first = transaction->first_timestamp();
        if (first.is_null()) continue;
        result = std::min(result, Timestamp::unpack(first.packed() - 1));
    }
    return result;
}

template <class Predicate>
void Implementation::prune(Predicate is_gone) {
    const auto prune_table = [&](MemoryTable& table) {
        for (auto row = table.rows.begin(); row != table.rows.end();) {
            std::erase_if(row->second,
                          [&](const Version& version) { return is_gone(table, version); });
            row = row->second.empty() ? table.rows.erase(row) : std::next(row);
        }
    };
    for (auto& [ident, table] : tables_)
        prune_table(*table);
    for (auto& drop : drops_)
        prune_table(*drop.table);
}

Status Implementation::recover_to_stable() {
    std::lock_guard lock(mutex_);
    if (!active_.empty()) {
        return Error(ErrorCode::lock_busy,
                     "Recovery to the stable timestamp needs the engine for "
                     "itself, but transactions are open");
    }
    if (stable_.is_null()) return nothing_is_stable();
    prune([this](const MemoryTable& table, const Version& version) {
        return !table.options().is_logged && version.durable > stable_;
    });
    newest_committed_ = std::min(newest_committed_, stable_);
    take_drops_back(stable_);
    return ok();
}

Status Implementation::checkpoint() {
    std::lock_guard lock(mutex_);
    if (is_disk_lost_) return ok();
    checkpoint_number_ = flushed_ = last_commit_;
    checkpoint_timestamp_ = stable_;
    ++stats_.checkpoints;
    finish_drops();
    return ok();
}

Timestamp Implementation::last_checkpoint() const {
    std::lock_guard lock(mutex_);
    return checkpoint_timestamp_;
}

Timestamp Implementation::recovery_timestamp() const {
    std::lock_guard lock(mutex_);
    return recovery_timestamp_;
}

Status Implementation::flush_journal() {
    std::lock_guard lock(mutex_);
    if (is_disk_lost_) return ok();
    flushed_ = last_commit_;
    ++stats_.journal_syncs;
    return ok();
}

void Implementation::lose_disk() {
    std::lock_guard lock(mutex_);
    is_disk_lost_ = true;
}

void Implementation::crash() {
    std::lock_guard lock(mutex_);
    is_disk_lost_ = false;
    ASSERT(options_.is_durable);
    ASSERT(active_.empty());
    prune([this](const MemoryTable& table, const Version& version) {
        if (table.options().is_logged) return version.committed > flushed_;
        if (version.committed > checkpoint_number_) return true;
        return !checkpoint_timestamp_.is_null() && version.durable > checkpoint_timestamp_;
    });
    take_drops_back(checkpoint_timestamp_);
    recovery_timestamp_ = stable_ = newest_committed_ = checkpoint_timestamp_;
    oldest_ = std::min(oldest_, stable_);
}

void Implementation::trim(MemoryTable& table, std::string_view key) {
    const auto row = table.rows.find(key);
    if (row == table.rows.end()) return;
    Chain& chain = row->second;
    Number number = last_commit_;
    for (const MemoryTransaction* transaction : active_) {
        if (transaction->snapshot()) number = std::min(number, *transaction->snapshot());
    }
    Timestamp timestamp = std::min(oldest_, stable_);
    if (options_.is_durable) {
        number = std::min(number, table.options().is_logged ? flushed_ : checkpoint_number_);
        timestamp = std::min(timestamp, checkpoint_timestamp_);
    }
    // The newest version everyone sees hides all before it.
    std::size_t keep = chain.size();
    for (std::size_t i = chain.size(); i-- > 0;) {
        const Version& version = chain[i];
        if (version.owner != 0 || version.committed > number) continue;
        if (!table.options().is_logged && version.durable > timestamp) continue;
        keep = i;
        break;
    }
    if (keep == chain.size()) return;
    if (keep + 1 == chain.size() && chain[keep].value == nullptr) {
        table.rows.erase(row);
        return;
    }
    chain.erase(chain.begin(), chain.begin() + static_cast<std::ptrdiff_t>(keep));
}

EngineStats Implementation::stats() {
    std::lock_guard lock(mutex_);
    EngineStats result = stats_;
    result.transactions_active = active_.size();
    for (const auto& [ident, table] : tables_) {
        for (const auto& [key, chain] : table->rows) {
            result.cache_bytes += key.size();
            for (const Version& version : chain) {
                result.cache_bytes += version.value ? version.value->size() : 0;
            }
        }
    }
    return result;
}

Result<TableStats> Implementation::table_stats(Table& table) {
    std::lock_guard lock(mutex_);
    TableStats result;
    for (const auto& [key, chain] : static_cast<MemoryTable&>(table).rows) {
        if (chain.back().value) result.bytes_on_disk += key.size() + chain.back().value->size();
    }
    return result;
}

}  // namespace tessera::storage::memory
