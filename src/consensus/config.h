// SPDX-License-Identifier: Apache-2.0
//
// A replica set's configuration as plain data, with the rules that make one valid and one a
// permitted successor of another. Parsing from and rendering to documents is the driver's.
// Configurations are ordered by (term, version); when either term is -1, by version alone.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/host_and_port.h"
#include "base/optime.h"
#include "base/result.h"
#include "base/time.h"

namespace tessera::consensus {

/// A member's `_id`. -1 stands for "no member" wherever one may be missing.
using MemberId = std::int32_t;
inline constexpr MemberId no_member = -1;

/// Which configuration; see the order above. `version` -2: none was ever received.
struct ConfigVersion {
    std::int64_t version = -2;
    Term term = term_uninitialized;

    bool operator==(const ConfigVersion&) const = default;
    /// Returns whether this one is newer than `other`.
    bool is_newer_than(const ConfigVersion& other) const {
        if (term != term_uninitialized && other.term != term_uninitialized && term != other.term)
            return term > other.term;
        return version > other.version;
    }
    std::string to_string() const;
};

struct MemberConfig {
    MemberId id = 0;
    HostAndPort host;
    bool arbiter_only = false;
    bool build_indexes = true;
    bool hidden = false;
    double priority = 1.0;
    int votes = 1;
    Duration secondary_delay{0};
    std::map<std::string, std::string> tags;
    std::map<std::string, std::string> horizons;
    /// Still catching up for the first time: its vote does not count yet (set by the primary).
    bool newly_added = false;

    bool operator==(const MemberConfig&) const = default;
    bool is_voter() const { return votes > 0 && !newly_added; }
    bool is_electable() const { return is_voter() && !arbiter_only && priority > 0; }
    bool is_data_bearing() const { return !arbiter_only; }
};

/// A mode of settings.getLastErrorModes: so many distinct values of each of these tags.
using WriteConcernMode = std::map<std::string, int>;

struct ConfigSettings {
    Duration heartbeat_interval = 2s;
    Duration heartbeat_timeout = 10s;
    Duration election_timeout = 10s;
    bool chaining_allowed = true;
    /// -1 ms: no limit; 0: no catch-up.
    Duration catch_up_timeout = -1ms;
    /// -1 ms: off.
    Duration catch_up_takeover_delay = 30s;
    std::map<std::string, WriteConcernMode> write_concern_modes;
    /// The twelve bytes of an ObjectId; absent until replSetInitiate gave one.
    std::optional<std::array<std::uint8_t, 12>> replica_set_id;

    bool operator==(const ConfigSettings&) const = default;
};

struct ReplicaSetConfig {
    std::string set_name;
    std::int64_t version = 1;
    Term term = term_uninitialized;
    std::int64_t protocol_version = 1;
    bool configsvr = false;
    bool write_concern_majority_journal_default = true;
    std::vector<MemberConfig> members;
    ConfigSettings settings;

    bool operator==(const ReplicaSetConfig&) const = default;

    ConfigVersion config_version() const { return {version, term}; }
    const MemberConfig* find(MemberId id) const;
    const MemberConfig* find(const HostAndPort& host) const;
    /// The member's place in `members` (the wire's "index"), or -1.
    int index_of(MemberId id) const;

    int voter_count() const;
    int arbiter_voter_count() const;
    int data_bearing_count() const;
    /// Voters that can hold data.
    int writable_voter_count() const { return voter_count() - arbiter_voter_count(); }
    /// Votes that win an election.
    int majority_vote_count() const { return voter_count() / 2 + 1; }
    /// Voting, data-bearing members that must have an entry for it to be committed.
    int write_majority_count() const;
    /// Whether "majority" is the implicit default write concern (1.17), else w:1.
    bool is_default_write_concern_majority() const;

    /// Checks everything one configuration must obey by itself.
    /// Fails with InvalidReplicaSetConfig (93) or BadValue (2).
    Status validate() const;
    /// Checks validate() and that `self` may be the node that runs replSetInitiate with it.
    /// The caller sets term to 0 first: with -1 it would not be older than the first primary's
    /// (term 1, same version), and so never be replaced by it.
    Status validate_for_initiate(std::optional<MemberId> self) const;
    /// Checks that this may follow `old`. `self`: this node's id in the new configuration.
    /// `force`: any step is allowed that keeps the name and identity of the set.
    /// Fails with NewReplicaSetConfigurationIncompatible (103), InvalidReplicaSetConfig (93) or
    /// NodeNotElectable (104).
    Status validate_reconfig(const ReplicaSetConfig& old, std::optional<MemberId> self,
                             bool force) const;
};

}  // namespace tessera::consensus
