// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "storage/wiredtiger/session.h"
#include "storage/wiredtiger/value_packing.h"

namespace tessera::storage::wiredtiger {

class WiredTigerEngine;
class WiredTigerTransaction;

class WiredTigerCursor final : public Cursor {
public:
    WiredTigerCursor(WiredTigerTransaction& transaction, Table& table, Direction direction);
    ~WiredTigerCursor() override { let_go(); }

    Result<bool> rewind() override;
    Result<bool> seek(std::string_view key) override;
    Result<bool> seek_after(std::string_view key) override;
    Result<bool> next() override;
    void save() override;
    Status restore(Transaction& transaction) override;

    /// Called by the transaction when it ends first.
    void let_go();

private:
    Status open();
    Result<bool> step();
    Result<bool> near(std::string_view key, bool is_strict);
    Result<bool> arrived(int code);

    enum class State : std::uint8_t { unpositioned, positioned, at_end, saved };

    WiredTigerTransaction* transaction_;  // Null while saved.
    Table& table_;
    const Direction direction_;
    CursorKind kind_;
    State state_ = State::unpositioned;
    WT_CURSOR* cursor_ = nullptr;
    std::string saved_key_;
    Scratch unpacked_;
};

class WiredTigerTransaction final : public Transaction {
public:
    WiredTigerTransaction(WiredTigerEngine& engine,
                          std::unique_ptr<Session> session,
                          const TransactionOptions& options)
        : Transaction(options), engine_(engine), session_(std::move(session)) {}
    ~WiredTigerTransaction() override { rollback(); }

    Result<std::optional<std::string_view>> get(Table& table, std::string_view key) override;
    Status put(Table& table, std::string_view key, std::string_view value) override;
    Result<bool> insert(Table& table, std::string_view key, std::string_view value) override;
    Result<bool> remove(Table& table, std::string_view key) override;
    Status truncate(Table& table, std::string_view begin, std::string_view end) override;
    std::unique_ptr<Cursor> open_cursor(Table& table, Direction direction) override;

    Status set_timestamp(Timestamp at) override;
    Status commit() override;
    void rollback() override;
    Status prepare(Timestamp at) override;
    Status commit_prepared(Timestamp commit_timestamp, Timestamp durable_timestamp) override;

    Session& session() { return *session_; }
    void add(WiredTigerCursor* cursor) { cursors_.push_back(cursor); }
    void forget(WiredTigerCursor* cursor) { std::erase(cursors_, cursor); }

private:
    Error write_error(int code, const Table& table);
    void end();

    WiredTigerEngine& engine_;
    std::unique_ptr<Session> session_;
    std::vector<WiredTigerCursor*> cursors_;
    Scratch unpacked_;
};

}  // namespace tessera::storage::wiredtiger
