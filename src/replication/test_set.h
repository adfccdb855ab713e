// SPDX-License-Identifier: Apache-2.0
//
// For tests: whole replica set members in one process and one thread, over memory engines, a
// virtual clock and a network of function calls. Only what members ask of each other is served.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "async/manual.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "replication/ddl.h"
#include "replication/replication.h"
#include "replication/session_catalog.h"
#include "replication/write_unit.h"
#include "storage/memory/open.h"

namespace tessera::replication {

class TestSet;

/// A process and its data.
class TestMember {
public:
    /// Starts on what the engine holds.
    TestMember(TestSet& set,
               HostAndPort host,
               std::string set_name,
               std::unique_ptr<storage::memory::MemoryEngine> engine);

    HostAndPort host;
    std::unique_ptr<storage::memory::MemoryEngine> engine;
    std::unique_ptr<storage::DurabilityFlusher> flusher;
    std::unique_ptr<catalog::Catalog> catalog;
    LogicalClock logical_clock;
    std::unique_ptr<async::Transport> transport;
    std::unique_ptr<Replication> replication;
    std::unique_ptr<SessionCatalog> sessions;
    async::Cancellation dying;
    bool is_alive = true;
    int handling = 0;
    /// Drops all but the newest `kept` entries of its oplog, as truncation does.
    void shorten_oplog(std::size_t kept);
    /// Others get its oplog only up to here, as if the rest were still on its way.
    std::optional<Timestamp> served_upto;

    async::Task<std::string> handle(std::string command);

    /// Inserts a document, making the collection when it is missing.
    Result<OpTime> insert(const Namespace& ns, bson::View document);
    Result<OpTime> insert_in_session(const Namespace& ns, bson::View document, Session& session);
    /// Inserts several in one unit, as statements 0, 1, ... of the session.
    Result<OpTime> insert_in_session(const Namespace& ns,
                                     std::span<const bson::Document> documents,
                                     Session& session);
    /// The same as one entry.
    Result<OpTime> insert_batch(const Namespace& ns,
                                std::span<const bson::Document> documents,
                                Session& session);
    Result<OpTime> update(const Namespace& ns,
                          std::int32_t id,
                          bson::View after,
                          bson::View change);
    Result<OpTime> remove(const Namespace& ns, std::int32_t id);
    Result<OpTime> drop(const Namespace& ns);
    std::optional<bson::Document> find(const Namespace& ns, std::int32_t id);
    std::size_t count(const Namespace& ns);
    /// Its documents by their _id.
    std::map<std::int32_t, bson::Document> contents(const Namespace& ns);
    /// Every entry of the oplog.
    std::vector<bson::Document> oplog();

private:
    struct Cursor {
        Timestamp next;
        Timestamp last;  // The entry read last.
    };
    async::Task<Result<bson::Document>> run(bson::Document command);
    async::Task<Result<bson::Document>> get_more(bson::Document command);
    Result<bson::Document> find_command(bson::View command);
    Result<bson::Document> find_oplog(bson::View command);
    bson::Document list_collections(const std::string& db);
    void append_oplog(bson::ArrayBuilder& batch, Timestamp& next, Timestamp upto);
    Status ensure(const Namespace& ns);
    using Write = std::function<Status(WriteUnit&, catalog::Collection&)>;
    Result<OpTime> in_session(const Namespace& ns, Session& session, const Write& write);

    TestSet& set_;
    std::map<std::int64_t, Cursor> cursors_;
    std::int64_t last_cursor_ = 0;
};

class TestSet {
public:
    explicit TestSet(int members, std::string name = "rs", storage::memory::Options engines = {});
    ~TestSet();

    TestMember& operator[](std::size_t i) { return *members_[i]; }
    std::size_t size() const { return members_.size(); }
    TestMember& add();
    /// The process goes; its data are kept.
    void kill(std::size_t i);
    /// As kill -9 and a new start: what the journal and the last checkpoint hold is there again.
    /// References to the member are void. Requires: durable engines.
    void restart(std::size_t i);
    /// A new start on an empty disk.
    void wipe(std::size_t i);
    std::size_t index_of(const TestMember& member) const;
    /// No message passes between `i` and all others.
    void isolate(std::size_t i) { isolated_.insert(members_[i]->host); }
    void heal() { isolated_.clear(); }

    bson::Document config(int count) const;
    /// --oplogSize of members made from now on.
    std::int64_t oplog_bytes_max = std::int64_t{1} << 30;
    /// Runs replSetInitiate on the first member and waits for a writable primary.
    bool initiate(int count);
    /// Runs until `condition`, at most `limit` of virtual time.
    template <class Condition>
    bool wait(const Condition& condition, Duration limit = 60s) {
        return async::run_until(executor, clock, condition, clock.now() + limit);
    }
    template <class T>
    T run(async::Task<T> task) {
        return async::run_task(executor, clock, std::move(task));
    }
    /// The writable primary with the highest term among the living and connected.
    TestMember* primary();
    /// Whether all who live have the same log and it is committed.
    bool has_converged();
    bool can_talk(const HostAndPort& from, const HostAndPort& to);
    TestMember* find(const HostAndPort& host);

    async::ManualExecutor executor;
    async::VirtualClock clock;
    Random random{7};
    int calls_under_way = 0;  // None is left when the set goes.

private:
    void start(std::size_t i,
               const HostAndPort& host,
               std::unique_ptr<storage::memory::MemoryEngine> engine);

    const std::string name_;
    const storage::memory::Options engines_;
    std::vector<std::unique_ptr<TestMember>> members_;
    std::set<HostAndPort> isolated_;
};

}  // namespace tessera::replication
