// SPDX-License-Identifier: Apache-2.0
//
// WriteUnit: one storage transaction, the oplog entries that describe it and the session record
// that makes it happen once. All of it commits at the entries' positions, or none of it
// (docs/storage.md). A unit holds one entry, whose position is taken just before the commit so that
// no reader waits for slow work; or several, whose positions are taken first by reserve().
//
// Synchronous: no coroutine may suspend while it is open. After WriteConflict the caller makes a
// new unit and does everything again (see commands/write_retry.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/collection.h"
#include "replication/oplog.h"
#include "replication/oplog_entry.h"
#include "replication/replication.h"
#include "storage/engine.h"

namespace tessera::replication {

class Session;

/// Who writes and why, the same for every entry of a unit.
struct WriteOrigin {
    /// A checked-out session with an open retryable write; null otherwise.
    Session* session = nullptr;
    bool from_migrate = false;
    /// A sharded collection's key pattern: its fields stand in o2 (and a delete's o) after _id.
    bson::View shard_key;
};

struct UpdateStatement {
    bson::RecordId id;
    bson::View before;  // What is stored; may be a view into the engine's page.
    bson::View after;
    bson::View change;  // What the oplog says: {$v: 2, diff} or the whole new document.
    StatementId statement = no_statement;
};

class WriteUnit {
public:
    /// Begins the storage transaction. Fails with NotWritablePrimary where the namespace is
    /// replicated and this member is no primary.
    static Result<WriteUnit> begin(Replication& replication,
                                   storage::Engine& engine,
                                   async::Clock& clock,
                                   WriteOrigin origin = {});
    WriteUnit(WriteUnit&&) noexcept;
    ~WriteUnit();  // Rolls back unless committed.

    storage::Transaction& transaction() { return *transaction_; }
    catalog::Catalog& catalog() const;

    /// Takes positions for `entries` entries. Call before the first write of a unit of several.
    Status reserve(std::uint32_t entries);

    Status insert(catalog::Collection& collection,
                  bson::View document,
                  StatementId statement,
                  bool validates = true);
    /// Several documents as one entry, an applyOps; the unit then holds nothing else.
    Status insert_all(catalog::Collection& collection,
                      std::span<const InsertStatement> inserts,
                      bool validates = true);
    Status update(catalog::Collection& collection,
                  const UpdateStatement& update,
                  bool validates = true);
    Status remove(catalog::Collection& collection,
                  bson::RecordId id,
                  bson::View before,
                  StatementId statement);
    /// Removes a capped collection's oldest documents beyond its limits. Deletes by the limit are
    /// not logged one by one: every member trims by itself, in insertion order.
    Status trim_capped(catalog::Collection& collection);
    /// The document before or after this unit's update or delete, kept for a retried
    /// findAndModify (config.image_collection). Call right before that update() or remove().
    void keep_image(bool is_post_image, bson::View image);
    /// A command entry ("c") for DDL that the caller has done in transaction().
    Status command(const Namespace& ns,
                   const std::optional<bson::Uuid>& uuid,
                   bson::View object,
                   std::optional<bson::View> object2);
    /// A no-op entry ("n").
    Status no_op(std::string_view ns,
                 const std::optional<bson::Uuid>& uuid,
                 bson::View object,
                 std::optional<bson::View> object2);
    /// A statement that changed nothing but must be remembered as executed.
    Status remember_statement(StatementId statement);
    /// A statement of this session that another shard executed before the document moved here:
    /// logged as a no-op with that shard's entry, so that a retry finds it executed.
    Status remember_foreign(StatementId statement, bson::View original_entry);

    /// Makes the next reserved position the timestamp of what is written from now on; nothing where
    /// there is no oplog. insert(), update() and remove() do it themselves.
    Status use_next_position();
    /// The next reserved position; null without an oplog.
    OpTime next_position() const;
    /// A fresh UUID, for what this unit creates.
    bson::Uuid make_uuid();

    /// Commits. Returns the last entry's position; null when nothing was logged.
    Result<OpTime> commit();

private:
    struct State;
    explicit WriteUnit(std::unique_ptr<State> state);
    Status log(OplogEntry entry, StatementId statement);

    std::unique_ptr<State> state_;
    std::unique_ptr<storage::Transaction> transaction_;
};

}  // namespace tessera::replication
