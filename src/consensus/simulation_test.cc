// SPDX-License-Identifier: Apache-2.0
//
// Seeded chaos over a simulated set: partitions, loss, crashes, freezes, step-downs, elections by
// command, reconfigurations; then everything heals and the set must work again. TESSERA_SEEDS=n
// runs n seeds, TESSERA_SEED=n only that one.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "consensus/simulated_set.h"
#include <gtest/gtest.h>

namespace tessera::consensus {
namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Chaos {
public:
    explicit Chaos(std::uint64_t seed)
        : choice_(seed * 2 + 1), set_(seed, choose_config(choice_)) {}

    void run() {
        set_.start_all();
        set_.set_loss(choice_.below(3) == 0 ? 0.05 : 0.0);
        for (int i = 0; i < 120; ++i) {
            act();
            if (often_reconfigured_) change_votes();
            for (int k = 0; k < 4; ++k) {
                write();
                set_.run_for(Duration{static_cast<Duration::rep>(choice_.below(40'000'000))});
            }
        }
        recover();
    }
    SimulatedSet& set() { return set_; }
    bool recovered() const { return recovered_; }

private:
    static ReplicaSetConfig choose_config(Random& choice) {
        auto config = SimulatedSet::make_config(3 + static_cast<int>(choice.below(3)));
        // Quick time-outs, so that most cuts outlast an election.
        config.settings.heartbeat_interval = 60ms;
        config.settings.election_timeout = 240ms;
        auto& last = config.members.back();
        switch (choice.below(5)) {
            case 0: config.members[0].priority = 5; break;
            case 1: last.priority = 0, last.votes = 0; break;
            case 2: config.settings.chaining_allowed = false; break;
            case 3: last.priority = 0, last.arbiter_only = config.members.size() == 5; break;
            default: break;
        }
        if (choice.below(3) == 0) config.settings.catch_up_timeout = 200ms;
        if (choice.below(3) == 0) config.settings.catch_up_takeover_delay = 300ms;
        return config;
    }

    std::size_t any() { return choice_.below(set_.size()); }
    /// Mostly the primary: it has the most to lose.
    std::size_t victim() {
        const auto primary = set_.writable_primary();
        return primary && choice_.below(3) != 0 ? *primary : any();
    }

    void write() {
        // Every node that believes to be primary takes writes, also a deposed one.
        for (std::size_t i = 0; i < set_.size(); ++i) set_.write(i);
    }

    void act() {
        const auto a = victim();
        const auto b = any();
        switch (choice_.below(18)) {
            case 0:
                if (a != b) set_.cut_both(a, b);
                break;
            case 1:
                if (a != b) set_.cut(a, b);
                break;
            case 2:
                for (std::size_t i = 0; i < set_.size(); ++i)
                    if (i != a) set_.cut_both(a, i);
                break;
            case 3: split(); break;
            case 4: set_.heal(); break;
            case 5:
                if (set_.is_alive(a)) set_.crash(a);
                break;
            case 6:
            case 7: start_dead(); break;
            case 8: set_.freeze(a); break;
            case 9:
            case 10: thaw_all(); break;
            case 11: step_down(a); break;
            case 12: step_up(a); break;
            case 13:
            case 14: change_votes(); break;
            default: break;
        }
    }

    /// Two sides that do not hear each other.
    void split() {
        set_.heal();
        const auto side = choice_.next();
        for (std::size_t i = 0; i < set_.size(); ++i)
            for (std::size_t k = 0; k < set_.size(); ++k)
                if ((side >> i & 1U) != (side >> k & 1U)) set_.cut(i, k);
    }

    void start_dead() {
        for (std::size_t i = 0; i < set_.size(); ++i)
            if (!set_.is_alive(i)) set_.start(i);
    }
    void thaw_all() {
        for (std::size_t i = 0; i < set_.size(); ++i) set_.thaw(i);
    }
    void step_down(std::size_t i) {
        if (!set_.is_alive(i) || set_.node(i).frozen) return;
        (void)set_.core(i).step_down({300ms, 100ms, choice_.below(2) == 0}, set_.now());
        set_.pump(i);
    }
    void step_up(std::size_t i) {
        if (!set_.is_alive(i) || set_.node(i).frozen) return;
        (void)set_.core(i).step_up(choice_.below(2) == 0, set_.now());
        set_.pump(i);
    }
    /// One voter more or less, as a safe reconfiguration does it.
    void change_votes() {
        const auto primary = set_.writable_primary();
        if (!primary) return;
        auto config = *set_.core(*primary).config();
        auto& member = config.members[any()];
        if (member.id == set_.core(*primary).self() || member.arbiter_only) return;
        ++config.version;
        member.votes = 1 - member.votes;
        member.priority = member.votes;
        set_.reconfigure(*primary, config);
        set_.pump(*primary);
    }

    void recover() {
        set_.set_loss(0);
        set_.heal();
        thaw_all();
        start_dead();
        const bool elected =
            set_.run_until(30s, [this] { return set_.writable_primary().has_value(); });
        if (!elected) return;
        recovered_ = set_.run_until(30s, [this] {
            const auto primary = set_.writable_primary();
            if (!primary) return false;
            if (set_.core(*primary).commit_point().optime != set_.node(*primary).log.back())
                return false;
            for (std::size_t i = 0; i < set_.size(); ++i)
                if (set_.core(i).primary_id() != set_.core(*primary).self() ||
                    set_.core(i).config() != set_.core(*primary).config() || !same_log(i, *primary))
                    return false;
            return true;
        });
    }
    bool same_log(std::size_t i, std::size_t primary) {
        if (set_.core(i).state() == MemberState::arbiter) return true;
        return set_.node(i).log == set_.node(primary).log &&
               set_.core(i).commit_point().optime == set_.core(primary).commit_point().optime;
    }

    Random choice_;
    SimulatedSet set_;
    const bool often_reconfigured_ = choice_.below(3) == 0;
    bool recovered_ = false;
};

TEST(Simulation, SafetyAlwaysAndLivenessAfterHealing) {
    const auto only = number_from("TESSERA_SEED", 0);
    const auto seeds = number_from("TESSERA_SEEDS", 100);
    std::size_t committed = 0;
    std::size_t elections = 0;
    int rollbacks = 0;
    for (std::uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : seeds); ++seed) {
        Chaos chaos(seed);
        chaos.run();
        const std::string again = "TESSERA_SEED=" + std::to_string(seed) + " consensus_test "
                                  "--gtest_filter=Simulation.Safety*";
        ASSERT_TRUE(chaos.set().violations().empty())
            << chaos.set().violations().front() << "\n" << again;
        ASSERT_TRUE(chaos.recovered())
            << "no progress after healing\n" << chaos.set().describe() << again;
        committed += chaos.set().committed().size();
        for (const auto& event : chaos.set().history())
            elections += event.kind == RoleChange::Kind::elected ? 1U : 0U;
        for (std::size_t i = 0; i < chaos.set().size(); ++i)
            rollbacks += chaos.set().node(i).rollbacks;
    }
    RecordProperty("committed", static_cast<int>(committed));
    RecordProperty("elections", static_cast<int>(elections));
    std::printf("committed %zu, elections %zu, rollbacks %d\n", committed, elections, rollbacks);
    EXPECT_GT(committed, seeds);  // The chaos does not merely stop everything.
}

}  // namespace
}  // namespace tessera::consensus
