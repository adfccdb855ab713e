// SPDX-License-Identifier: Apache-2.0
//
// The versions a router attaches to what it sends and a shard checks before it executes: proof that
// both mean the same placement of a collection (ChunkVersion) or of a database (DatabaseVersion).
// A collection's generation changes when it is dropped and created, renamed, refined or resharded;
// within a generation the placement (major, minor) grows: major when a chunk changes its shard,
// minor when chunks are only split or merged. Wire forms: protocol.md 4.2.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/builder.h"
#include "bson/view.h"

namespace tessera::routing {

/// A shard's name, config.shards._id.
using ShardName = std::string;

struct Generation {
    bson::ObjectId epoch;
    Timestamp timestamp;
    bool operator==(const Generation&) const = default;
};

struct Placement {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    constexpr auto operator<=>(const Placement&) const = default;
    constexpr Timestamp as_timestamp() const { return {major, minor}; }
    static constexpr Placement of(Timestamp value) { return {value.seconds, value.increment}; }
};

struct ChunkVersion {
    Generation generation;
    Placement placement;
    bool operator==(const ChunkVersion&) const = default;

    /// Whether `other` is newer: a later generation, or a later placement of the same one. Two
    /// generations with one timestamp and different epochs are unordered: neither is newer.
    bool is_older_than(const ChunkVersion& other) const;
    /// "5|1||<epoch>||<timestamp>", for logs and error messages.
    std::string to_string() const;
};

/// What a request says about the collection's placement: a version, "it is not sharded", or
/// "do not check" (multi-document writes sent to several shards).
class ShardVersion {
public:
    ShardVersion() = default;                  // Unsharded.
    ShardVersion(const ChunkVersion& version)  // NOLINT(google-explicit-constructor)
        : version_(version) {}
    static ShardVersion unsharded() { return {}; }
    static ShardVersion ignored();

    bool is_unsharded() const { return version_ == ChunkVersion{}; }
    bool is_ignored() const;
    const ChunkVersion& version() const { return version_; }
    bool operator==(const ShardVersion&) const = default;

    /// Parses {e, t, v}, or the older {0: v, 1: e, 2: t}.
    static Result<ShardVersion> parse(const bson::Value& value);
    void append_to(bson::Builder& out, std::string_view name) const;
    std::string to_string() const { return version_.to_string(); }

private:
    ChunkVersion version_;
};

/// Whether a shard whose own version is `wanted` may execute a request that carries `received`:
/// same generation and same major (splits and merges do not change who owns what).
bool is_compatible(const ShardVersion& received, const ShardVersion& wanted);

struct DatabaseVersion {
    bson::Uuid uuid;
    Timestamp timestamp;
    std::int32_t last_mod = 0;
    bool operator==(const DatabaseVersion&) const = default;
    bool is_older_than(const DatabaseVersion& other) const {
        return timestamp < other.timestamp ||
               (timestamp == other.timestamp && last_mod < other.last_mod);
    }

    static Result<DatabaseVersion> parse(const bson::Value& value);
    void append_to(bson::Builder& out, std::string_view name) const;
};

/// The extra fields of StaleConfig (13388). No `wanted`: the shard does not know its version.
struct StaleConfigInfo {
    std::string ns;
    ShardVersion received;
    std::optional<ShardVersion> wanted;
    ShardName shard;

    Error to_error(std::string_view reason) const;
    /// Reads the fields from an error reply, a write error or an Error's details.
    static Result<StaleConfigInfo> parse(bson::View fields);
};

/// The extra fields of StaleDbVersion (249).
struct StaleDatabaseInfo {
    std::string db;
    DatabaseVersion received;
    std::optional<DatabaseVersion> wanted;

    Error to_error(std::string_view reason) const;
    static Result<StaleDatabaseInfo> parse(bson::View fields);
};

}  // namespace tessera::routing
