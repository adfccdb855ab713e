// SPDX-License-Identifier: Apache-2.0
//
// WiredTiger sessions and their open cursors, kept for reuse: opening either costs more than a
// read.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <wiredtiger.h>

#include "base/result.h"
#include "storage/engine.h"

namespace tessera::storage::wiredtiger {

class WiredTigerTable final : public Table {
public:
    WiredTigerTable(std::uint32_t id, std::string ident, TableOptions options)
        : Table(id, std::move(ident), options), uri_("file:" + this->ident() + ".wt") {}
    const char* uri() const { return uri_.c_str(); }

private:
    const std::string uri_;
};

enum class CursorKind : std::uint8_t { point, exclusive, scan, scan_once };

/// One WiredTiger session. Used by one transaction at a time.
class Session {
public:
    explicit Session(WT_SESSION* session) : session_(session) {}
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    WT_SESSION* get() const { return session_; }

    /// The one point (or exclusive: insert and remove tell whether the key was there) cursor for a
    /// table; stays in the session.
    Result<WT_CURSOR*> point_cursor(Table& table, CursorKind kind);
    /// A scan cursor; give it back with return_cursor().
    Result<WT_CURSOR*> take_cursor(Table& table, CursorKind kind);
    void return_cursor(const Table& table, CursorKind kind, WT_CURSOR* cursor);

    /// Unpositions the point cursors used since the last call: a positioned one pins its page, and
    /// a commit copies its value first.
    void reset_cursors();
    /// Closes every cursor kept (a table is to be dropped), or only too many of them.
    void close_cursors();
    void trim();

    std::uint64_t drop_epoch = 0;  // The pool's epoch when cursors were last closed.

private:
    Result<WT_CURSOR*> open(Table& table, CursorKind kind);

    struct Kept {
        WT_CURSOR* point = nullptr;
        WT_CURSOR* exclusive = nullptr;
        std::vector<WT_CURSOR*> scans;
    };
    WT_SESSION* session_;
    std::unordered_map<std::uint32_t, Kept> kept_;
    std::uint32_t last_id_ = 0;  // The table asked for last and its entry: most transactions
    Kept* last_ = nullptr;       // touch one or two.
    Kept& kept(std::uint32_t id);
    std::size_t kept_count_ = 0;
    std::vector<WT_CURSOR*> used_;  // Point cursors that may be positioned.
};

class SessionPool {
public:
    explicit SessionPool(WT_CONNECTION* connection) : connection_(connection) {}
    ~SessionPool() { close_all(); }

    /// Fails with TemporarilyUnavailable when too many are out.
    Result<std::unique_ptr<Session>> take();
    void give_back(std::unique_ptr<Session> session);

    /// Makes every session close its cursors: the idle ones now, the others when they come back.
    void close_cursors();
    void close_all();
    std::uint32_t in_use() const { return in_use_.load(std::memory_order_relaxed); }

private:
    WT_CONNECTION* const connection_;
    std::atomic<std::uint32_t> in_use_{0};
    std::atomic<std::uint64_t> drop_epoch_{0};
    std::mutex mutex_;  // Guards idle_.
    std::vector<std::unique_ptr<Session>> idle_;
};

}  // namespace tessera::storage::wiredtiger
