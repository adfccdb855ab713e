// SPDX-License-Identifier: Apache-2.0
#include "sharding/shard_registry.h"

#include <algorithm>

#include "bson/builder.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

bool is_network_error(ErrorCode code) {
    return code == ErrorCode::host_unreachable || code == ErrorCode::host_not_found ||
           code == ErrorCode::network_timeout ||
           code == ErrorCode::network_interface_exceeded_time_limit;
}

bool moves_primary(ErrorCode code) {
    return has_class(
        code, error_class::not_primary | error_class::recovering | error_class::shutting_down);
}

// Fields of a failed reply that every reply has.
bool is_generic(std::string_view name) {
    return name == "ok" || name == "errmsg" || name == "code" || name == "codeName" ||
           name == "errorLabels" || name == "topologyVersion" || name == "operationTime" ||
           name == "electionId" || name == "opTime" || name == "lastCommittedOpTime" ||
           name.starts_with("$");
}

std::string_view mode_name(ReadMode mode) {
    switch (mode) {
        case ReadMode::primary:
            return "primary";
        case ReadMode::primary_preferred:
            return "primaryPreferred";
        case ReadMode::secondary:
            return "secondary";
        case ReadMode::secondary_preferred:
            return "secondaryPreferred";
        case ReadMode::nearest:
            break;
    }
    return "nearest";
}

bool has_tags(bson::View member_tags, bson::View wanted) {
    for (const bson::Element& tag : wanted) {
        const bson::Value have = member_tags[tag.name];
        if (have.type() != tag.value.type() || have.bytes() != tag.value.bytes()) return false;
    }
    return true;
}

Error shutting_down() {
    return {ErrorCode::shutdown_in_progress, "shutting down"};
}

}  // namespace

