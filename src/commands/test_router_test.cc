// SPDX-License-Identifier: Apache-2.0
//
// The network that test_router.h promises.
#include "commands/test_router.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "bson/json.h"
#include "query/match/filter.h"
#include "wire/reply_writer.h"

namespace tessera::commands::testing {
namespace {

bool is_generic(std::string_view name) {
    return name == "ok" || name == "operationTime" || name.starts_with("$");
}

std::string shard_of(const std::string& host) {
    return host.substr(0, host.find('-'));
}

bson::Document ok_reply() {
    return bson::make("ok", 1.0);
}

bson::Document reply_of(const Error& error) {
    bson::Builder reply;
    reply.append("ok", 0.0).append("errmsg", error.reason());
    reply.append("code", static_cast<std::int32_t>(error.code()));
    reply.append("codeName", code_name(error.code()));
    if (!error.details().empty()) reply.append_all(bson::View(error.details().data()));
    return std::move(reply).finish();
}

// With $sortKey for a sort by top-level fields.
bson::Document with_sort_key(bson::View document, bson::View sort) {
    bson::Builder result;
    result.append_all(document);
    auto key = result.array("$sortKey");
    for (const bson::Element& field : sort) {
        const bson::Value value = document[field.name];
        if (value.is_missing())
            key.append_null();
        else
            key.append(value);
    }
    key.done();
    return std::move(result).finish();
}

}  // namespace

bson::Document json(std::string_view text) {
    std::string quoted(text);
    std::replace(quoted.begin(), quoted.end(), '\'', '"');
    auto document = bson::from_json(quoted);
    EXPECT_TRUE(document.has_value()) << text;
    return document ? *document : bson::Document();
}

std::string text(bson::View document) {
    std::string result = bson::to_json(document);
    std::replace(result.begin(), result.end(), '"', '\'');
    return result;
}

std::string payload(bson::View reply) {
    bson::Builder rest;
    for (const bson::Element& field : reply)
        if (!is_generic(field.name)) rest.append(field);
    return text(std::move(rest).finish());
}

std::string outcome(bson::View reply) {
    if (reply["ok"].is_truthy()) return payload(reply);
    return std::string(reply["codeName"].as_string());
}

std::string batch(bson::View reply) {
    std::string result;
    for (const std::string_view name : {"firstBatch", "nextBatch"}) {
        const bson::Value documents = cursor(reply)[name];
        if (!documents.is_array()) continue;
        for (const bson::Element& each : documents.as_view())
            result += (result.empty() ? "" : " ") + text(each.value.as_view());
    }
    return result;
}

bson::View cursor(bson::View reply) {
    const bson::Value cursor = reply["cursor"];
    EXPECT_TRUE(cursor.is_object()) << text(reply);
    return cursor.is_object() ? cursor.as_view() : bson::View();
}

bson::Document failure(ErrorCode code, std::string_view message) {
    return reply_of(Error(code, std::string(message)));
}

void TestLoop::post(std::function<void()> work) {
    ManualExecutor::post(std::move(work));
    if (async::Executor::current() != &workers_) return;
    do
        run();
    while (clock_.advance_to_next());
}

TestRouter::TestRouter() {
    add_database("shop");
    sharding::SetAddress config_servers{"config", {*HostAndPort::parse("config-1:1")}};
    ProcessInfo process;
    process.host = *HostAndPort::parse("router:1");
    router = std::make_unique<Router>(
        std::move(process), clock, *this, loop, workers, random, std::move(config_servers));
    dispatcher_ = std::make_unique<Dispatcher>(*router, *router);
    for (const char* const shard : {"A", "B", "C"})
        primaries_[shard] = 1;
}

TestRouter::~TestRouter() {
    router->cursors.kill_all();
    settle();
}

// ---- The config servers -----------------------------------------------------------------------

void TestRouter::shard_collection(std::string_view key,
                                  const std::vector<std::string>& splits,
                                  const std::vector<std::string>& owners,
                                  const std::string& ns) {
    ASSERT(owners.size() == splits.size() + 1);
    routing::CollectionEntry entry;
    entry.ns = ns;
    const auto number = static_cast<std::uint8_t>(sharded_.size() + 1);
    entry.uuid.bytes.fill(number);
    entry.generation.epoch.bytes.fill(number);
    entry.generation.timestamp = {100, number};
    entry.key = *routing::ShardKeyPattern::parse(json(key));
    std::vector<routing::Chunk> chunks;
    bson::Document low = entry.key.min_bound();
    for (std::size_t i = 0; i < owners.size(); ++i) {
        bson::Document high = i < splits.size() ? json(splits[i]) : entry.key.max_bound();
        routing::Chunk chunk = *routing::Chunk::make(entry.key, {low, high});
        chunk.id.bytes[11] = static_cast<std::uint8_t>(i);
        chunk.shard = owners[i];
        chunk.placement = {1, static_cast<std::uint32_t>(i)};
        chunk.on_shard_since = entry.generation.timestamp;
        chunk.history = {{entry.generation.timestamp, owners[i]}};
        chunks.push_back(std::move(chunk));
        low = std::move(high);
    }
    sharded_[ns] = *routing::ChunkMap::make(std::move(entry), std::move(chunks));
}

void TestRouter::move_chunk(std::size_t chunk, const std::string& to, const std::string& ns) {
    const routing::ChunkMap& old = *sharded_.at(ns);
    const std::string from = old.chunks().at(chunk)->shard;
    routing::Placement next{old.version().placement.major + 1, 0};
    std::vector<routing::Chunk> changed = {*old.chunks()[chunk]};
    changed.front().shard = to;
    changed.front().placement = next;
    // Another chunk of the donor's tells it that what it owns is less.
    for (std::size_t i = 0; i < old.chunks().size() && changed.size() == 1; ++i) {
        if (i == chunk || old.chunks()[i]->shard != from) continue;
        changed.push_back(*old.chunks()[i]);
        changed.back().placement = {next.major, 1};
    }
    sharded_[ns] = *old.updated(old.collection(), std::move(changed));
}

void TestRouter::move_chunk_at(Timestamp when, std::size_t chunk, const std::string& to) {
    move_chunk(chunk, to);
    auto& map = sharded_.at("shop.items");
    std::vector<routing::Chunk> changed = {*map->chunks()[chunk]};
    auto& history = changed.front().history;
    history.insert(history.begin(), {when, to});
    map = *map->updated(map->collection(), std::move(changed));
}

void TestRouter::add_database(const std::string& name) {
    const auto number = static_cast<std::uint8_t>(databases_.size() + 1);
    routing::DatabaseEntry& entry = databases_[name];
    entry.name = name;
    entry.primary = "A";
    entry.version.uuid.bytes.fill(number);
    entry.version.timestamp = {50, number};
    entry.version.last_mod = 1;
}

void TestRouter::move_database(const std::string& to) {
    databases_.at("shop").primary = to;
    ++databases_.at("shop").version.last_mod;
}

routing::RoutingInfo TestRouter::placement(const std::string& ns) const {
    const auto at = sharded_.find(ns);
    return {databases_.at(ns.substr(0, ns.find('.'))), at == sharded_.end() ? nullptr : at->second};
}

std::vector<bson::Document> TestRouter::config_documents(std::string_view collection) const {
    std::vector<bson::Document> result;
    if (collection == "shards")
        for (const auto& [shard, primary] : primaries_)
            if (!removed_.contains(shard)) result.push_back(
                bson::make("_id", shard, "host", shard + "/" + shard + "-1:1," + shard + "-2:1"));
    if (collection == "databases")
        for (const auto& [name, entry] : databases_)
            result.push_back(entry.to_document());
    for (const auto& [ns, map] : sharded_) {
        if (collection == "collections") result.push_back(map->collection().to_document());
        if (collection != "chunks") continue;
        for (const auto& chunk : map->chunks())
            result.push_back(chunk->to_document(map->collection().uuid));
    }
    return result;
}

bson::Document TestRouter::ask_config(bson::View command) {
    if (command.front().name == "_configsvrCreateDatabase") {
        add_database(std::string(command.front().value.as_string()));
        return ok_reply();
    }
    if (command.front().name == "ping") return ok_reply();
    ++config_reads;
    EXPECT_EQ(command.front().name, "find") << text(command);
    const bson::Value wanted = command["filter"];
    auto filter = query::Filter::parse(wanted.is_object() ? wanted.as_view() : bson::View(), {});
    bson::ArrayBuilder found;
    query::MatchContext context;
    for (const bson::Document& each : config_documents(command.front().value.as_string()))
        if (*filter->matches(each, context)) found.append(each.view());
    bson::Builder reply;
    {
        bson::Builder cursor = reply.object("cursor");
        cursor.append_array("firstBatch", std::move(found).finish());
        cursor.append("id", std::int64_t{0});
    }
    reply.append("ok", 1.0);
    return std::move(reply).finish();
}

// ---- The shards -------------------------------------------------------------------------------

void TestRouter::holds(const std::string& shard, const std::vector<std::string>& documents) {
    std::vector<bson::Document> list;
    for (const std::string& each : documents)
        list.push_back(json(each));
    holds_documents(shard, std::move(list));
}

void TestRouter::answers(const std::string& shard,
                         const std::string& command,
                         const bson::Document& reply) {
    bson::Builder whole;
    whole.append_all(reply);
    if (!reply.view().has("ok")) whole.append("ok", 1.0);
    scripts_[{shard, command}].push_back({Script::Kind::reply, std::move(whole).finish()});
}

void TestRouter::loses(const std::string& shard, const std::string& command) {
    scripts_[{shard, command}].push_back({Script::Kind::lost, {}});
}

void TestRouter::hangs(const std::string& shard, const std::string& command) {
    scripts_[{shard, command}].push_back({Script::Kind::silence, {}});
}

void TestRouter::step_down(const std::string& shard) {
    primaries_.at(shard) = 3 - primaries_.at(shard);
}

bson::Document TestRouter::stale(const std::string& shard, const std::string& ns) const {
    routing::StaleConfigInfo info;
    info.ns = ns;
    info.shard = shard;
    info.wanted = routing::target_of(placement(ns), shard).shard_version;
    return reply_of(info.to_error("stale"));
}

bson::Document TestRouter::hello(const std::string& host, const std::string& shard) const {
    bson::Builder reply;
    reply.append("setName", shard);
    {
        auto hosts = reply.array("hosts");
        for (const int member : {1, 2})
            if (member == 1 || shard != "config")
                hosts.append(shard + "-" + std::to_string(member) + ":1");
    }
    const bool is_primary =
        shard == "config" || host == shard + "-" + std::to_string(primaries_.at(shard)) + ":1";
    reply.append("isWritablePrimary", is_primary).append("secondary", !is_primary);
    reply.append("ok", 1.0);
    return std::move(reply).finish();
}

// As a shard does before it executes anything.
Status TestRouter::check_versions(const std::string& shard, bson::View command) const {
    if (!command.has("shardVersion") || !command.front().value.is_string()) return {};
    const std::string ns = std::string(command["$db"].as_string()) + "." +
                           std::string(command.front().value.as_string());
    const auto received = routing::ShardVersion::parse(command["shardVersion"]);
    EXPECT_TRUE(received.has_value()) << text(command);
    const routing::RoutingInfo known = placement(ns);
    if (known.is_sharded() || !received->is_unsharded()) {
        routing::StaleConfigInfo info;
        info.ns = ns;
        info.shard = shard;
        info.received = *received;
        info.wanted = known.is_sharded() ? routing::ShardVersion(known.chunks->version_of(shard))
                                         : routing::ShardVersion::unsharded();
        if (routing::is_compatible(info.received, *info.wanted)) return {};
        return info.to_error("version mismatch detected for " + ns);
    }
    const auto db_version = routing::DatabaseVersion::parse(command["databaseVersion"]);
    EXPECT_TRUE(db_version.has_value()) << text(command);
    if (*db_version == known.database.version) return {};
    routing::StaleDatabaseInfo info{known.database.name, *db_version, known.database.version};
    return info.to_error("database version mismatch");
}

TestRouter::Script* TestRouter::script_for(const std::string& shard, const std::string& command) {
    for (const std::string& name : {shard, std::string("*")}) {
        const auto at = scripts_.find({name, command});
        if (at != scripts_.end() && !at->second.empty()) return &at->second.front();
    }
    return nullptr;
}

bson::Document TestRouter::ask_shard(const std::string& host,
                                     const std::string& shard,
                                     bson::View command) {
    const std::string name(command.front().name);
    const bson::Value preference = command["$readPreference"];
    const bool is_primary = host == shard + "-" + std::to_string(primaries_.at(shard)) + ":1";
    if (!is_primary && name != "getMore" && name != "killCursors" && !preference.is_object())
        return failure(ErrorCode::not_writable_primary);
    if (auto status = check_versions(shard, command); !status) return reply_of(status.error());
    return serve(host, shard, command);
}

bson::Document TestRouter::serve(const std::string& host,
                                 const std::string& shard,
                                 bson::View command) {
    const std::string_view name = command.front().name;
    if (name == "find" || name == "aggregate") return open_cursor(host, shard, command);
    if (name == "getMore") return get_more(host, command);
    if (name == "killCursors") return kill_cursors(command);
    if (name == "insert")
        return bson::make(
            "ok", 1.0, "n", static_cast<std::int32_t>(command["documents"].as_view().count()));
    ADD_FAILURE() << shard << " has no answer to " << text(command);
    return failure(ErrorCode::command_not_found);
}

bson::Document TestRouter::open_cursor(const std::string& host,
                                       const std::string& shard,
                                       bson::View command) {
    const bool is_find = command.front().name == "find";
    const bson::Value wanted = command["filter"];
    auto filter = query::Filter::parse(wanted.is_object() ? wanted.as_view() : bson::View(), {});
    const bson::Value size =
        is_find ? command["batchSize"] : command["cursor"].as_view()["batchSize"];
    Cursor cursor;
    cursor.host = host;
    query::MatchContext context;
    const auto limit = static_cast<std::size_t>(command["limit"].to_int64());
    for (const bson::Document& each : documents_[shard]) {
        if (!*filter->matches(each, context)) continue;
        const bool has_key = command["$_wantsSortKey"].is_truthy();
        cursor.rest.push_back(has_key ? with_sort_key(each, command["sort"].as_view()) : each);
        cursor.is_limited = cursor.rest.size() == limit;
        if (cursor.is_limited) break;
    }
    cursors_[++last_cursor_] = std::move(cursor);
    const std::string ns =
        std::string(command["$db"].as_string()) + "." +
        (command.front().value.is_string() ? std::string(command.front().value.as_string())
                                           : std::string("$cmd.aggregate"));
    const std::int64_t id = last_cursor_;
    auto reply = next_batch({id, "firstBatch", size.is_number() ? size.to_int64() : 101, ns});
    if (command["singleBatch"].is_truthy()) cursors_.erase(id);
    return reply;
}

bson::Document TestRouter::next_batch(const Batch& wanted) {
    Cursor& cursor = cursors_.at(wanted.id);
    std::deque<bson::Document>& rest = cursor.rest;
    bson::ArrayBuilder documents;
    while (!rest.empty() && documents.count() < wanted.size) {
        documents.append(rest.front().view());
        rest.pop_front();
    }
    // As a member does: a batch that is full leaves the cursor open.
    const bool is_last = rest.empty() && (cursor.is_limited || documents.count() < wanted.size);
    if (is_last) cursors_.erase(wanted.id);
    bson::Builder reply;
    {
        bson::Builder object = reply.object("cursor");
        object.append_array(wanted.name, std::move(documents).finish());
        object.append("id", is_last ? std::int64_t{0} : wanted.id).append("ns", wanted.ns);
    }
    reply.append("ok", 1.0);
    return std::move(reply).finish();
}

bson::Document TestRouter::get_more(const std::string& host, bson::View command) {
    const std::int64_t id = command.front().value.to_int64();
    const auto at = cursors_.find(id);
    if (at == cursors_.end() || at->second.host != host)
        return failure(ErrorCode::cursor_not_found, "cursor id not found");
    const bson::Value size = command["batchSize"];
    const std::string ns = std::string(command["$db"].as_string()) + "." +
                           std::string(command["collection"].as_string());
    return next_batch({id, "nextBatch", size.is_number() ? size.to_int64() : 1'000'000, ns});
}

bson::Document TestRouter::kill_cursors(bson::View command) {
    for (const bson::Element& each : command["cursors"].as_view())
        EXPECT_EQ(cursors_.erase(each.value.to_int64()), 1U) << text(command);
    return ok_reply();
}

// ---- The network ------------------------------------------------------------------------------

async::Task<Result<std::string>> TestRouter::call(async::RemoteCall request,
                                                  async::Cancellation cancellation) {
    const bson::Document command = bson::Document::adopt(std::move(request.command_bson));
    const std::string host = request.target.to_string();
    const std::string shard = shard_of(host);
    const std::string name(command.view().front().name);
    if (down_.contains(shard)) co_return Error(ErrorCode::host_unreachable, "Connection refused");
    if (name == "hello") co_return hello(host, shard).release();
    if (shard == "config" && command["$db"].as_string() == "config" && name == "find")
        co_return ask_config(command).release();
    asked_.push_back({host, shard, command});
    if (name == kills_at_)
        router->operations.kill_all(ErrorCode::interrupted,
                                    [](const auto&, const auto&) { return true; });
    if (Script* const script = script_for(shard, name)) {
        const Script now = std::move(*script);
        const bool is_own = !scripts_[{shard, name}].empty();
        scripts_[{is_own ? shard : "*", name}].pop_front();
        if (now.kind == Script::Kind::reply) co_return std::string(now.reply.bytes());
        if (now.kind == Script::Kind::lost)
            co_return Error(ErrorCode::host_unreachable, "connection reset");
        const auto ticket = never_.ticket();
        const auto outcome = co_await never_.wait(clock, request.deadline, ticket, cancellation);
        if (outcome == async::Notification::Outcome::cancelled)
            co_return Error(ErrorCode::callback_canceled, "cancelled");
        co_return Error(ErrorCode::network_interface_exceeded_time_limit, "too late");
    }
    if (shard == "config") co_return ask_config(command).release();
    co_return ask_shard(host, shard, command).release();
}

async::Task<Result<std::unique_ptr<async::Stream>>> TestRouter::open(HostAndPort,
                                                                     Instant,
                                                                     async::Cancellation) {
    co_return Error(ErrorCode::host_unreachable, "no streams here");
}

// ---- The client -------------------------------------------------------------------------------

void TestRouter::settle() {
    while (loop.run() + workers.run() > 0) {
    }
}

bson::Document TestRouter::run(bson::View command) {
    bson::Builder body;
    body.append_all(command);
    if (!command.has("$db")) body.append("$db", "shop");
    wire::Request message;
    message.bytes = std::string(std::move(body).finish().bytes());
    message.body = bson::View(message.bytes.data());
    wire::ReplyWriter reply(message);
    bool has_ended = false;
    auto handle = [](Dispatcher& dispatcher,
                     std::shared_ptr<ClientInfo> client,
                     const wire::Request& request,
                     wire::ReplyWriter& writer,
                     bool& ended) -> async::Task<void> {
        co_await dispatcher.run(std::move(client), request, writer);
        ended = true;
    };
    async::spawn(loop, handle(*dispatcher_, client_, message, reply, has_ended));
    do
        settle();
    while (!has_ended && clock.advance_to_next());
    ASSERT(has_ended);
    return bson::Document(reply.body());
}

bson::Document TestRouter::more(const bson::Document& reply, std::string_view arguments) {
    const std::string ns(cursor(reply)["ns"].as_string());
    bson::Builder command;
    command.append("getMore", cursor(reply)["id"]);
    command.append("collection", ns.substr(ns.find('.') + 1));
    command.append_all(json("{" + std::string(arguments) + "}"));
    return run(std::move(command).finish());
}

std::vector<Asked> TestRouter::calls(std::string_view command) const {
    std::vector<Asked> result;
    for (const Asked& each : asked_)
        if (each.command.view().front().name == command) result.push_back(each);
    return result;
}

std::string TestRouter::asked(std::string_view command) const {
    std::string result;
    for (const Asked& each : calls(command))
        result += (result.empty() ? "" : ",") + each.shard;
    return result;
}

std::string TestRouter::asked(std::string_view command, std::string_view field) const {
    std::string result;
    for (const Asked& each : calls(command)) {
        const bson::Value value = each.command[field];
        result += (result.empty() ? "" : " ") + each.shard + ":" +
                  (value.is_missing() ? "-" : bson::to_json(value));
    }
    std::replace(result.begin(), result.end(), '"', '\'');
    return result;
}

bson::Document TestRouter::last(std::string_view command) const {
    const auto all = calls(command);
    EXPECT_FALSE(all.empty()) << command << " was never sent";
    return all.empty() ? bson::Document() : all.back().command;
}

}  // namespace tessera::commands::testing
