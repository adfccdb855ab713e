// SPDX-License-Identifier: Apache-2.0
#include "replication/test_set.h"

#include <algorithm>

#include "bson/json.h"

namespace tessera::replication {
namespace {

constexpr Duration flight = 500us;

struct Pending {
    std::optional<Result<std::string>> answer;
    async::Notification arrived;
};

std::string error_reply(const Error& error) {
    bson::Builder reply;
    reply.append("ok", 0.0).append("errmsg", error.reason());
    reply.append("code", static_cast<std::int32_t>(error.code()));
    return std::move(std::move(reply).finish()).release();
}

async::Task<void> deliver(TestSet& set,
                          HostAndPort from,
                          HostAndPort to,
                          std::string command,
                          std::shared_ptr<Pending> pending) {
    // Counted as long as this coroutine's frame lives.
    const std::shared_ptr<void> counted(nullptr, [&set](void*) { --set.calls_under_way; });
    co_await async::sleep_until(set.clock, set.clock.now() + flight);
    if (set.can_talk(from, to)) {
        std::string reply = co_await set.find(to)->handle(std::move(command));
        co_await async::sleep_until(set.clock, set.clock.now() + flight);
        if (set.can_talk(from, to)) pending->answer = Result<std::string>(std::move(reply));
    }
    if (!pending->answer)
        pending->answer = Result<std::string>(
            Error(ErrorCode::host_unreachable,
                  "Error connecting to " + to.to_string() + " :: caused by :: Connection refused"));
    pending->arrived.notify();
}

async::Task<Result<std::string>> exchange(TestSet& set,
                                          HostAndPort from,
                                          async::RemoteCall request,
                                          async::Cancellation cancellation) {
    const Instant deadline = request.deadline;
    const auto pending = std::make_shared<Pending>();
    ++set.calls_under_way;
    async::spawn(set.executor,
                 deliver(set, from, request.target, std::move(request.command_bson), pending));
    while (!pending->answer) {
        const auto ticket = pending->arrived.ticket();
        const auto outcome =
            co_await pending->arrived.wait(set.clock, deadline, ticket, cancellation);
        if (pending->answer) break;
        if (outcome == async::Notification::Outcome::cancelled)
            co_return Error(ErrorCode::callback_canceled, "cancelled");
        if (outcome == async::Notification::Outcome::timed_out)
            co_return Error(ErrorCode::network_interface_exceeded_time_limit, "too late");
    }
    co_return *pending->answer;
}

class TestStream : public async::Stream {
public:
    TestStream(TestSet& set, HostAndPort from, HostAndPort to)
        : set_(set), from_(std::move(from)), to_(std::move(to)) {}
    async::Task<Result<std::string>> call(std::string command,
                                          Instant deadline,
                                          async::Cancellation cancellation) override {
        async::RemoteCall request;
        request.target = to_;
        request.command_bson = std::move(command);
        request.deadline = deadline;
        return exchange(set_, from_, std::move(request), std::move(cancellation));
    }

private:
    TestSet& set_;
    HostAndPort from_;
    HostAndPort to_;
};

class TestTransport : public async::Transport {
public:
    TestTransport(TestSet& set, HostAndPort from) : set_(set), from_(std::move(from)) {}
    async::Task<Result<std::string>> call(async::RemoteCall request,
                                          async::Cancellation cancellation) override {
        return exchange(set_, from_, std::move(request), std::move(cancellation));
    }
    async::Task<Result<std::unique_ptr<async::Stream>>> open(HostAndPort target,
                                                             Instant,
                                                             async::Cancellation) override {
        if (!set_.can_talk(from_, target))
            co_return Error(ErrorCode::host_unreachable, "Connection refused");
        co_return std::unique_ptr<async::Stream>(std::make_unique<TestStream>(set_, from_, target));
    }
    void drop_connections(const HostAndPort&) override {}

private:
    TestSet& set_;
    HostAndPort from_;
};

bson::Document cursor_reply(std::int64_t id, bool is_first, const bson::Document& batch) {
    bson::Builder reply;
    {
        bson::Builder cursor = reply.object("cursor");
        cursor.append("id", id);
        cursor.append_array(is_first ? "firstBatch" : "nextBatch", batch);
    }
    return std::move(reply).finish();
}

}  // namespace

// ---- A member ---------------------------------------------------------------------------------

TestMember::TestMember(TestSet& set,
                       HostAndPort its_host,
                       std::string set_name,
                       std::unique_ptr<storage::memory::MemoryEngine> its_engine)
    : host(std::move(its_host)), engine(std::move(its_engine)), set_(set) {
    flusher = std::make_unique<storage::DurabilityFlusher>(*engine, storage::FlushBy::caller);
    auto opened = catalog::Catalog::open(*engine, false, set.random);
    ASSERT(opened.has_value());
    catalog = std::move(*opened);
    transport = std::make_unique<TestTransport>(set, host);
    Options options;
    options.set_name = std::move(set_name);
    options.host = host;
    options.oplog_bytes_max = set.oplog_bytes_max;
    replication = std::make_unique<Replication>(Replication::Environment{*engine,
                                                                         *catalog,
                                                                         *flusher,
                                                                         set.clock,
                                                                         *transport,
                                                                         set.executor,
                                                                         set.executor,
                                                                         logical_clock,
                                                                         set.random},
                                                options);
    sessions = std::make_unique<SessionCatalog>(*replication, *catalog, *engine, set.clock);
    replication->add_observer(*sessions);
    ASSERT(replication->start().has_value());
}

async::Task<std::string> TestMember::handle(std::string command) {
    ++handling;
    auto reply = co_await run(bson::Document::adopt(std::move(command)));
    --handling;
    if (!reply) co_return error_reply(reply.error());
    bson::Builder whole;
    whole.append_all(*reply).append("ok", 1.0);
    co_return std::move(std::move(whole).finish()).release();
}

async::Task<Result<bson::Document>> TestMember::run(bson::Document command) {
    const std::string name(command.view().front().name);
    const std::string db(command["$db"].as_string());
    if (name == "replSetHeartbeat") co_return co_await replication->on_heartbeat(command);
    if (name == "replSetRequestVotes") co_return co_await replication->on_request_votes(command);
    if (name == "replSetUpdatePosition")
        co_return co_await replication->on_update_position(command);
    if (name == "voteCommitIndexBuild")
        co_return co_await replication->on_vote_commit_build(command);
    if (name == "replSetStepUp") {
        CO_TRY_OK(co_await replication->step_up(command["skipDryRun"].is_truthy()));
        co_return bson::Document();
    }
    if (name == "replSetGetRBID") co_return bson::make("rbid", replication->rollback_id());
    if (name == "_isSelf") co_return bson::make("id", replication->instance_id());
    if (name == "find") co_return find_command(command);
    if (name == "getMore") co_return co_await get_more(std::move(command));
    if (name == "listCollections") co_return list_collections(db);
    bson::Builder reply;
    if (name == "listDatabases") {
        auto list = reply.array("databases");
        for (const std::string& each : catalog->databases())
            list.object().append("name", each);
        list.done();
        co_return std::move(reply).finish();
    }
    if (name == "listIndexes") {
        const Namespace ns{db, std::string(command.view().front().value.as_string())};
        const auto collection = catalog->find(ns);
        if (collection == nullptr) co_return Error(ErrorCode::namespace_not_found, "ns not found");
        bson::ArrayBuilder batch;
        for (const auto& index : collection->indexes())
            batch.append(index->spec());
        for (const auto& [owner, build] : catalog->noted_builds())
            for (const bson::Document& spec : build.specs)
                if (owner->uuid() == collection->uuid())
                    batch.append(bson::make("spec", spec, "buildUUID", build.id));
        co_return cursor_reply(0, true, std::move(batch).finish());
    }
    co_return Error(ErrorCode::command_not_found, "no such command: " + name);
}

bson::Document TestMember::list_collections(const std::string& db) {
    bson::ArrayBuilder batch;
    for (const auto& collection : catalog->collections(db)) {
        bson::Builder info = batch.object();
        info.append("name", collection->ns().collection).append("type", "collection");
        info.append("options", collection->options().document);
        info.object("info").append("readOnly", false).append("uuid", collection->uuid());
    }
    return cursor_reply(0, true, std::move(batch).finish());
}

Result<bson::Document> TestMember::find_command(bson::View command) {
    const Namespace ns{std::string(command["$db"].as_string()),
                       std::string(command.front().value.as_string())};
    if (ns.is_oplog()) return find_oplog(command);
    bson::ArrayBuilder batch;
    const auto lock = catalog->lock_shared(ns);
    if (lock) {
        TRY(const auto transaction, engine->begin());
        const auto cursor = transaction->open_cursor(*lock->record_table());
        TRY(bool found, cursor->rewind());
        while (found) {
            batch.append(bson::View(cursor->value().data()));
            TRY(found, cursor->next());
        }
    }
    return cursor_reply(0, true, std::move(batch).finish());
}

void TestMember::append_oplog(bson::ArrayBuilder& batch, Timestamp& next, Timestamp upto) {
    if (served_upto) upto = std::min(upto, *served_upto);
    for (const bson::Document& entry : oplog()) {
        const Timestamp at = entry["ts"].as_timestamp();
        if (at < next || at > upto) continue;
        batch.append(entry);
        next = Timestamp::unpack(at.packed() + 1);
    }
}

Result<bson::Document> TestMember::find_oplog(bson::View command) {
    bson::ArrayBuilder batch;
    if (replication->oplog() == nullptr) return cursor_reply(0, true, std::move(batch).finish());
    const bson::Value ts =
        command["filter"].is_object() ? command["filter"].as_view()["ts"] : bson::Value();
    Timestamp from;
    Timestamp upto = replication->oplog()->visible().timestamp;
    if (ts.is_object()) {
        const bson::View range = ts.as_view();
        if (range.has("$gte")) from = range["$gte"].as_timestamp();
        if (range.has("$lte")) upto = std::min(upto, range["$lte"].as_timestamp());
    }
    if (command["sort"].is_object()) {
        auto entries = oplog();
        std::erase_if(entries,
                      [&](const auto& entry) { return entry["ts"].as_timestamp() > upto; });
        if (command["sort"].as_view()["$natural"].to_int64() < 0)
            std::reverse(entries.begin(), entries.end());
        if (command["limit"].is_number() && !entries.empty()) entries.resize(1);
        for (const auto& entry : entries)
            batch.append(entry);
        return cursor_reply(0, true, std::move(batch).finish());
    }
    append_oplog(batch, from, upto);
    std::int64_t id = 0;
    if (command["tailable"].is_truthy()) {
        id = ++last_cursor_;
        const bool has_read = batch.count() > 0;
        cursors_[id] = {from, has_read ? Timestamp::unpack(from.packed() - 1) : Timestamp()};
    }
    bson::Builder reply;
    reply.append_all(cursor_reply(id, true, std::move(batch).finish()));
    replication->append_metadata(
        reply, command["$replData"].is_truthy(), command["$oplogQueryData"].is_truthy());
    return std::move(reply).finish();
}

async::Task<Result<bson::Document>> TestMember::get_more(bson::Document command) {
    const std::int64_t id = command.view().front().value.to_int64();
    if (!cursors_.contains(id)) co_return Error(ErrorCode::cursor_not_found, "no cursor");
    if (command["term"].is_number()) replication->observe_term(command["term"].to_int64());
    const OpTime known = *parse_optime(command["lastKnownCommittedOpTime"]);
    const auto note_last = [&] {
        cursors_[id].last = Timestamp::unpack(cursors_[id].next.packed() - 1);
    };
    const Instant deadline =
        set_.clock.now() + std::chrono::milliseconds(command["maxTimeMS"].to_int64());
    bson::ArrayBuilder batch;
    while (true) {
        Oplog& log = *replication->oplog();
        const auto ticket = log.grown().ticket();
        const auto present = oplog();
        if (!present.empty() && !cursors_[id].last.is_null() &&
            present.front()["ts"].as_timestamp() > cursors_[id].last)
            co_return Error(ErrorCode::capped_position_lost, "the position is gone");
        append_oplog(batch, cursors_[id].next, log.visible().timestamp);
        if (batch.count() > 0 || known < replication->commit_point()) break;
        async::Cancellation cancellation = dying;
        const auto outcome = co_await log.grown().wait(set_.clock, deadline, ticket, cancellation);
        if (outcome != async::Notification::Outcome::notified) break;
    }
    if (!is_alive) co_return Error(ErrorCode::interrupted_at_shutdown, "dying");
    if (batch.count() > 0) note_last();
    bson::Builder reply;
    reply.append_all(cursor_reply(id, false, std::move(batch).finish()));
    replication->append_metadata(reply, true, true);
    co_return std::move(reply).finish();
}

// ---- Its data ---------------------------------------------------------------------------------

Status TestMember::ensure(const Namespace& ns) {
    if (catalog->find(ns) != nullptr) return {};
    const auto lock = catalog->lock_exclusive(ns);
    TRY(auto unit, WriteUnit::begin(*replication, *engine, set_.clock));
    TRY_OK(unit.reserve(1));
    TRY([[maybe_unused]] const OpTime at, create_collection(unit, *catalog, ns, {}));
    return {};
}

Result<OpTime> TestMember::insert(const Namespace& ns, bson::View document) {
    TRY_OK(replication->check_writable(ns));
    TRY_OK(ensure(ns));
    const auto lock = catalog->lock_shared(ns);
    TRY(auto unit, WriteUnit::begin(*replication, *engine, set_.clock));
    TRY_OK(unit.insert(*lock, document, no_statement));
    return unit.commit();
}

Result<OpTime> TestMember::in_session(const Namespace& ns, Session& session, const Write& write) {
    TRY_OK(replication->check_writable(ns));
    TRY_OK(ensure(ns));
    TRY_OK(sessions->ensure_collections());
    const auto lock = catalog->lock_shared(ns);
    WriteOrigin origin;
    origin.session = &session;
    TRY(auto unit, WriteUnit::begin(*replication, *engine, set_.clock, origin));
    TRY_OK(write(unit, *lock));
    return unit.commit();
}

Result<OpTime> TestMember::insert_in_session(const Namespace& ns,
                                             bson::View document,
                                             Session& session) {
    return in_session(ns, session, [&](WriteUnit& unit, catalog::Collection& collection) {
        return unit.insert(collection, document, 0);
    });
}

Result<OpTime> TestMember::insert_in_session(const Namespace& ns,
                                             std::span<const bson::Document> documents,
                                             Session& session) {
    return in_session(ns, session, [&](WriteUnit& unit, catalog::Collection& collection) -> Status {
        TRY_OK(unit.reserve(static_cast<std::uint32_t>(documents.size())));
        StatementId statement = 0;
        for (const bson::Document& document : documents)
            TRY_OK(unit.insert(collection, document, statement++));
        return {};
    });
}

Result<OpTime> TestMember::insert_batch(const Namespace& ns,
                                        std::span<const bson::Document> documents,
                                        Session& session) {
    std::vector<InsertStatement> inserts;
    for (const bson::Document& document : documents)
        inserts.push_back({document, static_cast<StatementId>(inserts.size())});
    return in_session(ns, session, [&](WriteUnit& unit, catalog::Collection& collection) {
        return unit.insert_all(collection, inserts);
    });
}

Result<OpTime> TestMember::update(const Namespace& ns,
                                  std::int32_t id,
                                  bson::View after,
                                  bson::View change) {
    const auto lock = catalog->lock_shared(ns);
    TRY(auto unit, WriteUnit::begin(*replication, *engine, set_.clock));
    const bson::Document key = bson::make("_id", id);
    TRY(const auto found, lock->find_by_id(unit.transaction(), key["_id"]));
    ENSURE(found.has_value());
    const bson::RecordId record = found->id;
    const bson::Document before(found->document);
    TRY_OK(unit.update(*lock, {record, before, after, change}));
    return unit.commit();
}

Result<OpTime> TestMember::remove(const Namespace& ns, std::int32_t id) {
    const auto lock = catalog->lock_shared(ns);
    TRY(auto unit, WriteUnit::begin(*replication, *engine, set_.clock));
    const bson::Document key = bson::make("_id", id);
    TRY(const auto found, lock->find_by_id(unit.transaction(), key["_id"]));
    ENSURE(found.has_value());
    const bson::RecordId record = found->id;
    const bson::Document before(found->document);
    TRY_OK(unit.remove(*lock, record, before, no_statement));
    return unit.commit();
}

Result<OpTime> TestMember::drop(const Namespace& ns) {
    const auto lock = catalog->lock_exclusive(ns);
    TRY(auto unit, WriteUnit::begin(*replication, *engine, set_.clock));
    TRY_OK(unit.reserve(1));
    return drop_collection(unit, *catalog, ns);
}

std::optional<bson::Document> TestMember::find(const Namespace& ns, std::int32_t id) {
    const auto lock = catalog->lock_shared(ns);
    if (!lock) return std::nullopt;
    const auto transaction = engine->begin();
    ASSERT(transaction.has_value());
    const bson::Document key = bson::make("_id", id);
    const auto found = lock->find_by_id(**transaction, key["_id"]);
    if (!found || !*found) return std::nullopt;
    return bson::Document((*found)->document);
}

std::size_t TestMember::count(const Namespace& ns) {
    const auto reply = find_command(bson::make("find", ns.collection, "$db", ns.db));
    return (*reply)["cursor"].as_view()["firstBatch"].as_view().count();
}

std::map<std::int32_t, bson::Document> TestMember::contents(const Namespace& ns) {
    const auto reply = find_command(bson::make("find", ns.collection, "$db", ns.db));
    std::map<std::int32_t, bson::Document> result;
    for (const bson::Element& each : (*reply)["cursor"].as_view()["firstBatch"].as_view())
        result.emplace(each.value.as_view()["_id"].as_int32(), each.value.as_view());
    return result;
}

std::vector<bson::Document> TestMember::oplog() {
    std::vector<bson::Document> result;
    Oplog* const log = replication->oplog();
    if (log == nullptr) return result;
    const auto transaction = engine->begin();
    ASSERT(transaction.has_value());
    const auto cursor = (*transaction)->open_cursor(log->table());
    auto found = cursor->rewind();
    while (*found && Oplog::timestamp_of(cursor->key()) <= log->visible().timestamp) {
        result.push_back(bson::Document::adopt(std::string(cursor->value())));
        found = cursor->next();
    }
    return result;
}

void TestMember::shorten_oplog(std::size_t kept) {
    const auto entries = oplog();
    if (entries.size() <= kept) return;
    const Timestamp first = entries[entries.size() - kept]["ts"].as_timestamp();
    auto transaction = engine->begin();
    ASSERT(transaction.has_value());
    const auto cut =
        (*transaction)->truncate(replication->oplog()->table(), {}, Oplog::key_of(first));
    ASSERT(cut && (*transaction)->commit());
}

// ---- The set ----------------------------------------------------------------------------------

TestSet::TestSet(int members, std::string name, storage::memory::Options engines)
    : name_(std::move(name)), engines_(engines) {
    for (int i = 0; i < members; ++i)
        add();
}

TestSet::~TestSet() {
    for (std::size_t i = 0; i < members_.size(); ++i)
        kill(i);
    // What is still on its way arrives, at nobody.
    const bool is_quiet = wait([&] { return calls_under_way == 0; });
    ASSERT(is_quiet);
    executor.run();
}

TestMember& TestSet::add() {
    const HostAndPort host{"n" + std::to_string(members_.size()), 27017};
    members_.push_back(
        std::make_unique<TestMember>(*this, host, name_, storage::memory::open(engines_)));
    return *members_.back();
}

void TestSet::kill(std::size_t i) {
    TestMember& member = *members_[i];
    if (!member.is_alive) return;
    member.is_alive = false;
    member.dying.cancel();
    run(member.replication->shutdown(Duration::zero()));
    const bool is_idle = wait([&] { return member.handling == 0; });
    ASSERT(is_idle);
}

void TestSet::start(std::size_t i,
                    const HostAndPort& host,
                    std::unique_ptr<storage::memory::MemoryEngine> engine) {
    members_[i] = std::make_unique<TestMember>(*this, host, name_, std::move(engine));
}

void TestSet::restart(std::size_t i) {
    members_[i]->engine->lose_disk();
    kill(i);
    const HostAndPort host = members_[i]->host;
    auto engine = std::move(members_[i]->engine);
    members_[i].reset();  // Lets go of its tables.
    engine->crash();
    start(i, host, std::move(engine));
}

void TestSet::wipe(std::size_t i) {
    kill(i);
    const HostAndPort host = members_[i]->host;
    start(i, host, storage::memory::open(engines_));
}

std::size_t TestSet::index_of(const TestMember& member) const {
    std::size_t index = 0;
    while (members_[index].get() != &member)
        ++index;
    return index;
}

TestMember* TestSet::find(const HostAndPort& host) {
    for (const auto& member : members_)
        if (member->host == host) return member.get();
    return nullptr;
}

bool TestSet::can_talk(const HostAndPort& from, const HostAndPort& to) {
    if (isolated_.contains(from) || isolated_.contains(to)) return false;
    const TestMember* const one = find(from);
    const TestMember* const other = find(to);
    return one != nullptr && other != nullptr && one->is_alive && other->is_alive;
}

bson::Document TestSet::config(int count) const {
    bson::Builder out;
    out.append("_id", name_).append("version", 1);
    {
        auto list = out.array("members");
        for (int i = 0; i < count; ++i)
            list.object().append("_id", i).append(
                "host", members_[static_cast<std::size_t>(i)]->host.to_string());
    }
    out.object("settings")
        .append("electionTimeoutMillis", 1000)
        .append("heartbeatIntervalMillis", 250);
    return std::move(out).finish();
}

bool TestSet::initiate(int count) {
    const auto reply = run(members_[0]->replication->initiate(config(count)));
    return reply.has_value() && wait([&] { return primary() != nullptr; });
}

TestMember* TestSet::primary() {
    TestMember* best = nullptr;
    for (const auto& member : members_) {
        if (!member->is_alive || isolated_.contains(member->host)) continue;
        if (!member->replication->is_writable_primary()) continue;
        if (best == nullptr ||
            best->replication->topology().term < member->replication->topology().term)
            best = member.get();
    }
    return best;
}

bool TestSet::has_converged() {
    TestMember* const leader = primary();
    if (leader == nullptr) return false;
    const OpTime top = leader->replication->last_applied();
    for (const auto& member : members_) {
        if (!member->is_alive || isolated_.contains(member->host)) continue;
        if (member->replication->last_applied() != top) return false;
        if (member->replication->commit_point() != top) return false;
    }
    return true;
}

}  // namespace tessera::replication
