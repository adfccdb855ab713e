// SPDX-License-Identifier: Apache-2.0
#include "storage/wiredtiger/session.h"

#include <algorithm>

#include "storage/wiredtiger/errors.h"

namespace tessera::storage::wiredtiger {
namespace {

const char* cursor_config(CursorKind kind) {
    switch (kind) {
        case CursorKind::point:
        case CursorKind::scan:
            return nullptr;
        case CursorKind::exclusive:
            return "overwrite=false";
        case CursorKind::scan_once:
            return "read_once=true";
    }
    return nullptr;
}

}  // namespace

Session::~Session() {
    session_->close(session_, nullptr);
}  // Closes its cursors, too.

Session::Kept& Session::kept(std::uint32_t id) {
    if (last_ == nullptr || last_id_ != id) {
        last_ = &kept_[id];  // References to a map's elements stay valid.
        last_id_ = id;
    }
    return *last_;
}

Result<WT_CURSOR*> Session::open(Table& table, CursorKind kind) {
    WT_CURSOR* cursor = nullptr;
    const int code = session_->open_cursor(session_,
                                           static_cast<WiredTigerTable&>(table).uri(),
                                           nullptr,
                                           cursor_config(kind),
                                           &cursor);
    if (code != 0) return to_error(code, "open a cursor on " + table.ident());
    return cursor;
}

Result<WT_CURSOR*> Session::point_cursor(Table& table, CursorKind kind) {
    Kept& mine = kept(table.id());
    WT_CURSOR*& cursor = kind == CursorKind::point ? mine.point : mine.exclusive;
    if (cursor == nullptr) [[unlikely]] {
        TRY(cursor, open(table, kind));
        ++kept_count_;
    }
    if (std::ranges::find(used_, cursor) == used_.end()) used_.push_back(cursor);
    return cursor;
}

void Session::reset_cursors() {
    for (WT_CURSOR* const cursor : used_)
        cursor->reset(cursor);
    used_.clear();
}

Result<WT_CURSOR*> Session::take_cursor(Table& table, CursorKind kind) {
    if (kind == CursorKind::scan) {
        Kept& mine = kept(table.id());
        if (!mine.scans.empty()) {
            WT_CURSOR* const cursor = mine.scans.back();
            mine.scans.pop_back();
            --kept_count_;
            return cursor;
        }
    }
    return open(table, kind);
}

void Session::return_cursor(const Table& table, CursorKind kind, WT_CURSOR* cursor) {
    if (kind != CursorKind::scan || kept_count_ >= limits::cached_cursors_max) {
        cursor->close(cursor);
        return;
    }
    cursor->reset(cursor);
    kept(table.id()).scans.push_back(cursor);
    ++kept_count_;
}

void Session::close_cursors() {
    for (auto& [id, mine] : kept_) {
        if (mine.point != nullptr) mine.point->close(mine.point);
        if (mine.exclusive != nullptr) mine.exclusive->close(mine.exclusive);
        for (WT_CURSOR* const cursor : mine.scans)
            cursor->close(cursor);
    }
    kept_.clear();
    used_.clear();
    last_ = nullptr;
    kept_count_ = 0;
}

void Session::trim() {
    if (kept_count_ > limits::cached_cursors_max) close_cursors();
}

Result<std::unique_ptr<Session>> SessionPool::take() {
    if (in_use_.fetch_add(1, std::memory_order_relaxed) >= limits::transactions_max) {
        in_use_.fetch_sub(1, std::memory_order_relaxed);
        return Error(ErrorCode::temporarily_unavailable, "Too many storage transactions are open");
    }
    {
        std::lock_guard lock(mutex_);
        if (!idle_.empty()) {
            auto session = std::move(idle_.back());
            idle_.pop_back();
            return session;
        }
    }
    WT_SESSION* raw = nullptr;
    // Our sessions keep their own cursors; a cursor closed here is to be gone, or drops would wait.
    const int code = connection_->open_session(connection_, nullptr, "cache_cursors=false", &raw);
    if (code != 0) {
        in_use_.fetch_sub(1, std::memory_order_relaxed);
        return to_error(code, "open a session");
    }
    auto session = std::make_unique<Session>(raw);
    session->drop_epoch = drop_epoch_.load(std::memory_order_acquire);
    return session;
}

void SessionPool::give_back(std::unique_ptr<Session> session) {
    if (session->drop_epoch != drop_epoch_.load(std::memory_order_acquire)) {
        session->drop_epoch = drop_epoch_.load(std::memory_order_acquire);
        session->close_cursors();
    }
    session->trim();
    in_use_.fetch_sub(1, std::memory_order_relaxed);
    std::unique_lock lock(mutex_);
    if (idle_.size() < limits::idle_sessions_max) {
        idle_.push_back(std::move(session));
        return;
    }
    lock.unlock();
    session.reset();  // Closing takes WiredTiger's own locks.
}

void SessionPool::close_cursors() {
    const auto epoch = drop_epoch_.fetch_add(1, std::memory_order_acq_rel) + 1;
    std::lock_guard lock(mutex_);
    for (auto& session : idle_) {
        session->close_cursors();
        session->drop_epoch = epoch;
    }
}

void SessionPool::close_all() {
    std::lock_guard lock(mutex_);
    idle_.clear();
}

}  // namespace tessera::storage::wiredtiger
