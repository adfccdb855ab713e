// SPDX-License-Identifier: Apache-2.0
//
// Looking after chunks: clearJumboFlag, mergeAllChunksOnShard, configureCollectionBalancing (the
// config primary carries them out) and cleanupOrphaned (a shard's primary, asked directly).
#include "commands/sharding_commands.h"
#include "commands/support.h"
#include "sharding/limits.h"

namespace tessera::commands {
namespace {

constexpr std::int64_t runs_max = 100'000;
constexpr std::int64_t chunk_megabytes_max = 1024;

Result<std::string> collection_name(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (!value.is_string())
        return Error(ErrorCode::type_mismatch,
                     "BSON field '" + std::string(request.name) + "' must be a string");
    TRY_OK(check_namespace(Namespace::split(value.as_string())));
    return std::string(value.as_string());
}

Result<routing::Range> chunk_argument(const Request& request, const routing::ChunkMap& map) {
    const bson::Value find = request.body["find"];
    const bson::Value bounds = request.body["bounds"];
    if (find.is_object() == bounds.is_array())
        return Error(ErrorCode::bad_value, "need to specify either 'find' or 'bounds'");
    if (find.is_object()) {
        TRY(const routing::Key key, map.key().key_of(find.as_view()));
        return map.chunk_of(key).range;
    }
    const bson::Value min = bounds.as_view()["0"];
    const bson::Value max = bounds.as_view()["1"];
    if (bounds.as_view().count() != 2 || !min.is_object() || !max.is_object())
        return Error(ErrorCode::bad_value, "bounds must be an array of two shard keys");
    return routing::Range{bson::Document(min.as_view()), bson::Document(max.as_view())};
}

async::Task<Status> clear_jumbo_flag(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY_OK(request.check_known_fields(request.name, {"find", "bounds"}));
    CO_TRY(const std::string ns, collection_name(request));
    CO_TRY(const auto map, sharding->catalog.chunks(ns));
    CO_TRY(auto range, chunk_argument(request, *map));
    co_return co_await sharding->catalog.clear_jumbo(ns, std::move(range));
}

async::Task<Status> merge_all(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY_OK(request.check_known_fields(request.name, {"shard"}));
    CO_TRY(const std::string ns, collection_name(request));
    CO_TRY(const auto shard, string_argument(request.body, "shard", "", request.name));
    if (shard.empty())
        co_return Error(ErrorCode::idl_failed_to_parse,
                        "BSON field 'mergeAllChunksOnShard.shard' is missing but a required field");
    std::string name(shard);
    CO_TRY_OK(co_await sharding->catalog.merge_all_on_shard(
        ns, name, static_cast<std::size_t>(runs_max)));
    co_await sharding->catalog.log_change("changelog", "autoMerge", ns, bson::make("owner", name));
    co_return Status();
}

async::Task<Status> configure_balancing(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    for (const std::string_view option : {"defragmentCollection", "enableAutoMerger"})
        if (request.body.has(option))
            co_return Error(ErrorCode::not_implemented,
                            "configureCollectionBalancing: '" + std::string(option) +
                                "' is not supported; 'chunkSize' is");
    CO_TRY_OK(request.check_known_fields(request.name, {"chunkSize"}));
    CO_TRY(const std::string ns, collection_name(request));
    CO_TRY([[maybe_unused]] const auto map, sharding->catalog.chunks(ns));
    if (!request.body.has("chunkSize")) co_return Status();
    CO_TRY(const std::int64_t megabytes,
           integer_argument(request.body, "chunkSize", 0, request.name));
    if (megabytes < 0 || megabytes > chunk_megabytes_max)
        co_return Error(ErrorCode::invalid_options,
                        "Chunk size '" + std::to_string(megabytes) +
                            "' out of range [1MB, 1GB]; 0 means the cluster's own");
    // 0: by the cluster's setting again.
    bson::Builder fields;
    if (megabytes > 0)
        fields.append("maxChunkSizeBytes", megabytes * 1024 * 1024);
    else
        fields.append_null("maxChunkSizeBytes");
    CO_TRY_OK(co_await sharding->catalog.set_collection_fields(ns, std::move(fields).finish()));
    sharding->wake_balancer();
    co_return Status();
}

// Waits until nothing that was moved away from here is left to delete.
async::Task<Status> cleanup_orphaned(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_shard(member, request.name));
    CO_TRY_OK(request.check_known_fields(request.name, {"startingFromKey", "secondaryThrottle"}));
    if (request.body.has("startingFromKey"))
        co_return Error(ErrorCode::not_implemented,
                        "cleanupOrphaned: 'startingFromKey' is not supported: all ranges are "
                        "waited for");
    CO_TRY(const std::string ns, collection_name(request));
    constexpr Duration pause = 50ms;
    for (;;) {
        CO_TRY_OK(invocation.operation->check(member.clock));
        CO_TRY_OK(member.replication->check_writable(sharding::config_ns("rangeDeletions")));
        CO_TRY(const auto left,
               sharding->store.find(sharding::config_ns("rangeDeletions"), bson::make("nss", ns)));
        const bool is_clean = std::all_of(left.begin(), left.end(), [](const auto& each) {
            return each["pending"].is_truthy();  // Being moved: not orphaned yet, or never.
        });
        if (is_clean) co_return Status();
        async::sleep_until wait(member.clock, member.clock.now() + pause);
        co_await wait;
    }
}

constexpr unsigned admin_write = flags::admin_only | flags::writes;

}  // namespace

const std::array<Command, 4> sharding_chunk_commands = {{
    {"clearJumboFlag",
     admin_write,
     clear_jumbo_flag,
     forward_to_config,
     Counted::command,
     "Lets a chunk that could not be split be moved again."},
    {"mergeAllChunksOnShard",
     admin_write,
     merge_all,
     forward_to_config,
     Counted::command,
     "Joins all neighbouring chunks of a shard that can be joined."},
    {"configureCollectionBalancing",
     admin_write,
     configure_balancing,
     forward_to_config,
     Counted::command,
     "Sets how one collection is balanced."},
    {"cleanupOrphaned",
     admin_write,
     cleanup_orphaned,
     nullptr,
     Counted::command,
     "Waits until this shard has deleted what it has given away."},
}};

}  // namespace tessera::commands
