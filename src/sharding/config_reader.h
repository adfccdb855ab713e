// SPDX-License-Identifier: Apache-2.0
//
// ConfigReader: the config servers' collections as routers and shards read them: majority reads on
// the config set (protocol.md 4.1), parsed into routing's types.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "async/task.h"
#include "routing/balancer.h"
#include "routing/chunk_map.h"
#include "sharding/shard_registry.h"

namespace tessera::sharding {

class ConfigReader {
public:
    virtual ~ConfigReader() = default;
    /// Unset: there is no such database or sharded collection.
    virtual async::Task<Result<std::optional<routing::DatabaseEntry>>> database(
        std::string db, Instant deadline) = 0;
    virtual async::Task<Result<std::optional<routing::CollectionEntry>>> collection(
        std::string ns, Instant deadline) = 0;
    /// Chunks with lastmod >= since, sorted by it.
    virtual async::Task<Result<std::vector<bson::Document>>> chunks(bson::Uuid collection,
                                                                    routing::Placement since,
                                                                    Instant deadline) = 0;
    virtual async::Task<Result<std::vector<bson::Document>>> tags(std::string ns,
                                                                  Instant deadline) = 0;
};

/// Over the registry: find commands to the config set.
class RemoteConfigReader : public ConfigReader {
public:
    explicit RemoteConfigReader(ShardRegistry& registry) : registry_(registry) {}
    async::Task<Result<std::optional<routing::DatabaseEntry>>> database(std::string db,
                                                                        Instant deadline) override;
    async::Task<Result<std::optional<routing::CollectionEntry>>> collection(
        std::string ns, Instant deadline) override;
    async::Task<Result<std::vector<bson::Document>>> chunks(bson::Uuid collection,
                                                            routing::Placement since,
                                                            Instant deadline) override;
    async::Task<Result<std::vector<bson::Document>>> tags(std::string ns,
                                                          Instant deadline) override;

private:
    ShardRegistry& registry_;
};

}  // namespace tessera::sharding
