// SPDX-License-Identifier: Apache-2.0
//
// serverStatus, as far as we have numbers for it: the sections mongostat, mongosh and exporters
// read, with MongoDB's names.
#include "commands/server_status.h"

#include <fstream>

#include <sys/resource.h>
#include <unistd.h>

#include "commands/support.h"

namespace tessera::commands {
namespace {

void append_process(Node& node, bool is_router, bson::Builder& reply) {
    const Duration up = node.clock.now() - node.process.started;
    reply.append("host", node.process.host.to_string()).append("version", server_version);
    reply.append("process", is_router ? "mongos" : "mongod").append("pid", node.process.pid);
    const std::int64_t seconds = to_milliseconds(up) / 1000;
    reply.append("uptime", static_cast<double>(seconds));
    reply.append("uptimeMillis", to_milliseconds(up));
    reply.append("uptimeEstimate", seconds);
    reply.append("localTime", node.clock.wall_now());
}

void append_connections(Node& node, bson::Builder& reply) {
    const ConnectionCounts counts =
        node.connection_counts ? node.connection_counts() : ConnectionCounts();
    bson::Builder connections = reply.object("connections");
    append_count(connections, "current", counts.current);
    append_count(connections, "available", counts.available);
    append_count(connections, "totalCreated", counts.total_created);
    append_count(connections, "active", counts.active);
    append_count(connections, "threaded", counts.current);
}

void append_counters(std::string_view name, const OpCounters& counters, bson::Builder& reply) {
    bson::Builder object = reply.object(name);
    object.append("insert", counters.insert.load()).append("query", counters.query.load());
    object.append("update", counters.update.load()).append("delete", counters.remove.load());
    object.append("getmore", counters.getmore.load()).append("command", counters.command.load());
}

void append_applied(const replication::AppliedCounts& counts, bson::Builder& reply) {
    bson::Builder object = reply.object("opcountersRepl");
    object.append("insert", counts.inserts).append("query", std::int64_t{0});
    object.append("update", counts.updates).append("delete", counts.removes);
    object.append("getmore", std::int64_t{0}).append("command", counts.commands);
}

void append_latencies(const Metrics& metrics, bson::Builder& reply) {
    bson::Builder object = reply.object("opLatencies");
    const auto append = [&](std::string_view name, const LatencyCounter& counter) {
        bson::Builder each = object.object(name);
        each.append("latency", counter.microseconds.load());
        each.append("ops", counter.operations.load());
    };
    append("reads", metrics.reads);
    append("writes", metrics.writes);
    append("commands", metrics.command_latency);
}

void append_memory(bson::Builder& reply) {
    std::ifstream statm("/proc/self/statm");
    std::int64_t pages_virtual = 0;
    std::int64_t pages_resident = 0;
    statm >> pages_virtual >> pages_resident;
    const std::int64_t page = sysconf(_SC_PAGESIZE);
    bson::Builder memory = reply.object("mem");
    memory.append("bits", 64);
    append_count(memory, "resident", pages_resident * page >> 20);
    append_count(memory, "virtual", pages_virtual * page >> 20);
    memory.append("supported", true);
}

void append_extra(bson::Builder& reply) {
    struct rusage usage {};
    getrusage(RUSAGE_SELF, &usage);
    const auto microseconds = [](const timeval& time) {
        return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
    };
    bson::Builder extra = reply.object("extra_info");
    extra.append("note", "fields vary by platform");
    extra.append("user_time_us", microseconds(usage.ru_utime));
    extra.append("system_time_us", microseconds(usage.ru_stime));
    extra.append("maximum_resident_set_kb", std::int64_t{usage.ru_maxrss});
    extra.append("input_blocks", std::int64_t{usage.ru_inblock});
    extra.append("output_blocks", std::int64_t{usage.ru_oublock});
    extra.append("page_reclaims", std::int64_t{usage.ru_minflt});
    extra.append("page_faults", std::int64_t{usage.ru_majflt});
    extra.append("voluntary_context_switches", std::int64_t{usage.ru_nvcsw});
    extra.append("involuntary_context_switches", std::int64_t{usage.ru_nivcsw});
}

// Who waits for a collection's lock, and who runs a command; this one is not counted.
void append_global_lock(Member& member, bson::Builder& reply) {
    std::int64_t readers = 0;
    std::int64_t writers = 0;
    member.operations.for_each(
        [&](const Operation&, const Operation::Description& description) {
            if (description.is_hidden || description.command_name == "serverStatus") return;
            ++(description.is_write ? writers : readers);
        });
    bson::Builder lock = reply.object("globalLock");
    lock.append("totalTime", to_microseconds(member.clock.now() - member.process.started));
    const auto append = [&](std::string_view name, std::int64_t reading, std::int64_t writing) {
        bson::Builder each = lock.object(name);
        append_count(each, "total", reading + writing);
        append_count(each, "readers", reading);
        append_count(each, "writers", writing);
    };
    const auto waiting = member.catalog->lock_waiters();
    append("currentQueue", waiting.shared, waiting.exclusive);
    append("activeClients", readers, writers);
}

void append_engine(Member& member, bson::Builder& reply) {
    {
        bson::Builder engine = reply.object("storageEngine");
        engine.append("name", member.engine->name());
        engine.append("supportsCommittedReads", true);
        engine.append("persistent", member.engine->is_durable());
        engine.append("readOnly", false).append("backupCursorOpen", false);
    }
    const storage::EngineStats stats = member.engine->stats();
    const auto number = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
    bson::Builder engine = reply.object("wiredTiger");
    engine.append("uri", "statistics:");
    {
        bson::Builder cache = engine.object("cache");
        cache.append("bytes currently in the cache", number(stats.cache_bytes));
        cache.append("tracked dirty bytes in the cache", number(stats.cache_dirty_bytes));
        cache.append("maximum bytes configured", number(stats.cache_bytes_max));
        cache.append("bytes read into cache", number(stats.cache_bytes_read));
        cache.append("bytes written from cache", number(stats.cache_bytes_written));
        cache.append("pages read into cache", number(stats.pages_read));
        cache.append("pages written from cache", number(stats.pages_written));
    }
    {
        bson::Builder log = engine.object("log");
        log.append("log bytes written", number(stats.journal_bytes));
        log.append("log sync operations", number(stats.journal_syncs));
    }
    bson::Builder transaction = engine.object("transaction");
    transaction.append("transaction begins", number(stats.transactions_begun));
    transaction.append("transactions committed", number(stats.transactions_committed));
    transaction.append("transactions rolled back", number(stats.transactions_rolled_back));
    transaction.append("transaction checkpoints", number(stats.checkpoints));
}

void append_repl(Member& member, bson::Builder& reply) {
    if (!member.replication->is_replica_set()) return;
    const consensus::TopologyView topology = member.replication->topology();
    bson::Builder repl = reply.object("repl");
    {
        bson::Builder version = repl.object("topologyVersion");
        version.append("processId", member.process.process_id);
        version.append("counter", topology.topology_version);
    }
    {
        auto hosts = repl.array("hosts");
        for (const HostAndPort& host : topology.hosts) hosts.append(host.to_string());
    }
    if (!topology.passives.empty()) {
        auto passives = repl.array("passives");
        for (const HostAndPort& host : topology.passives) passives.append(host.to_string());
    }
    repl.append("setName", topology.set_name);
    append_count(repl, "setVersion", topology.set_version);
    repl.append("isWritablePrimary", topology.is_writable_primary);
    repl.append("secondary", topology.is_secondary);
    if (topology.primary) repl.append("primary", topology.primary->to_string());
    if (topology.me) repl.append("me", topology.me->to_string());
    repl.append("rbid", member.replication->rollback_id());
    member.replication->append_metrics(repl);
}

void append_network(Node& node, bson::Builder& network) {
    const ConnectionCounts counts =
        node.connection_counts ? node.connection_counts() : ConnectionCounts();
    network.append("physicalBytesIn", counts.bytes_in);
    network.append("physicalBytesOut", counts.bytes_out);
    network.append("numRequests", node.metrics.requests.load());
    bson::Builder compression = network.object("compression");
    for (const auto& each : counts.compression) {
        bson::Builder one = compression.object(each.name);
        one.object("compressor")
            .append("bytesIn", each.compressed_in)
            .append("bytesOut", each.compressed_out);
        one.object("decompressor")
            .append("bytesIn", each.decompressed_in)
            .append("bytesOut", each.decompressed_out);
    }
}

void append_metrics(Node& node, bson::Builder& reply) {
    const Metrics& metrics = node.metrics;
    bson::Builder object = reply.object("metrics");
    {
        bson::Builder commands = object.object("commands");
        metrics.append_commands(commands);
    }
    {
        const CursorRegistry::Counts counts = node.cursors.counts();
        bson::Builder cursor = object.object("cursor");
        cursor.append("timedOut", counts.timed_out).append("totalOpened", counts.total_opened);
        bson::Builder open = cursor.object("open");
        open.append("noTimeout", counts.open_no_timeout).append("pinned", counts.open_pinned);
        open.append("total", counts.open);
    }
    {
        bson::Builder document = object.object("document");
        document.append("deleted", metrics.documents_deleted.load());
        document.append("inserted", metrics.documents_inserted.load());
        document.append("returned", metrics.documents_returned.load());
        document.append("updated", metrics.documents_updated.load());
    }
    object.object("operation").append("writeConflicts", metrics.write_conflicts.load());
    object.object("getLastError").append("wtimeouts", metrics.write_concern_timeouts.load());
    bson::Builder ttl = object.object("ttl");
    ttl.append("deletedDocuments", metrics.ttl_deleted.load());
    ttl.append("passes", metrics.ttl_passes.load());
}

}  // namespace

void append_server_status(Node& node, Member* member, bson::Builder& reply) {
    append_process(node, member == nullptr, reply);
    {
        bson::Builder asserts = reply.object("asserts");
        asserts.append("regular", 0).append("warning", 0).append("msg", 0);
        append_count(asserts, "user", node.metrics.asserts_user.load());
        asserts.append("tripwire", 0).append("rollovers", 0);
    }
    append_connections(node, reply);
    append_extra(reply);
    if (member != nullptr) append_global_lock(*member, reply);
    {
        bson::Builder network = reply.object("network");
        network.append("bytesIn", node.metrics.bytes_in.load());
        network.append("bytesOut", node.metrics.bytes_out.load());
        append_network(node, network);
    }
    append_latencies(node.metrics, reply);
    append_counters("opcounters", node.metrics.operations, reply);
    if (member != nullptr) {
        append_applied(member->replication->applied_counts(), reply);
        {
            bson::Builder builds = reply.object("activeIndexBuilds");
            append_count(
                builds, "total", static_cast<std::int64_t>(member->catalog->builds().size()));
        }
        append_repl(*member, reply);
        append_engine(*member, reply);
    }
    append_memory(reply);
    append_metrics(node, reply);
}

}  // namespace tessera::commands
