// SPDX-License-Identifier: Apache-2.0
#include "replication/write_unit.h"

#include "replication/session_catalog.h"

namespace tessera::replication {
namespace {

// {_id, shard key fields}: what names a document in the oplog.
bson::Document document_key(bson::View document, bson::View shard_key) {
    bson::Builder key;
    key.append("_id", document["_id"]);
    for (const bson::Element& field : shard_key) {
        if (field.name == "_id") continue;
        const bson::Value value = document.at_path(field.name);
        if (!value.is_missing()) key.append(field.name, value);
    }
    return std::move(key).finish();
}

}  // namespace

struct WriteUnit::State {
    struct Pending {  // The one entry of a unit that reserved nothing.
        OplogEntry entry;
        bson::Document object;
        std::optional<bson::Document> object2;
    };
    struct Image {
        bool is_post = false;
        bson::Document document;
    };

    Replication& replication;
    async::Clock& clock;
    WriteOrigin origin;
    catalog::CollectionLock transactions;  // Held until the commit when there is a session.
    catalog::CollectionLock images;
    OplogSlots slots;
    std::uint32_t slots_used = 0;
    std::optional<Pending> pending;
    std::optional<Image> image;
    std::vector<StatementId> statements;
    OpTime last;
    WallTime last_wall;  // Of the entry at `last`: the session record tells the same everywhere.
    std::string encoded;  // An entry at a time: the buffer serves them all.

