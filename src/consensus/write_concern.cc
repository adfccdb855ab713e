// SPDX-License-Identifier: Apache-2.0
#include "consensus/write_concern.h"

#include <set>

namespace tessera::consensus {

namespace {

Error not_enough_nodes() {
    return {ErrorCode::unsatisfiable_write_concern, "Not enough data-bearing nodes"};
}

/// The position of `member` that counts, or none if unknown.
const KnownPosition* position_of(const ReplicationProgress& progress, MemberId member) {
    for (const auto& position : progress.positions)
        if (position.member == member) return &position;
    return nullptr;
}

bool has_reached(const ReplicationProgress& progress, MemberId member, OpTime optime,
                 bool durable) {
    const auto* position = position_of(progress, member);
    return position != nullptr && (durable ? position->durable : position->applied) >= optime;
}

bool is_number_reached(int wanted, OpTime optime, bool durable,
                       const ReplicationProgress& progress) {
    if (wanted <= 0) return true;
    // The member that took the write must have it itself, also as w asks.
    if (!has_reached(progress, progress.self, optime, durable)) return false;
    int reached = 0;
    for (const auto& member : progress.config->members)
        if (member.is_data_bearing() && has_reached(progress, member.id, optime, durable))
            ++reached;
    return reached >= wanted;
}

bool is_voting_majority_reached(OpTime optime, bool durable, const ReplicationProgress& progress) {
    int reached = 0;
    for (const auto& member : progress.config->members)
        if (member.is_voter() && member.is_data_bearing() &&
            has_reached(progress, member.id, optime, durable))
            ++reached;
    return reached >= progress.config->write_majority_count();
}

bool is_mode_reached(const WriteConcernMode& mode, OpTime optime, bool durable,
                     const ReplicationProgress& progress) {
    for (const auto& [tag, wanted] : mode) {
        std::set<std::string> values;
        for (const auto& member : progress.config->members) {
            auto it = member.tags.find(tag);
            if (it != member.tags.end() && has_reached(progress, member.id, optime, durable))
                values.insert(it->second);
        }
        if (static_cast<int>(values.size()) < wanted) return false;
    }
    return true;
}

}  // namespace

Status check_satisfiable(const WriteConcern& concern, const ReplicaSetConfig& config) {
    if (const int* number = std::get_if<int>(&concern.w)) {
        if (*number > config.data_bearing_count()) return not_enough_nodes();
        return {};
    }
    if (concern.is_majority()) {
        if (config.write_majority_count() > config.writable_voter_count())
            return not_enough_nodes();
        return {};
    }
    const auto& name = std::get<std::string>(concern.w);
    const auto mode = config.settings.write_concern_modes.find(name);
    if (mode == config.settings.write_concern_modes.end())
        return Error(ErrorCode::unknown_repl_write_concern,
                     "No write concern mode named '" + name +
                         "' found in replica set configuration");
    for (const auto& [tag, wanted] : mode->second) {
        std::set<std::string> values;
        for (const auto& member : config.members)
            if (auto it = member.tags.find(tag); it != member.tags.end())
                values.insert(it->second);
        if (static_cast<int>(values.size()) < wanted) return not_enough_nodes();
    }
    return {};
}

bool is_satisfied(const WriteConcern& concern, OpTime optime, const ReplicationProgress& progress) {
    if (const int* number = std::get_if<int>(&concern.w); number != nullptr && *number <= 0)
        return true;
    if (progress.config == nullptr) return false;
    const bool durable = concern.journal.value_or(
        concern.is_majority() && progress.config->write_concern_majority_journal_default);
    if (const int* number = std::get_if<int>(&concern.w))
        return is_number_reached(*number, optime, durable, progress);
    if (concern.is_majority())
        return progress.commit_point >= optime &&
               (!durable || progress.config->write_concern_majority_journal_default ||
                is_voting_majority_reached(optime, durable, progress));
    const auto& modes = progress.config->settings.write_concern_modes;
    const auto mode = modes.find(std::get<std::string>(concern.w));
    return mode != modes.end() && is_mode_reached(mode->second, optime, durable, progress);
}

}  // namespace tessera::consensus
