// SPDX-License-Identifier: Apache-2.0
#include "consensus/write_concern.h"

#include "consensus/simulated_set.h"
#include "consensus/sync_source.h"
#include <gtest/gtest.h>

namespace tessera::consensus {
namespace {

OpTime op(std::uint32_t seconds, Term term = 1) { return {{seconds, 1}, term}; }

struct Facts {
    ReplicaSetConfig config = SimulatedSet::make_config(3);
    ReplicationProgress progress;
    Facts() {
        progress.config = &config;
        progress.self = 0;
        progress.commit_point = op(5);
        progress.positions = {{0, op(9), op(8)}, {1, op(7), op(5)}, {2, op(4), op(4)}};
    }
    bool has(std::variant<int, std::string> w, OpTime optime, std::optional<bool> j = {}) {
        return is_satisfied({std::move(w), j}, optime, progress);
    }
};

TEST(WriteConcern, CountsMembersThatApplied) {
    Facts s;
    EXPECT_TRUE(s.has(0, op(99)));
    EXPECT_TRUE(s.has(1, op(9)));
    EXPECT_FALSE(s.has(1, op(10)));
    EXPECT_TRUE(s.has(2, op(7)));
    EXPECT_FALSE(s.has(3, op(7)));
    EXPECT_TRUE(s.has(3, op(4)));
}

TEST(WriteConcern, JournalAsksForDurability) {
    Facts s;
    EXPECT_FALSE(s.has(1, op(9), true));
    EXPECT_TRUE(s.has(1, op(8), true));
    EXPECT_FALSE(s.has(2, op(7), true));
    EXPECT_TRUE(s.has(2, op(5), true));
}

TEST(WriteConcern, MajorityIsTheCommitPoint) {
    Facts s;
    EXPECT_TRUE(s.has("majority", op(5)));
    EXPECT_FALSE(s.has("majority", op(6)));
    s.config.write_concern_majority_journal_default = false;
    s.progress.commit_point = op(7);
    EXPECT_TRUE(s.has("majority", op(7)));
    EXPECT_FALSE(s.has("majority", op(7), true));
    EXPECT_TRUE(s.has("majority", op(5), true));
}

TEST(WriteConcern, ModesCountDistinctTagValues) {
    Facts s;
    s.config.settings.write_concern_modes["zones"] = {{"zone", 2}};
    s.config.members[0].tags["zone"] = "a";
    s.config.members[1].tags["zone"] = "a";
    s.config.members[2].tags["zone"] = "b";
    EXPECT_FALSE(s.has("zones", op(7)));
    EXPECT_TRUE(s.has("zones", op(4)));
}

TEST(WriteConcern, KnowsWhatCanNeverBeSatisfied) {
    auto config = SimulatedSet::make_config(3);
    EXPECT_TRUE(check_satisfiable({3, {}}, config));
    const auto five = check_satisfiable({5, {}}, config);
    EXPECT_EQ(five.error().code(), ErrorCode::unsatisfiable_write_concern);
    EXPECT_EQ(five.error().reason(), "Not enough data-bearing nodes");
    config.members[2].arbiter_only = true;
    EXPECT_FALSE(check_satisfiable({3, {}}, config));
    const auto zoo = check_satisfiable({"zoo", {}}, config);
    EXPECT_EQ(zoo.error().code(), ErrorCode::unknown_repl_write_concern);
    EXPECT_EQ(zoo.error().reason(),
              "No write concern mode named 'zoo' found in replica set configuration");
}

TEST(FirstBatch, DecidesByTermsAndRollbackIds) {
    FirstBatchFacts facts;
    facts.last_fetched = op(5, 2);
    facts.source_applied = op(9, 3);
    facts.source_oldest = op(1, 1);
    facts.first = op(5, 2);
    EXPECT_EQ(check_first_batch(facts), FirstBatch::proceed);
    facts.rollback_id = 1;
    EXPECT_EQ(check_first_batch(facts), FirstBatch::choose_another);
    facts.rollback_id = 0;
    facts.first = op(5, 1);
    EXPECT_EQ(check_first_batch(facts), FirstBatch::roll_back);
    facts.first.reset();
    EXPECT_EQ(check_first_batch(facts), FirstBatch::roll_back);
    facts.source_oldest = op(8, 3);
    facts.first = op(8, 3);
    EXPECT_EQ(check_first_batch(facts), FirstBatch::too_stale);
    facts.source_applied = op(99, 1);  // A longer log of an older term is behind mine.
    EXPECT_EQ(check_first_batch(facts), FirstBatch::choose_another);
    facts.source_applied = op(5, 2);
    facts.first = op(5, 2);
    facts.must_be_ahead = true;
    EXPECT_EQ(check_first_batch(facts), FirstBatch::choose_another);
}

}  // namespace
}  // namespace tessera::consensus
