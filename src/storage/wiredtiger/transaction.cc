// SPDX-License-Identifier: Apache-2.0
#include "storage/wiredtiger/transaction.h"

#include <cstdio>

#include "storage/wiredtiger/engine.h"
#include "storage/wiredtiger/errors.h"

namespace tessera::storage::wiredtiger {
namespace {

WT_ITEM item(std::string_view bytes) {
    WT_ITEM result{};
    result.data = bytes.data();
    result.size = bytes.size();
    return result;
}
std::string_view view(const WT_ITEM& bytes) {
    return {static_cast<const char*>(bytes.data), bytes.size};
}
std::string_view stored(const Table& table, std::string_view value, Scratch& scratch) {
    return table.options().packs_large_values ? pack_value(value, scratch) : value;
}

}  // namespace

WiredTigerCursor::WiredTigerCursor(WiredTigerTransaction& transaction,
                                   Table& table,
                                   Direction direction)
    : transaction_(&transaction),
      table_(table),
      direction_(direction),
      kind_(transaction.options().is_read_once ? CursorKind::scan_once : CursorKind::scan) {
    transaction.add(this);
}

Status WiredTigerCursor::open() {
    ENSURE(transaction_ != nullptr);
    ENSURE(transaction_->is_active());
    if (cursor_ != nullptr) [[likely]]
        return ok();
    TRY(cursor_, transaction_->session().take_cursor(table_, kind_));
    return ok();
}

void WiredTigerCursor::let_go() {
    if (transaction_ == nullptr) return;
    if (cursor_ != nullptr) transaction_->session().return_cursor(table_, kind_, cursor_);
    cursor_ = nullptr;
    transaction_->forget(this);
    transaction_ = nullptr;
}

Result<bool> WiredTigerCursor::arrived(int code) {
    if (code == 0) [[likely]] {
        WT_ITEM key;
        WT_ITEM value;
        code = cursor_->get_raw_key_value(cursor_, &key, &value);
        if (code == 0) {
            key_ = view(key);
            value_ = view(value);
            state_ = State::positioned;
            if (!table_.options().packs_large_values) [[likely]]
                return true;
            auto unpacked = unpack_value(value_, unpacked_);
            if (unpacked) {
                value_ = *unpacked;
                return true;
            }
            key_ = value_ = {};
            state_ = State::at_end;
            return Error(std::move(unpacked).error());
        }
    }
    key_ = value_ = {};
    state_ = State::at_end;
    if (code == WT_NOTFOUND) return false;
    return to_error(code, "read " + table_.ident());
}

Result<bool> WiredTigerCursor::step() {
    return arrived(direction_ == Direction::forward ? cursor_->next(cursor_)
                                                    : cursor_->prev(cursor_));
}

Result<bool> WiredTigerCursor::near(std::string_view key, bool is_strict) {
    // The empty key stands before all others; the engine takes it for a fatal mistake.
    if (key.empty() && direction_ == Direction::forward) return rewind();
    TRY_OK(open());
    if (key.empty()) {
        cursor_->reset(cursor_);
        return arrived(WT_NOTFOUND);
    }
    const WT_ITEM wanted = item(key);
    cursor_->set_key(cursor_, &wanted);
    int where = 0;
    const int code = cursor_->search_near(cursor_, &where);
    if (code != 0) return arrived(code);
    if (direction_ == Direction::backward) where = -where;
    if (where < 0 || (is_strict && where == 0)) return step();
    return arrived(0);
}

Result<bool> WiredTigerCursor::rewind() {
    TRY_OK(open());
    cursor_->reset(cursor_);
    return step();
}

Result<bool> WiredTigerCursor::seek(std::string_view key) {
    return near(key, false);
}
Result<bool> WiredTigerCursor::seek_after(std::string_view key) {
    return near(key, true);
}

Result<bool> WiredTigerCursor::next() {
    switch (state_) {
        case State::positioned:
            return step();
        case State::unpositioned:
            return rewind();
        case State::at_end:
            return false;
        case State::saved:
            break;
    }
    return near(saved_key_, true);
}

void WiredTigerCursor::save() {
    if (state_ == State::positioned) {
        saved_key_.assign(key_);
        state_ = State::saved;
    }
    key_ = value_ = {};
    let_go();
}

Status WiredTigerCursor::restore(Transaction& transaction) {
    ENSURE(transaction_ == nullptr);
    transaction_ = static_cast<WiredTigerTransaction*>(&transaction);
    transaction_->add(this);
    return ok();
}

Error WiredTigerTransaction::write_error(int code, const Table& table) {
    // A transaction that fills the cache would only do so again.
    if (code == WT_ROLLBACK && bytes_written_ > engine_.cache_bytes_max() / 2) {
        return {ErrorCode::transaction_too_large_for_cache,
                "transaction is too large and will not fit in the storage engine cache"};
    }
    return to_error(code, "write to " + table.ident());
}

Result<std::optional<std::string_view>> WiredTigerTransaction::get(Table& table,
                                                                   std::string_view key) {
    ENSURE(is_active_);
    TRY(WT_CURSOR* const cursor, session_->point_cursor(table, CursorKind::point));
    const WT_ITEM wanted = item(key);
    cursor->set_key(cursor, &wanted);
    int code = cursor->search(cursor);
    if (code == 0) [[likely]] {
        WT_ITEM value;
        code = cursor->get_value(cursor, &value);
        if (code == 0) {
            if (!table.options().packs_large_values) [[likely]]
                return std::optional(view(value));
            TRY(const auto unpacked, unpack_value(view(value), unpacked_));
            return std::optional(unpacked);
        }
    }
    if (code == WT_NOTFOUND) return std::optional<std::string_view>();
    return to_error(code, "read " + table.ident());
}

Status WiredTigerTransaction::put(Table& table, std::string_view key, std::string_view value) {
    ENSURE(is_active_);
    TRY(WT_CURSOR* const cursor, session_->point_cursor(table, CursorKind::point));
    const WT_ITEM k = item(key);
    Scratch packed;
    const WT_ITEM v = item(stored(table, value, packed));
    cursor->set_key(cursor, &k);
    cursor->set_value(cursor, &v);
    bytes_written_ += key.size() + value.size();
    const int code = cursor->insert(cursor);
    if (code != 0) return write_error(code, table);
    return ok();
}

Result<bool> WiredTigerTransaction::insert(Table& table,
                                           std::string_view key,
                                           std::string_view value) {
    ENSURE(is_active_);
    TRY(WT_CURSOR* const cursor, session_->point_cursor(table, CursorKind::exclusive));
    const WT_ITEM k = item(key);
    Scratch packed;
    const WT_ITEM v = item(stored(table, value, packed));
    cursor->set_key(cursor, &k);
    cursor->set_value(cursor, &v);
    bytes_written_ += key.size() + value.size();
    const int code = cursor->insert(cursor);
    if (code == 0) [[likely]]
        return true;
    if (code == WT_DUPLICATE_KEY) {
        cursor->reset(cursor);
        return false;
    }
    return write_error(code, table);
}

Result<bool> WiredTigerTransaction::remove(Table& table, std::string_view key) {
    ENSURE(is_active_);
    TRY(WT_CURSOR* const cursor, session_->point_cursor(table, CursorKind::exclusive));
    const WT_ITEM k = item(key);
    cursor->set_key(cursor, &k);
    bytes_written_ += key.size();
    const int code = cursor->remove(cursor);
    if (code == 0) [[likely]]
        return true;
    if (code == WT_NOTFOUND) return false;
    return write_error(code, table);
}

Status WiredTigerTransaction::truncate(Table& table, std::string_view begin, std::string_view end) {
    ENSURE(is_active_);
    // The library wants both ends to be entries: the first at or after `begin`, the last before
    // `end`. Cursors of its own, since it takes them as the range.
    const auto positioned = [&](std::string_view key, bool is_first) -> Result<WT_CURSOR*> {
        TRY(WT_CURSOR* const cursor, session_->take_cursor(table, CursorKind::scan));
        int code = 0;
        if (key.empty()) {
            code = is_first ? cursor->next(cursor) : cursor->prev(cursor);
        } else {
            const WT_ITEM wanted = item(key);
            cursor->set_key(cursor, &wanted);
            int where = 0;
            code = cursor->search_near(cursor, &where);
            if (code == 0 && is_first && where < 0) code = cursor->next(cursor);
            if (code == 0 && !is_first && where >= 0) code = cursor->prev(cursor);
        }
        if (code == 0) return cursor;
        session_->return_cursor(table, CursorKind::scan, cursor);
        if (code == WT_NOTFOUND) return static_cast<WT_CURSOR*>(nullptr);
        return to_error(code, "truncate " + table.ident());
    };
    TRY(WT_CURSOR* const first, positioned(begin, true));
    if (first == nullptr) return ok();
    auto last = positioned(end, false);
    int code = 0;
    if (last && *last != nullptr) {
        int order = 0;
        code = first->compare(first, *last, &order);
        if (code == 0 && order <= 0) {
            WT_SESSION* const session = session_->get();
            code = session->truncate(session, nullptr, first, *last, nullptr);
        }
        session_->return_cursor(table, CursorKind::scan, *last);
    }
    session_->return_cursor(table, CursorKind::scan, first);
    if (!last) return std::move(last).error();
    if (code != 0) return write_error(code, table);
    return ok();
}

std::unique_ptr<Cursor> WiredTigerTransaction::open_cursor(Table& table, Direction direction) {
    return std::make_unique<WiredTigerCursor>(*this, table, direction);
}

Status WiredTigerTransaction::set_timestamp(Timestamp at) {
    ENSURE(is_active_);
    WT_SESSION* const session = session_->get();
    return to_status(
        session->timestamp_transaction_uint(session, WT_TS_TXN_TYPE_COMMIT, at.packed()),
        "set a commit timestamp");
}

Status WiredTigerTransaction::commit() {
    ENSURE(is_active_);
    while (!cursors_.empty())
        cursors_.back()->let_go();
    session_->reset_cursors();
    WT_SESSION* const session = session_->get();
    is_active_ = false;  // A failed commit has rolled back.
    const int code = session->commit_transaction(session, nullptr);
    end();
    engine_.count_end(code == 0);
    if (code == 0) settle();
    return to_status(code, "commit");
}

void WiredTigerTransaction::rollback() {
    if (!is_active_) return;
    is_active_ = false;
    while (!cursors_.empty())
        cursors_.back()->let_go();
    session_->reset_cursors();
    WT_SESSION* const session = session_->get();
    session->rollback_transaction(session, nullptr);
    end();
    engine_.count_end(false);
}

Status WiredTigerTransaction::prepare(Timestamp at) {
    ENSURE(is_active_);
    while (!cursors_.empty())
        cursors_.back()->let_go();
    session_->reset_cursors();
    char config[64];
    std::snprintf(config,
                  sizeof(config),
                  "prepare_timestamp=%llx",
                  static_cast<unsigned long long>(at.packed()));
    WT_SESSION* const session = session_->get();
    return to_status(session->prepare_transaction(session, config), "prepare");
}

Status WiredTigerTransaction::commit_prepared(Timestamp commit_timestamp,
                                              Timestamp durable_timestamp) {
    ENSURE(is_active_);
    WT_SESSION* const session = session_->get();
    TRY_OK(set_timestamp(commit_timestamp));
    TRY_OK(to_status(session->timestamp_transaction_uint(
                         session, WT_TS_TXN_TYPE_DURABLE, durable_timestamp.packed()),
                     "set a durable timestamp"));
    return commit();
}

void WiredTigerTransaction::end() {
    engine_.sessions().give_back(std::move(session_));
}

}  // namespace tessera::storage::wiredtiger
