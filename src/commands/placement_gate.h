// SPDX-License-Identifier: Apache-2.0
//
// The PlacementGate of a shard: passes the questions of commands on to sharding::ShardingState.
#pragma once

#include "commands/placement.h"
#include "commands/sharding_member.h"

namespace tessera::commands {

class ShardPlacementGate final : public PlacementGate {
public:
    explicit ShardPlacementGate(MemberSharding& sharding) : sharding_(sharding) {}

    Result<Placement> check(const Request& request, const Namespace& ns, bool is_write) override;
    async::Task<void> recover(Namespace ns, Error error, Instant deadline) override;
    void on_write(const Namespace& ns,
                  bson::View document_key,
                  bson::View document,
                  bool is_delete) override;

private:
    async::Task<Status> ask_primary(std::string ns, Instant deadline);
    MemberSharding& sharding_;
};

}  // namespace tessera::commands
