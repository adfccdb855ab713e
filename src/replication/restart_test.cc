// SPDX-License-Identifier: Apache-2.0
//
// One member on real threads, over engines with a disk: what it acknowledged is there after its
// process ended, whatever the last checkpoint held.
#include <gtest/gtest.h>

#include "async/block_on.h"
#include "async/system_clock.h"
#include "async/thread_pool.h"
#include "replication/ddl.h"
#include "replication/replication.h"
#include "replication/session_catalog.h"
#include "replication/write_unit.h"
#include "storage/test_engine.h"

namespace tessera::replication {
namespace {

using storage::EngineKind;

const Namespace items{"shop", "items"};

// Asks nobody: the set has one member.
class NoTransport : public async::Transport {
public:
    async::Task<Result<std::string>> call(async::RemoteCall, async::Cancellation) override {
        co_return Error(ErrorCode::host_unreachable, "no network");
    }
    async::Task<Result<std::unique_ptr<async::Stream>>> open(HostAndPort,
                                                             Instant,
                                                             async::Cancellation) override {
        co_return Error(ErrorCode::host_unreachable, "no network");
    }
    void drop_connections(const HostAndPort&) override {}
};

class RestartTest : public testing::TestWithParam<EngineKind> {
public:
    ~RestartTest() override {
        stop();
        clock_.stop();
    }

protected:
    RestartTest() : engine_(storage::open_test_engine(GetParam(), directory_.path())) { start(); }

    void start() {
        flusher_ = std::make_unique<storage::DurabilityFlusher>(*engine_);
        auto opened = catalog::Catalog::open(*engine_, false, random_);
        ASSERT(opened.has_value());
        catalog_ = std::move(*opened);
        Options options;
        options.set_name = "rs";
        options.host = {"localhost", 27017};
        replication_ = std::make_unique<Replication>(Replication::Environment{*engine_,
                                                                              *catalog_,
                                                                              *flusher_,
                                                                              clock_,
                                                                              transport_,
                                                                              control_,
                                                                              workers_,
                                                                              logical_clock_,
                                                                              random_},
                                                     options);
        const auto started = replication_->start();
        ASSERT_TRUE(started) << started.error().to_string();
    }
    void stop() {
        if (!replication_) return;
        async::block_on(control_, replication_->shutdown(Duration::zero()));
        replication_.reset();
        flusher_.reset();
        catalog_.reset();
    }
    // As kill -9 where the engine can show it, else as an end without a last checkpoint of ours.
    void restart() {
        stop();
        if (GetParam() == EngineKind::memory) {
            static_cast<storage::memory::MemoryEngine&>(*engine_).crash();
        } else {
            engine_.reset();
            engine_ = storage::open_test_engine(GetParam(), directory_.path());
        }
        start();
    }
    async::Task<bool> until_writable() {
        const Instant limit = clock_.now() + 30s;
        while (!replication_->is_writable_primary()) {
            const auto ticket = replication_->topology_changed().ticket();
            if (replication_->is_writable_primary()) break;
            const auto outcome =
                co_await replication_->topology_changed().wait(clock_, limit, ticket);
            if (outcome == async::Notification::Outcome::timed_out) co_return false;
        }
        co_return true;
    }
    bool becomes_primary() { return async::block_on(workers_, until_writable()); }

    // Documents `first` to `last` as one entry.
    OpTime insert_batch(std::int32_t first, std::int32_t last) {
        const auto lock = catalog_->lock_shared(items);
        std::vector<bson::Document> documents;
        for (std::int32_t id = first; id <= last; ++id)
            documents.push_back(bson::make("_id", id));
        std::vector<InsertStatement> inserts;
        for (const bson::Document& each : documents)
            inserts.push_back({each, no_statement});
        auto unit = WriteUnit::begin(*replication_, *engine_, clock_);
        if (!unit || !unit->insert_all(*lock, inserts)) return {};
        return unit->commit().value_or(OpTime());
    }
    OpTime insert(std::int32_t id) {
        if (catalog_->find(items) == nullptr) {
            const auto lock = catalog_->lock_exclusive(items);
            auto unit = WriteUnit::begin(*replication_, *engine_, clock_);
            EXPECT_TRUE(unit && unit->reserve(1));
            EXPECT_TRUE(create_collection(*unit, *catalog_, items, {}));
        }
        const auto lock = catalog_->lock_shared(items);
        auto unit = WriteUnit::begin(*replication_, *engine_, clock_);
        EXPECT_TRUE(unit && unit->insert(*lock, bson::make("_id", id), no_statement));
        const auto at = unit->commit();
        EXPECT_TRUE(at);
        return *at;
    }
    bool has(std::int32_t id) {
        const auto lock = catalog_->lock_shared(items);
        if (!lock) return false;
        const auto transaction = engine_->begin();
        const bson::Document key = bson::make("_id", id);
        const auto found = lock->find_by_id(**transaction, key["_id"]);
        return found && *found;
    }
    Status acknowledge(OpTime at) {
        return async::block_on(
            workers_,
            replication_->await_write_concern(
                at, WriteConcern{}, clock_.now() + 30s, async::Cancellation::none()));
    }

    storage::TemporaryDirectory directory_;
    Random random_{11};
    async::SystemClock clock_;
    async::StrandThread control_{"control"};
    async::ThreadPool workers_{{.name = "worker", .threads = 2, .queue_max = 1000}};
    NoTransport transport_;
    LogicalClock logical_clock_;
    std::unique_ptr<storage::Engine> engine_;
    std::unique_ptr<storage::DurabilityFlusher> flusher_;
    std::unique_ptr<catalog::Catalog> catalog_;
    std::unique_ptr<Replication> replication_;
};

TEST_P(RestartTest, KeepsWhatItAcknowledged) {
    const auto reply = async::block_on(workers_, replication_->initiate({}));
    ASSERT_TRUE(reply) << reply.error().to_string();
    ASSERT_TRUE(becomes_primary());
    ASSERT_TRUE(acknowledge(insert(1)));
    ASSERT_TRUE(engine_->checkpoint());
    ASSERT_TRUE(acknowledge(insert(2)));
    const OpTime before = insert(3);
    ASSERT_TRUE(acknowledge(before));
    restart();
    EXPECT_GE(replication_->last_applied(), before);
    for (int id = 1; id <= 3; ++id)
        EXPECT_TRUE(has(id)) << id;
    ASSERT_TRUE(becomes_primary());
    EXPECT_GT(replication_->topology().term, before.term);
    ASSERT_TRUE(acknowledge(insert(4)));
    restart();
    EXPECT_TRUE(has(4));
}

TEST_P(RestartTest, KeepsABatchOfWhichOnlyTheLogIsDurable) {
    ASSERT_TRUE(async::block_on(workers_, replication_->initiate({})));
    ASSERT_TRUE(becomes_primary());
    ASSERT_TRUE(acknowledge(insert(1)));
    ASSERT_TRUE(engine_->checkpoint());
    ASSERT_TRUE(acknowledge(insert_batch(2, 40)));
    restart();
    for (int id = 1; id <= 40; ++id)
        EXPECT_TRUE(has(id)) << id;
}

INSTANTIATE_TEST_SUITE_P(Engines,
                         RestartTest,
                         testing::Values(EngineKind::memory, EngineKind::wiredtiger),
                         [](const auto& kind) {
                             return kind.param == EngineKind::memory ? std::string("memory")
                                                                     : std::string("wiredtiger");
                         });

}  // namespace
}  // namespace tessera::replication
