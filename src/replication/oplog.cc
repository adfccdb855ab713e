// SPDX-License-Identifier: Apache-2.0
#include "replication/oplog.h"

#include <algorithm>
#include <utility>

#include "replication/limits.h"

namespace tessera::replication {

OplogSlots::OplogSlots(OplogSlots&& other) noexcept { *this = std::move(other); }

OplogSlots& OplogSlots::operator=(OplogSlots&& other) noexcept {
    if (this == &other) return *this;
    close();
    oplog_ = std::exchange(other.oplog_, nullptr);
    first_ = other.first_;
    term_ = other.term_;
    count_ = other.count_;
    is_committed_ = other.is_committed_;
    return *this;
}

void OplogSlots::close() {
    if (oplog_ != nullptr) std::exchange(oplog_, nullptr)->close_slots(*this);
}

Oplog::Oplog(storage::TablePtr table, LogicalClock& clock)
    : table_(std::move(table)), clock_(clock) {}

Result<OplogSlots> Oplog::open_slots(std::uint32_t count, WallTime wall) {
    const std::lock_guard lock(mutex_);
    if (!writers_term_) return Error(ErrorCode::not_writable_primary, "not primary");
    OplogSlots slots;
    slots.oplog_ = this;
    // Under the lock, so that positions are opened in the order they are made.
    slots.first_ = clock_.make(count, wall);
    slots.term_ = *writers_term_;
    slots.count_ = count;
    open_.insert(slots.first_.packed());
    return slots;
}

void Oplog::close_slots(const OplogSlots& slots) {
    bool has_grown = false;
    {
        const std::lock_guard lock(mutex_);
        open_.erase(slots.first_.packed());
        const std::uint64_t first = slots.first_.packed();
        const std::uint64_t last = first + slots.count_ - 1;
        if (slots.is_committed_) closed_.emplace(last, slots.term_);
        if (slots.is_committed_ && slots.count_ > 1) keep_unit(first, last);
        while (!closed_.empty() && (open_.empty() || closed_.begin()->first < *open_.begin())) {
            visible_ = {Timestamp::unpack(closed_.begin()->first), closed_.begin()->second};
            closed_.erase(closed_.begin());
            has_grown = true;
        }
        if (open_.empty()) drained_.notify_all();
    }
    if (!has_grown) return;
    grown_.notify();
    if (observer_) observer_();
}

void Oplog::keep_unit(std::uint64_t first, std::uint64_t last) {
    if (units_.size() >= limits::units_kept) {
        // A boundary less is lost, nothing else: recovery then replays a little more.
        const auto newest = std::prev(units_.end());
        newest->second = std::max(newest->second, last);
        if (newest->first < first) return;
        // Units commit out of order: this one lies before the newest.
        last = newest->second;
        units_.erase(newest);
    }
    units_[first] = last;
}

Timestamp Oplog::unit_boundary(Timestamp at) {
    const std::lock_guard lock(mutex_);
    auto unit = units_.begin();
    while (unit != units_.end() && unit->second <= at.packed())
        unit = units_.erase(unit);
    if (unit == units_.end() || unit->first > at.packed()) return at;
    return Timestamp::unpack(unit->first - 1);
}

void Oplog::allow_writers(std::optional<Term> term) {
    std::unique_lock lock(mutex_);
    writers_term_ = term;
    if (!term) drained_.wait(lock, [&] { return open_.empty(); });
}

Status Oplog::write(storage::Transaction& transaction, OpTime at, std::string_view entry) {
    TRY(const bool is_new, transaction.insert(*table_, key_of(at.timestamp), entry));
    ENSURE(is_new);
    if (tally_) transaction.add(tally_, 1, static_cast<std::int64_t>(entry.size()));
    return {};
}

OpTime Oplog::visible() const {
    const std::lock_guard lock(mutex_);
    return visible_;
}

OpTime Oplog::newest_committed() const {
    const std::lock_guard lock(mutex_);
    if (closed_.empty()) return visible_;
    return {Timestamp::unpack(closed_.rbegin()->first), closed_.rbegin()->second};
}

void Oplog::set_visible(OpTime at) {
    {
        const std::lock_guard lock(mutex_);
        if (visible_ == at) return;
        // After a rollback entries are applied anew, each with its own session record.
        if (at.timestamp < visible_.timestamp) units_.clear();
        visible_ = at;
    }
    grown_.notify();
    if (observer_) observer_();
}

std::string Oplog::key_of(Timestamp at) {
    std::uint64_t packed = at.packed();
    std::string key(8, '\0');
    for (int i = 7; i >= 0; --i, packed >>= 8)
        key[static_cast<std::size_t>(i)] = static_cast<char>(packed & 0xff);
    return key;
}

Timestamp Oplog::timestamp_of(std::string_view key) {
    std::uint64_t packed = 0;
    for (const char byte : key.substr(0, 8)) packed = packed << 8 | static_cast<std::uint8_t>(byte);
    return Timestamp::unpack(packed);
}

namespace {
Result<std::optional<bson::Document>> end_of(storage::Engine& engine,
                                             storage::Table& table,
                                             storage::Direction direction) {
    TRY(const auto transaction, engine.begin());
    const auto cursor = transaction->open_cursor(table, direction);
    TRY(const bool found, cursor->rewind());
    if (!found) return std::optional<bson::Document>();
    return std::optional(bson::Document::adopt(std::string(cursor->value())));
}
}  // namespace

Result<std::optional<bson::Document>> Oplog::newest(storage::Engine& engine) {
    return end_of(engine, *table_, storage::Direction::backward);
}

Result<std::optional<bson::Document>> Oplog::oldest(storage::Engine& engine) {
    return end_of(engine, *table_, storage::Direction::forward);
}

}  // namespace tessera::replication
