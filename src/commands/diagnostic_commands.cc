// SPDX-License-Identifier: Apache-2.0
//
// What operators ask a process about itself and its data: serverStatus, collStats, dbStats,
// dataSize, top, validate, dbHash.
#include "commands/diagnostic_commands.h"

#include "bson/compare.h"
#include "catalog/index.h"
#include "catalog/validation.h"
#include "commands/collection_reader.h"
#include "commands/ddl_execution.h"
#include "commands/diagnostic_sources.h"
#include "commands/router.h"
#include "commands/router_commands.h"
#include "commands/server_status.h"
#include "commands/support.h"
#include "query/plan/executor.h"

#include <sys/statvfs.h>

namespace tessera::commands {
namespace {

Status server_status(Member& member, Invocation& invocation) {
    append_server_status(member, &member, invocation.reply);
    return {};
}
Status server_status_on_router(Router& router, Invocation& invocation) {
    append_server_status(router, nullptr, invocation.reply);
    return {};
}

Status coll_stats(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("collStats", {"scale", "numericOnly", "waitForLock"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    TRY(const std::int64_t scale, integer_argument(request.body, "scale", 1, "collStats"));
    if (scale < 1) return Error(location(51024), "BSON field 'scale' value must be >= 1");
    if (member.catalog->find_view(ns)) return is_a_view(ns);
    invocation.reply.append("ns", ns.to_string());
    invocation.reply.append_all(storage_stats(member, ns, scale));
    return {};
}

struct DiskSpace {
    double used = 0;
    double total = 0;
};

DiskSpace disk_space(const std::string& path) {
    struct statvfs space {};
    if (path.empty() || statvfs(path.c_str(), &space) != 0) return {};
    const auto block = static_cast<double>(space.f_frsize);
    return {static_cast<double>(space.f_blocks - space.f_bfree) * block,
            static_cast<double>(space.f_blocks) * block};
}

Status db_stats(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("dbStats", {"scale", "freeStorage"}));
    TRY(const std::int64_t scale, integer_argument(request.body, "scale", 1, "dbStats"));
    if (scale < 1) return Error(location(51024), "BSON field 'scale' value must be >= 1");
    std::int64_t objects = 0;
    std::int64_t data = 0;
    std::int64_t indexes = 0;
    std::uint64_t storage = 0;
    std::uint64_t index_bytes = 0;
    const auto collections = member.catalog->collections(request.db);
    for (const auto& collection : collections) {
        objects += collection->count();
        data += collection->data_size();
        storage += collection->storage_size();
        for (const auto& [name, bytes] : collection->index_sizes()) {
            ++indexes;
            index_bytes += bytes;
        }
    }
    const auto views = static_cast<std::int64_t>(member.catalog->views(request.db).size());
    const auto divisor = static_cast<double>(scale);
    bson::Builder& reply = invocation.reply;
    reply.append("db", request.db);
    append_count(reply, "collections", static_cast<std::int64_t>(collections.size()));
    append_count(reply, "views", views);
    append_count(reply, "objects", objects);
    reply.append("avgObjSize",
                 objects > 0 ? static_cast<double>(data) / static_cast<double>(objects) : 0.0);
    reply.append("dataSize", static_cast<double>(data) / divisor);
    reply.append("storageSize", static_cast<double>(storage) / divisor);
    append_count(reply, "indexes", indexes);
    reply.append("indexSize", static_cast<double>(index_bytes) / divisor);
    reply.append("totalSize", static_cast<double>(storage + index_bytes) / divisor);
    reply.append("scaleFactor", divisor);
    const DiskSpace space = collections.empty() ? DiskSpace() : disk_space(member.process.db_path);
    reply.append("fsUsedSize", space.used / divisor);
    reply.append("fsTotalSize", space.total / divisor);
    return {};
}

bson::View range_end(const bson::Value& value) {
    return value.is_object() ? value.as_view() : bson::View();
}

struct RangeSize {
    std::int64_t bytes = 0;
    std::int64_t documents = 0;
};

// The key pattern of the index whose range is measured: the one named, or one that begins with the
// fields of the bounds.
Result<bson::Document> index_of_range(const catalog::Collection& collection,
                                      bson::View pattern,
                                      bson::View min) {
    const bson::View wanted = pattern.is_empty() ? min : pattern;
    for (const auto& index : collection.indexes()) {
        const bson::View key = index->spec()["key"].as_view();
        auto field = key.begin();
        bool is_prefix = true;
        for (const bson::Element& each : wanted) {
            is_prefix = is_prefix && field != key.end() && field->name == each.name &&
                        (pattern.is_empty() || bson::equal(field->value, each.value));
            if (field != key.end()) ++field;
        }
        const bool is_whole = !index->spec().has("partialFilterExpression") &&
                              !index->info().is_sparse && !index->is_multikey();
        if (is_prefix && is_whole)
            return bson::Document(key);
    }
    return Error(ErrorCode::operation_failed,
                 "couldn't find valid index containing key pattern");
}

// `read` holds the bounds; those given for the index's first fields are filled up.
Result<RangeSize> size_of_range(Member& member,
                                Invocation& invocation,
                                catalog::Collection& collection,
                                query::ReadRequest read,
                                bool is_estimate) {
    const auto fill_up = [&](bson::Document& bound) {
        bson::Builder whole;
        auto given = bound.view().begin();
        for (const bson::Element& field : read.hint.pattern.view()) {
            if (given != bound.view().end()) {
                whole.append(field.name, given->value);
                ++given;
            } else if (field.value.is_number() && field.value.to_double() < 0) {
                whole.append_max_key(field.name);
            } else {
                whole.append_min_key(field.name);
            }
        }
        bound = std::move(whole).finish();
    };
    fill_up(read.min);
    fill_up(read.max);
    OperationInterrupt interrupt(member.clock);
    interrupt.set_operation(invocation.operation.get());
    TRY(const auto transaction, member.engine->begin());
    query::Executor executor(collection.source(), std::move(read), &interrupt);
    TRY_OK(executor.start(*transaction));
    RangeSize range;
    while (true) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        ++range.documents;
        range.bytes += executor.document().size();
    }
    executor.save_state();
    const std::int64_t count = collection.count();
    if (is_estimate && count > 0) range.bytes = range.documents * (collection.data_size() / count);
    return range;
}

Status data_size(Member& member, Invocation& invocation) {
    const bson::Value first = invocation.request.body.front().value;
    if (!first.is_string())
        return Error(ErrorCode::type_mismatch, "dataSize takes a namespace as a string");
    const Namespace ns = Namespace::split(first.as_string());
    invocation.ns = ns;
    TRY_OK(invocation.request.check_known_fields(
        "dataSize", {"keyPattern", "min", "max", "estimate"}));
    const Instant started = member.clock.now();
    const bson::View body = invocation.request.body;
    const bool is_estimate = body["estimate"].is_truthy();
    const bson::View min = range_end(body["min"]);
    const bson::View max = range_end(body["max"]);
    const catalog::CollectionLock lock = member.catalog->lock_shared(ns);
    RangeSize range;
    if (lock && min.is_empty() && max.is_empty()) {
        range = {lock->data_size(), lock->count()};
    } else if (lock) {
        if (min.is_empty() != max.is_empty())
            return Error(ErrorCode::bad_value,
                         "only one of min or max specified: dataSize needs both or neither");
        query::ReadRequest read;
        read.hint.pattern = bson::Document(range_end(body["keyPattern"]));
        read.min = bson::Document(min);
        read.max = bson::Document(max);
        TRY(read.hint.pattern, index_of_range(*lock, read.hint.pattern, read.min));
        TRY(range, size_of_range(member, invocation, *lock, std::move(read), is_estimate));
    }
    bson::Builder& reply = invocation.reply;
    reply.append("estimate", is_estimate);
    append_count(reply, "size", range.bytes);
    append_count(reply, "numObjects", range.documents);
    append_count(reply, "millis", to_milliseconds(member.clock.now() - started));
    return {};
}

Status top(Member& member, Invocation& invocation) {
    bson::Builder totals = invocation.reply.object("totals");
    member.metrics.append_top(totals);
    return {};
}

// What the flags of validate ask for. Fails with InvalidOptions where they exclude one another.
Result<catalog::ValidationOptions> validation_options(const Member& member, bson::View body) {
    constexpr std::string_view flag_names[] = {
        "full", "background", "metadata", "checkBSONConformance", "repair", "fixMultikey"};
    bool given[std::size(flag_names)] = {};
    for (std::size_t i = 0; i < std::size(flag_names); ++i) {
        TRY(given[i], bool_argument(body, flag_names[i], false, "validate"));
    }
    const auto [full, background, metadata, conformance, repair, multikey] = given;
    const auto refuse = [](const std::string& what) {
        return Error(ErrorCode::invalid_options, "Running the validate command with " + what);
    };
    const auto exclude = [&](std::string_view one, std::string_view two) {
        return refuse("both { " + std::string(one) + ": true } and { " + std::string(two) +
                      ": true } is not supported.");
    };
    if (background && full) return exclude("background", "full");
    if (background && repair) return exclude("background", "repair");
    if (background && multikey) return exclude("background", "fixMultikey");
    if (conformance && repair) return exclude("checkBSONConformance", "repair");
    if (conformance && multikey) return exclude("checkBSONConformance", "fixMultikey");
    if (metadata && (full || background || conformance || repair || multikey))
        return refuse("{ metadata: true } and any other option is not supported.");
    const bool is_standalone = !member.replication->is_replica_set();
    if ((repair || multikey) && !is_standalone)
        return refuse(std::string(repair ? "{ repair: true }" : "{ fixMultikey: true }") +
                      " can only be performed in standalone mode.");
    if (conformance)
        return Error(ErrorCode::command_not_supported,
                     "validate: checkBSONConformance is not supported: what is stored was checked "
                     "when it came");
    return catalog::ValidationOptions{repair, multikey, full, metadata};
}

void append_entry_faults(std::string_view field,
                         const std::vector<catalog::IndexEntryFault>& faults,
                         bson::Builder& reply) {
    auto list = reply.array(field);
    for (const auto& fault : faults) {
        bson::Builder one = list.object();
        one.append("indexName", fault.index).append("recordId", fault.record.value);
        if (!fault.id.is_empty()) one.append("idKey", fault.id);
    }
}

void append_validation(const Namespace& ns, const catalog::Validation& report,
                       bson::Builder& reply) {
    reply.append("ns", ns.to_string());
    append_count(reply, "nInvalidDocuments", report.invalid_documents);
    append_count(reply, "nNonCompliantDocuments", 0);
    append_count(reply, "nrecords", report.records);
    append_count(reply, "nIndexes", static_cast<std::int64_t>(report.indexes.size()));
    {
        bson::Builder keys = reply.object("keysPerIndex");
        for (const auto& index : report.indexes) append_count(keys, index.name, index.keys);
    }
    {
        bson::Builder details = reply.object("indexDetails");
        for (const auto& index : report.indexes)
            details.object(index.name).append("valid", index.is_valid);
    }
    reply.append("valid", report.errors.empty()).append("repaired", report.is_repaired);
    const auto append_texts = [&](std::string_view field, const std::vector<std::string>& texts) {
        auto list = reply.array(field);
        for (const std::string& text : texts) list.append(text);
    };
    append_texts("warnings", report.warnings);
    append_texts("errors", report.errors);
    append_entry_faults("extraIndexEntries", report.extra_entries, reply);
    append_entry_faults("missingIndexEntries", report.missing_entries, reply);
    auto corrupt = reply.array("corruptRecords");
    for (const bson::RecordId record : report.corrupt_records) corrupt.append(record.value);
}

Status validate(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("validate", {"full", "background", "metadata",
                                                   "checkBSONConformance", "repair",
                                                   "fixMultikey"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    TRY(const auto options, validation_options(member, request.body));
    if (member.catalog->find_view(ns))
        return Error(ErrorCode::command_not_supported_on_view, "Cannot validate a view");
    const catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
    if (!lock)
        return Error(ErrorCode::namespace_not_found,
                     "Collection '" + ns.to_string() + "' does not exist to validate.");
    TRY(const auto report, catalog::validate_collection(*lock, *member.engine, options));
    append_validation(ns, report, invocation.reply);
    return {};
}

Status db_hash(Member& member, Invocation& invocation) {
    const Instant started = member.clock.now();
    TRY(const auto hash, catalog::hash_database(*member.catalog, *member.engine,
                                                invocation.request.db, Timestamp()));
    bson::Builder& reply = invocation.reply;
    reply.append("host", member.process.host.to_string());
    {
        bson::Builder collections = reply.object("collections");
        for (const auto& [name, md5] : hash.collections) collections.append(name, md5);
    }
    {
        auto capped = reply.array("capped");
        for (const auto& each : member.catalog->collections(invocation.request.db))
            if (each->options().is_capped) capped.append(each->ns().collection);
    }
    {
        bson::Builder uuids = reply.object("uuids");
        for (const auto& each : member.catalog->collections(invocation.request.db))
            uuids.append(each->ns().collection, each->uuid());
    }
    reply.append("md5", hash.md5);
    append_count(reply, "timeMillis", to_milliseconds(member.clock.now() - started));
    return {};
}

}  // namespace

const std::array<Command, 9> diagnostic_commands = {{
    {"serverStatus", flags::any_state, member_function<server_status>,
     router_function<server_status_on_router>, Counted::command, "Counters of the process."},
    {"collStats", flags::reads, worker_function<coll_stats>, coll_stats_on_router,
     Counted::command, "A collection's sizes."},
    {"dbStats", flags::reads, worker_function<db_stats>, db_stats_on_router, Counted::command,
     "A database's sizes."},
    {"dbstats", flags::reads | flags::hidden, worker_function<db_stats>, db_stats_on_router,
     Counted::command, "dbStats"},
    {"dataSize", flags::reads, worker_function<data_size>, data_size_on_router, Counted::command,
     "A collection's size in bytes."},
    {"top", flags::any_state | flags::admin_only, member_function<top>, nullptr,
     Counted::command, "Time spent on each collection."},
    {"validate", flags::any_state, worker_function<validate>, validate_on_router,
     Counted::command, "Checks a collection and its indexes."},
    {"dbHash", flags::any_state, worker_function<db_hash>, nullptr, Counted::command,
     "Hashes of a database's collections."},
    {"dbhash", flags::any_state | flags::hidden, worker_function<db_hash>, nullptr,
     Counted::command, "dbHash"},
}};

}  // namespace tessera::commands
