// SPDX-License-Identifier: Apache-2.0
#include "storage/backup.h"

#include "storage/wiredtiger/engine.h"

namespace tessera::storage {
namespace {

// A "backup:" cursor: WiredTiger keeps the files it names until it is closed.
class WiredTigerBackup final : public Backup {
public:
    ~WiredTigerBackup() override {
        if (cursor_ != nullptr) cursor_->close(cursor_);
        if (session_ != nullptr) session_->close(session_, nullptr);
    }
    Status open(WT_CONNECTION* connection) {
        TRY_OK(wiredtiger::to_status(
            connection->open_session(connection, nullptr, nullptr, &session_), "open a session"));
        return wiredtiger::to_status(
            session_->open_cursor(session_, "backup:", nullptr, nullptr, &cursor_),
            "begin a backup");
    }

private:
    WT_SESSION* session_ = nullptr;
    WT_CURSOR* cursor_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Backup>> begin_backup(Engine& engine) {
    // The memory engine has no files to copy.
    auto* const durable = dynamic_cast<wiredtiger::WiredTigerEngine*>(&engine);
    if (durable == nullptr) return std::unique_ptr<Backup>();
    auto backup = std::make_unique<WiredTigerBackup>();
    TRY_OK(backup->open(durable->connection()));
    return std::unique_ptr<Backup>(std::move(backup));
}

}  // namespace tessera::storage