    Oplog* oplog() const { return replication.oplog(); }
};

WriteUnit::WriteUnit(std::unique_ptr<State> state) : state_(std::move(state)) {}
WriteUnit::WriteUnit(WriteUnit&&) noexcept = default;

WriteUnit::~WriteUnit() {
    // The transaction ends before its slots close: readers must not pass a position that might
    // still be filled.
    if (transaction_) transaction_->rollback();
    transaction_.reset();
}

Result<WriteUnit> WriteUnit::begin(Replication& replication,
                                   storage::Engine& engine,
                                   async::Clock& clock,
                                   WriteOrigin origin) {
    WriteUnit unit(std::make_unique<State>(State{.replication = replication,
                                                 .clock = clock,
                                                 .origin = origin,
                                                 .transactions = {},
                                                 .images = {},
                                                 .slots = {},
                                                 .slots_used = 0,
                                                 .pending = {},
                                                 .image = {},
                                                 .statements = {},
                                                 .last = {},
                                                 .last_wall = {},
                                                 .encoded = {}}));
    TRY(unit.transaction_, engine.begin());
    return unit;
}

Status WriteUnit::reserve(std::uint32_t entries) {
    if (state_->oplog() == nullptr) return {};
    ENSURE(state_->slots.count() == 0 && !state_->pending);
    TRY(state_->slots, state_->oplog()->open_slots(entries, state_->clock.wall_now()));
    return {};
}

Status WriteUnit::insert(catalog::Collection& collection,
                         bson::View document,
                         StatementId statement,
                         bool validates) {
    const bool is_logged = state_->oplog() != nullptr && collection.ns().is_replicated();
    if (is_logged) TRY_OK(use_next_position());
    TRY([[maybe_unused]] const auto record, collection.insert(*transaction_, document, validates));
    if (!is_logged) return {};
    const bson::Document key = document_key(document, state_->origin.shard_key);
    OplogEntry entry;
    entry.kind = OpKind::insert;
    entry.ns = collection.ns().to_string();
    entry.uuid = collection.uuid();
    entry.object = document;
    entry.object2 = key.view();
    entry.from_migrate = state_->origin.from_migrate;
    return log(std::move(entry), statement);
}

Status WriteUnit::update(catalog::Collection& collection,
                         bson::RecordId id,
                         bson::View before,
                         bson::View after,
                         bson::View change,
                         StatementId statement,
                         bool validates) {
    const bool is_logged = state_->oplog() != nullptr && collection.ns().is_replicated();
    if (is_logged) TRY_OK(use_next_position());
    // `before` may be a view into the engine's page, which the update invalidates.
    const bson::Document key = document_key(before, state_->origin.shard_key);
    TRY_OK(collection.update(*transaction_, id, before, after, validates));
    if (!is_logged) return {};
    OplogEntry entry;
    entry.kind = OpKind::update;
    entry.ns = collection.ns().to_string();
    entry.uuid = collection.uuid();
    entry.object = change;
    entry.object2 = key.view();
    entry.from_migrate = state_->origin.from_migrate;
    return log(std::move(entry), statement);
}

Status WriteUnit::remove(catalog::Collection& collection,
                         bson::RecordId id,
                         bson::View before,
                         StatementId statement) {
    const bool is_logged = state_->oplog() != nullptr && collection.ns().is_replicated();
    if (is_logged) TRY_OK(use_next_position());
    const bson::Document key = document_key(before, state_->origin.shard_key);
    TRY_OK(collection.remove(*transaction_, id, before));
    if (!is_logged) return {};
    OplogEntry entry;
    entry.kind = OpKind::remove;
    entry.ns = collection.ns().to_string();
    entry.uuid = collection.uuid();
    entry.object = key.view();
    entry.from_migrate = state_->origin.from_migrate;
    return log(std::move(entry), statement);
}

Status WriteUnit::use_next_position() {
    if (state_->slots_used == state_->slots.count()) return {};  // None reserved: see commit().
    return transaction_->set_timestamp(state_->slots[state_->slots_used].timestamp);
}

OpTime WriteUnit::next_position() const {
    if (state_->slots_used == state_->slots.count()) return {};
    return state_->slots[state_->slots_used];
}

bson::Uuid WriteUnit::make_uuid() { return state_->replication.make_uuid(); }

Status WriteUnit::trim_capped(catalog::Collection& collection) {
    TRY(const auto excess, collection.capped_excess(*transaction_));
    for (const bson::RecordId id : excess) {
        TRY(const auto before, collection.find_record(*transaction_, id));
        if (!before) continue;
        const bson::Document copy(*before);
        TRY_OK(collection.remove(*transaction_, id, copy));
    }
    return {};
}

void WriteUnit::keep_image(bool is_post_image, bson::View image) {
    if (state_->origin.session == nullptr) return;
    state_->image = State::Image{is_post_image, bson::Document(image)};
}

Status WriteUnit::command(const Namespace& ns,
                          const std::optional<bson::Uuid>& uuid,
                          bson::View object,
                          std::optional<bson::View> object2) {
    if (state_->oplog() == nullptr || !ns.is_replicated()) return {};
    OplogEntry entry;
    entry.kind = OpKind::command;
    entry.ns = ns.command_namespace();
    entry.uuid = uuid;
    entry.object = object;
    entry.object2 = object2;
    entry.from_migrate = state_->origin.from_migrate;
    return log(std::move(entry), no_statement);
}

Status WriteUnit::no_op(std::string_view ns,
                        const std::optional<bson::Uuid>& uuid,
                        bson::View object,
                        std::optional<bson::View> object2) {
    if (state_->oplog() == nullptr) return {};
    OplogEntry entry;
    entry.kind = OpKind::no_op;
    entry.ns = ns;
    entry.uuid = uuid;
    entry.object = object;
    entry.object2 = object2;
    entry.from_migrate = state_->origin.from_migrate;
    return log(std::move(entry), no_statement);
}

Status WriteUnit::remember_statement(StatementId statement) {
    if (state_->origin.session == nullptr || state_->oplog() == nullptr) return {};
    OplogEntry entry;
    const bson::Document message = bson::make("msg", "statement without effect");
    entry.object = message;
    return log(std::move(entry), statement);
}

Status WriteUnit::remember_foreign(StatementId statement, bson::View original_entry) {
    if (state_->origin.session == nullptr || state_->oplog() == nullptr) return {};
    OplogEntry entry;
    const bson::Document mark = bson::make("$sessionMigrateInfo", 1);
    entry.object = mark;
    entry.object2 = original_entry;
    entry.from_migrate = true;
    return log(std::move(entry), statement);
}

Status WriteUnit::log(OplogEntry entry, StatementId statement) {
    State& state = *state_;
    if (Session* const session = state.origin.session; session != nullptr) {
        EntrySession part;
        part.id = session->id();
        part.txn_number = session->txn_number();
        if (statement != no_statement) part.statements.push_back(statement);
        part.previous = state.last.is_null() ? session->last_write() : state.last;
        if (state.image) part.needs_retry_image = state.image->is_post ? "postImage" : "preImage";
        entry.session = std::move(part);
        if (statement != no_statement) state.statements.push_back(statement);
    }
    if (state.slots.count() == 0) {
        // The position comes at the commit; until then the entry needs documents of its own.
        ENSURE(!state.pending);
        State::Pending pending{entry, bson::Document(entry.object), {}};
        if (entry.object2) pending.object2 = bson::Document(*entry.object2);
        state.pending = std::move(pending);
        state.pending->entry.object = state.pending->object;
        if (state.pending->object2) state.pending->entry.object2 = state.pending->object2->view();
        return {};
    }
    ENSURE(state.slots_used < state.slots.count());
    state.last = state.slots[state.slots_used++];
    TRY_OK(transaction_->set_timestamp(state.last.timestamp));
    state.last_wall = state.clock.wall_now();
    state.encoded.clear();
    entry.encode(state.last, state.last_wall, state.encoded);
    return state.oplog()->write(*transaction_, state.last, state.encoded);
}

Result<OpTime> WriteUnit::commit() {
    State& state = *state_;
    if (state.pending) {
        TRY(state.slots, state.oplog()->open_slots(1, state.clock.wall_now()));
        state.last = state.slots[0];
        TRY_OK(transaction_->set_timestamp(state.last.timestamp));
        state.last_wall = state.clock.wall_now();
        state.pending->entry.encode(state.last, state.last_wall, state.encoded);
        TRY_OK(state.oplog()->write(*transaction_, state.last, state.encoded));
    }
    Session* const session = state.last.is_null() ? nullptr : state.origin.session;
    if (session != nullptr) {
        auto& catalog = state.replication.catalog();
        state.transactions = catalog.lock_shared(transactions_ns);
        ENSURE(state.transactions.collection() != nullptr);
        const SessionRecord record{session->txn_number(), state.last, state.last_wall};
        TRY(session->record,
            write_session_record(*transaction_, *state.transactions, session->id(), record,
                                 session->record));
        if (state.image) {
            state.images = catalog.lock_shared(images_ns);
            ENSURE(state.images.collection() != nullptr);
            TRY_OK(write_image(*transaction_, *state.images, session->id(), session->txn_number(),
                               state.last.timestamp,
                               state.image->is_post ? "postImage" : "preImage",
                               state.image->document));
        }
    }
    TRY_OK(transaction_->commit());
    state.slots.commit();
    state.replication.on_commit();
    if (session != nullptr) session->remember(state.statements, state.last);
    return state.last;
}

}  // namespace tessera::replication
