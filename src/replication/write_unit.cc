// SPDX-License-Identifier: Apache-2.0
#include "replication/write_unit.h"

#include "replication/session_catalog.h"

namespace tessera::replication {
namespace {

// Encoded entries of this size are worth keeping the buffer for the thread's next unit.
constexpr std::size_t kept_buffer_bytes = std::size_t{256} << 10;

bson::Document document_key(bson::View document, bson::View shard_key) {
    bson::Builder key;
    append_document_key(document, shard_key, key);
    return std::move(key).finish();
}

// Where entries are encoded. A unit does not leave its thread, and threads write unit after unit.
class EntryBuffer {
public:
    EntryBuffer() : bytes_(std::move(spare())) { bytes_.clear(); }
    EntryBuffer(const EntryBuffer&) = delete;
    EntryBuffer& operator=(const EntryBuffer&) = delete;
    ~EntryBuffer() {
        if (bytes_.capacity() <= kept_buffer_bytes) spare() = std::move(bytes_);
    }
    std::string& operator*() { return bytes_; }

private:
    static std::string& spare() {
        static thread_local std::string bytes;
        return bytes;
    }
    std::string bytes_;
};

}  // namespace

struct WriteUnit::State {
    State(Replication& its_replication, async::Clock& its_clock, WriteOrigin its_origin)
        : replication(its_replication), clock(its_clock), origin(its_origin) {}

    struct Pending {  // The one entry of a unit that reserved nothing: its position is missing.
        bson::Builder entry;
        std::optional<OpTime> previous;
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
    std::optional<Image> image;
    std::vector<StatementId> statements;
    OpTime last;
    WallTime last_wall;  // Of the entry at `last`: the session record tells the same everywhere.
    EntryBuffer encoded;  // An entry at a time: the buffer serves them all.
    std::optional<Pending> pending;

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
    WriteUnit unit(std::make_unique<State>(replication, clock, origin));
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
    TRY([[maybe_unused]] const auto record,
        collection.insert(*transaction_, document, {.validates = validates}));
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

Status WriteUnit::insert_all(catalog::Collection& collection,
                             std::span<const InsertStatement> inserts,
                             bool validates) {
    if (inserts.size() == 1)
        return insert(collection, inserts[0].document, inserts[0].statement, validates);
    const bool is_logged = state_->oplog() != nullptr && collection.ns().is_replicated();
    ENSURE(!is_logged || state_->slots.count() == 0);
    for (const InsertStatement& each : inserts) {
        TRY([[maybe_unused]] const auto record,
            collection.insert(*transaction_, each.document, {.validates = validates}));
    }
    if (!is_logged) return {};
    const std::string ns = collection.ns().to_string();
    const WriteOrigin& origin = state_->origin;
    const InsertedBatch batch{
        ns, collection.uuid(), inserts, origin.shard_key, origin.from_migrate};
    OplogEntry entry;
    entry.kind = OpKind::command;
    entry.ns = "admin.$cmd";
    entry.batch = &batch;
    if (origin.session != nullptr)
        for (const InsertStatement& each : inserts)
            if (each.statement != no_statement) state_->statements.push_back(each.statement);
    return log(std::move(entry), no_statement);
}

Status WriteUnit::update(catalog::Collection& collection,
                         const UpdateStatement& update,
                         bool validates) {
    const bool is_logged = state_->oplog() != nullptr && collection.ns().is_replicated();
    if (is_logged) TRY_OK(use_next_position());
    // What was before may be a view into the engine's page, which the update invalidates.
    const bson::Document key = document_key(update.before, state_->origin.shard_key);
    TRY_OK(collection.update(
        *transaction_, update.id, update.before, update.after, {.validates = validates}));
    if (!is_logged) return {};
    OplogEntry entry;
    entry.kind = OpKind::update;
    entry.ns = collection.ns().to_string();
    entry.uuid = collection.uuid();
    entry.object = update.change;
    entry.object2 = key.view();
    entry.from_migrate = state_->origin.from_migrate;
    return log(std::move(entry), update.statement);
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

catalog::Catalog& WriteUnit::catalog() const {
    return state_->replication.catalog();
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
        // The position comes at the commit.
        ENSURE(!state.pending);
        // clang 14 does not initialise an aggregate by parentheses.
        state.pending.emplace(State::Pending{bson::Builder(*state.encoded), std::nullopt});
        entry.begin(state.pending->entry);
        if (entry.session) state.pending->previous = entry.session->previous;
        return {};
    }
    ENSURE(state.slots_used < state.slots.count());
    state.last = state.slots[state.slots_used++];
    TRY_OK(transaction_->set_timestamp(state.last.timestamp));
    state.last_wall = state.clock.wall_now();
    (*state.encoded).clear();
    entry.encode(state.last, state.last_wall, *state.encoded);
    return state.oplog()->write(*transaction_, state.last, *state.encoded);
}

Result<OpTime> WriteUnit::commit() {
    State& state = *state_;
    if (state.pending) {
        TRY(state.slots, state.oplog()->open_slots(1, state.clock.wall_now()));
        state.last = state.slots[0];
        TRY_OK(transaction_->set_timestamp(state.last.timestamp));
        state.last_wall = state.clock.wall_now();
        bson::Builder& entry = state.pending->entry;
        OplogEntry::end(entry, state.last, state.last_wall, state.pending->previous);
        entry.done();
        TRY_OK(state.oplog()->write(*transaction_, state.last, *state.encoded));
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
            TRY_OK(write_image(*transaction_,
                               *state.images,
                               session->id(),
                               {session->txn_number(),
                                state.last.timestamp,
                                state.image->is_post,
                                state.image->document}));
        }
    }
    TRY_OK(transaction_->commit());
    state.slots.commit();
    state.replication.on_commit();
    if (session != nullptr) session->remember(state.statements, state.last);
    return state.last;
}

}  // namespace tessera::replication