Result<SetAddress> SetAddress::parse(std::string_view text) {
    SetAddress result;
    const auto slash = text.find('/');
    if (slash == std::string_view::npos || slash == 0)
        return Error(ErrorCode::failed_to_parse,
                     "expected <set name>/<host>[,<host>...], got '" + std::string(text) + "'");
    result.set_name = text.substr(0, slash);
    std::string_view rest = text.substr(slash + 1);
    while (!rest.empty()) {
        const auto comma = rest.find(',');
        TRY(auto host, HostAndPort::parse(rest.substr(0, comma)));
        result.hosts.push_back(std::move(host));
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
    if (result.hosts.empty())
        return Error(ErrorCode::failed_to_parse, "no host in '" + std::string(text) + "'");
    return result;
}

std::string SetAddress::to_string() const {
    std::string result = set_name + "/";
    for (std::size_t i = 0; i < hosts.size(); ++i) {
        if (i > 0) result += ",";
        result += hosts[i].to_string();
    }
    return result;
}

std::vector<HostAndPort> members_of_hello(bson::View reply) {
    std::vector<HostAndPort> hosts;
    for (const char* const field : {"hosts", "passives"}) {
        const bson::Value list = reply[field];
        if (!list.is_array()) continue;
        for (const bson::Element& each : list.as_view()) {
            if (!each.value.is_string()) continue;
            if (auto parsed = HostAndPort::parse(each.value.as_string()))
                hosts.push_back(std::move(*parsed));
        }
    }
    return hosts;
}

Error error_of(bson::View reply) {
    bson::Builder details;
    bool has_details = false;
    for (const bson::Element& field : reply) {
        if (is_generic(field.name)) continue;
        details.append(field);
        has_details = true;
    }
    const auto code = static_cast<ErrorCode>(reply["code"].to_int64());
    const bson::Value text = reply["errmsg"];
    std::string reason = text.is_string() ? std::string(text.as_string()) : "unknown error";
    if (!has_details) return {code, std::move(reason)};
    return {code, std::move(reason), std::move(details).finish().release()};
}

Result<bson::Document> checked(Result<bson::Document> reply) {
    if (reply && !(*reply)["ok"].is_truthy()) return error_of(*reply);
    return reply;
}

// What is known of one replica set.
struct ShardRegistry::Set {
    explicit Set(SetAddress its_address) : address(std::move(its_address)) {}

    struct Member {
        bool is_reachable = false;
        bool is_secondary = false;
        bson::Document tags;
        Duration round_trip{0};
    };

    std::mutex mutex;  // Guards what follows.
    SetAddress address;
    std::optional<HostAndPort> primary;
    std::map<HostAndPort, Member> members;
    std::size_t turn = 0;

    // A member that suits a read; empty when none is known.
    std::optional<HostAndPort> pick(ReadMode mode, bson::View tag_sets) {
        const std::lock_guard lock(mutex);
        if (mode == ReadMode::primary) return primary;
        if (mode == ReadMode::primary_preferred && primary) return primary;
        std::vector<bson::View> sets;
        for (const bson::Element& each : tag_sets)
            if (each.value.is_object()) sets.push_back(each.value.as_view());
        if (sets.empty()) sets.emplace_back();
        for (const bson::View& wanted : sets) {
            std::vector<HostAndPort> fit;
            for (const auto& [host, member] : members) {
                const bool suits = member.is_secondary ||
                                   (mode == ReadMode::nearest && primary && *primary == host);
                if (member.is_reachable && suits && has_tags(member.tags, wanted))
                    fit.push_back(host);
            }
            if (!fit.empty()) return fit[turn++ % fit.size()];
        }
        if (mode == ReadMode::secondary_preferred) return primary;
        return std::nullopt;
    }
    void failed(const HostAndPort& host) {
        const std::lock_guard lock(mutex);
        if (primary && *primary == host) primary.reset();
        members[host].is_reachable = false;
    }
    void lost_primary(const HostAndPort& host) {
        const std::lock_guard lock(mutex);
        if (primary && *primary == host) primary.reset();
    }
};

ShardRegistry::ShardRegistry(async::Clock& clock,
                             async::Transport& transport,
                             replication::LogicalClock& logical_clock,
                             SetAddress config_servers)
    : clock_(clock), transport_(transport), logical_clock_(logical_clock) {
    if (!config_servers.hosts.empty()) set_config_servers(std::move(config_servers));
}

ShardRegistry::~ShardRegistry() = default;

void ShardRegistry::set_config_servers(SetAddress config_servers) {
    put(config_shard, std::move(config_servers));
}

void ShardRegistry::shut_down() { stopping_.cancel(); }

void ShardRegistry::put(const ShardName& shard, SetAddress address) {
    const std::lock_guard lock(mutex_);
    auto& set = sets_[shard];
    if (!set) {
        set = std::make_shared<Set>(std::move(address));
        return;
    }
    const std::lock_guard set_lock(set->mutex);
    set->address = std::move(address);
}

std::shared_ptr<ShardRegistry::Set> ShardRegistry::set_of(const ShardName& shard) const {
    const std::lock_guard lock(mutex_);
    const auto at = sets_.find(shard);
    return at == sets_.end() ? nullptr : at->second;
}

async::Task<Result<std::shared_ptr<ShardRegistry::Set>>> ShardRegistry::find_set(ShardName shard,
                                                                                 Instant deadline) {
    auto set = set_of(shard);
    if (!set && shard != config_shard) {
        CO_TRY_OK(co_await refresh(deadline));
        set = set_of(shard);
    }
    if (!set) co_return Error(ErrorCode::shard_not_found, "Shard " + shard + " not found");
    co_return set;
}

// Asks one member who it is.
async::Task<void> ShardRegistry::ask(std::shared_ptr<Set> set,
                                     HostAndPort host,
                                     Instant deadline,
                                     async::Cancellation cancellation) {
    async::RemoteCall call{host, bson::make("hello", 1, "$db", "admin").release(), deadline};
    const Instant began = clock_.now();
    const auto answer = co_await transport_.call(std::move(call), cancellation);
    if (!answer) {
        if (!cancellation.is_cancelled()) set->failed(host);
        co_return;
    }
    const bson::Document reply = bson::Document::adopt(*answer);
    const std::lock_guard lock(set->mutex);
    const bson::Value name = reply["setName"];
    if (!name.is_string() || name.as_string() != set->address.set_name) {
        set->members.erase(host);
        co_return;
    }
    Set::Member& member = set->members[host];
    member.is_reachable = true;
    member.is_secondary = reply["secondary"].is_truthy();
    member.round_trip = clock_.now() - began;
    if (const bson::Value tags = reply["tags"]; tags.is_object())
        member.tags = bson::Document(tags.as_view());
    const bool is_primary = reply["isWritablePrimary"].is_truthy() || reply["ismaster"].is_truthy();
    if (is_primary) {
        set->primary = host;
        auto hosts = members_of_hello(reply);
        if (!hosts.empty()) set->address.hosts = std::move(hosts);
    } else if (set->primary && *set->primary == host) {
        set->primary.reset();
    }
}

async::Task<void> ShardRegistry::discover(std::shared_ptr<Set> set,
                                          Instant deadline,
                                          async::Cancellation cancellation) {
    std::vector<HostAndPort> hosts;
    {
        const std::lock_guard lock(set->mutex);
        hosts = set->address.hosts;
    }
    const Instant until = std::min(deadline, clock_.now() + limits::hello_patience);
    std::vector<async::Task<void>> asked;
    for (const HostAndPort& host : hosts)
        asked.push_back(ask(set, host, until, cancellation));
    co_await async::when_all(std::move(asked));
}

async::Task<Result<HostAndPort>> ShardRegistry::choose(std::shared_ptr<Set> set,
                                                       const CallOptions& options) {
    const Instant give_up = std::min(options.deadline, clock_.now() + limits::discovery);
    Duration pause = limits::discovery_pause_min;
    for (;;) {
        if (auto host = set->pick(options.read_mode, options.tag_sets)) co_return *host;
        co_await discover(set, give_up, options.cancellation);
        if (auto host = set->pick(options.read_mode, options.tag_sets)) co_return *host;
        if (is_shut_down()) co_return shutting_down();
        if (clock_.now() + pause >= give_up || options.cancellation.is_cancelled()) break;
        async::sleep_until wait(clock_, clock_.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, limits::discovery_pause_max);
    }
    if (clock_.now() + pause >= options.deadline)
        co_return Error(ErrorCode::max_time_ms_expired, "operation exceeded time limit");
    std::string name;
    {
        const std::lock_guard lock(set->mutex);
        name = set->address.set_name;
    }
    co_return Error(ErrorCode::failed_to_satisfy_read_preference,
                    "Could not find host matching read preference { mode: \"" +
                        std::string(mode_name(options.read_mode)) + "\" } for set " + name);
}

bson::Document ShardRegistry::with_cluster_time(bson::Document command) const {
    const Timestamp now = logical_clock_.now();
    if (now.is_null()) return command;
    auto complete = bson::Builder::reopen(std::move(command));
    complete.object("$clusterTime").append("clusterTime", now);
    return std::move(complete).finish();
}

void ShardRegistry::note_cluster_time(bson::View reply) {
    const bson::Value time = reply["$clusterTime"];
    if (!time.is_object()) return;
    const bson::Value stamp = time.as_view()["clusterTime"];
    if (stamp.type() != bson::Type::timestamp) return;
    if (stamp.as_timestamp() <= logical_clock_.now()) return;
    // A time too far ahead is not taken over; the answer itself is still good.
    [[maybe_unused]] const auto status =
        logical_clock_.advance(stamp.as_timestamp(), clock_.wall_now());
}

async::Task<Result<bson::Document>> ShardRegistry::call_host(HostAndPort host,
                                                             bson::Document command,
                                                             CallOptions options) {
    return send(std::move(host), with_cluster_time(std::move(command)), std::move(options));
}

async::Task<Result<bson::Document>> ShardRegistry::send(HostAndPort host,
                                                        bson::Document command,
                                                        CallOptions options) {
    async::RemoteCall call{std::move(host), std::move(command).release(), options.deadline};
    auto answer = co_await transport_.call(std::move(call), options.cancellation);
    if (!answer) co_return std::move(answer).error();
    bson::Document reply = bson::Document::adopt(std::move(*answer));
    note_cluster_time(reply);
    co_return reply;
}

// Of a shard of which nobody can be reached: it may have been removed, and its processes stopped.
async::Task<Status> ShardRegistry::check_is_shard(ShardName shard, const CallOptions& options) {
    const Instant until = std::min(options.deadline, clock_.now() + limits::hello_patience);
    const Status asked = co_await refresh(until, options.cancellation);
    if (asked && !set_of(shard))
        co_return Error(ErrorCode::shard_not_found, "Shard " + shard + " not found");
    co_return Status();  // Nobody knows better than what is known here.
}

async::Task<Result<bson::Document>> ShardRegistry::call(ShardName shard,
                                                        bson::Document command,
                                                        CallOptions options) {
    if (!options.cancellation.can_be_cancelled()) {
        if (is_shut_down()) co_return shutting_down();
        options.cancellation = stopping_;
    }
    std::shared_ptr<Set> set = set_of(shard);
    if (!set) {
        CO_TRY(set, co_await find_set(shard, options.deadline));
    }
    command = with_cluster_time(std::move(command));
    std::optional<Error> last;
    for (int attempt = 0; attempt < limits::primary_attempts; ++attempt) {
        std::optional<HostAndPort> picked = set->pick(options.read_mode, options.tag_sets);
        if (!picked) {
            auto chosen = co_await choose(set, options);
            if (!chosen && shard != config_shard)
                CO_TRY_OK(co_await check_is_shard(shard, options));
            if (!chosen) co_return last ? *last : std::move(chosen).error();
            picked = std::move(*chosen);
        }
        const HostAndPort& host = *picked;
        auto reply = co_await send(host, command, options);
        if (!reply) {
            const ErrorCode code = reply.error().code();
            if (is_shut_down()) co_return shutting_down();
            if (!is_network_error(code)) co_return reply;
            set->failed(host);
            if (!options.is_retryable || clock_.now() >= options.deadline) co_return reply;
            last = reply.error();
            continue;
        }
        if ((*reply)["ok"].is_truthy()) {
            if (options.answered_by != nullptr) *options.answered_by = host;
            co_return reply;
        }
        // A member that refuses because of its state has not run the command; one that was
        // interrupted may have.
        const auto code = static_cast<ErrorCode>((*reply)["code"].to_int64());
        const bool is_refusal = code == ErrorCode::not_writable_primary ||
                                code == ErrorCode::not_primary_no_secondary_ok ||
                                code == ErrorCode::not_primary_or_secondary;
        if (!moves_primary(code)) {
            if (options.answered_by != nullptr) *options.answered_by = host;
            co_return reply;
        }
        set->lost_primary(host);
        if (!is_refusal && !options.is_retryable) co_return reply;
        last = error_of(*reply);
        if (clock_.now() >= options.deadline) co_return reply;
        if (attempt + 1 == limits::primary_attempts) co_return reply;
        async::sleep_until wait(clock_, clock_.now() + limits::discovery_pause_min);
        co_await wait;
    }
    co_return *last;
}

async::Task<Result<bson::Document>> ShardRegistry::call_ok(ShardName shard,
                                                           bson::Document command,
                                                           CallOptions options) {
    co_return checked(co_await call(std::move(shard), std::move(command), std::move(options)));
}

async::Task<Result<bson::Document>> ShardRegistry::call_settled(ShardName shard,
                                                                bson::Document command,
                                                                CallOptions options) {
    Duration pause = limits::discovery_pause_min;
    for (;;) {
        auto reply = co_await call(shard, command, options);
        if (!reply || !(*reply)["writeConcernError"].is_object())
            co_return checked(std::move(reply));
        Error unsettled = error_of((*reply)["writeConcernError"].as_view());
        const bool is_passing = moves_primary(unsettled.code()) && options.is_retryable;
        const Instant again = clock_.now() + pause;
        if (!is_passing || again >= options.deadline || options.cancellation.is_cancelled() ||
            is_shut_down())
            co_return unsettled;
        async::sleep_until wait(clock_, again);
        co_await wait;
        pause = std::min(pause * 2, limits::discovery_pause_max);
    }
}

async::Task<Result<std::vector<bson::Document>>> ShardRegistry::find_all(ShardName shard,
                                                                         bson::Document find,
                                                                         CallOptions options) {
    HostAndPort host;
    options.answered_by = &host;
    options.is_retryable = true;
    const std::string db(find["$db"].as_string());
    const std::string collection(find.view().front().value.as_string());
    CO_TRY(bson::Document reply, co_await call_ok(std::move(shard), std::move(find), options));
    std::vector<bson::Document> result;
    for (;;) {
        const bson::Value cursor = reply["cursor"];
        if (!cursor.is_object())
            co_return Error(ErrorCode::internal_error, "a cursor reply without a cursor");
        for (const std::string_view batch : {"firstBatch", "nextBatch"}) {
            const bson::Value documents = cursor.as_view()[batch];
            if (!documents.is_array()) continue;
            for (const bson::Element& each : documents.as_view())
                result.emplace_back(each.value.as_view());
        }
        const std::int64_t id = cursor.as_view()["id"].to_int64();
        if (id == 0) co_return result;
        bson::Document more = bson::make("getMore", id, "collection", collection, "$db", db);
        CO_TRY(reply, checked(co_await call_host(host, std::move(more), options)));
    }
}

async::Task<Status> ShardRegistry::refresh(Instant deadline, async::Cancellation cancellation) {
    const bson::Document majority = bson::make("level", "majority");
    bson::Document find = bson::make("find", "shards", "readConcern", majority, "$db", "config");
    CallOptions options;
    options.deadline = deadline;
    options.cancellation = std::move(cancellation);
    CO_TRY(const auto documents, co_await find_all(config_shard, std::move(find), options));
    std::map<ShardName, SetAddress> found;
    for (const bson::Document& each : documents) {
        const bson::Value name = each["_id"];
        const bson::Value host = each["host"];
        if (!name.is_string() || !host.is_string()) continue;
        auto address = SetAddress::parse(host.as_string());
        if (address) found.emplace(std::string(name.as_string()), std::move(*address));
    }
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(sets_, [&](const auto& entry) {
            return entry.first != config_shard && !found.contains(entry.first);
        });
        for (auto& [name, address] : found)
            if (auto& set = sets_[name]; !set) set = std::make_shared<Set>(std::move(address));
    }
    co_return Status();
}

std::vector<ShardName> ShardRegistry::shards() const {
    const std::lock_guard lock(mutex_);
    std::vector<ShardName> result;
    for (const auto& [name, set] : sets_)
        if (name != config_shard) result.push_back(name);
    return result;
}

std::optional<SetAddress> ShardRegistry::address(const ShardName& shard) const {
    const auto set = set_of(shard);
    if (!set) return std::nullopt;
    const std::lock_guard lock(set->mutex);
    return set->address;
}

std::optional<HostAndPort> ShardRegistry::primary(const ShardName& shard) const {
    const auto set = set_of(shard);
    if (!set) return std::nullopt;
    const std::lock_guard lock(set->mutex);
    return set->primary;
}

}  // namespace tessera::sharding
