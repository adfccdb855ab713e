// SPDX-License-Identifier: Apache-2.0
//
// What a member has: listDatabases, listCollections, listIndexes.
#include "commands/catalog_commands.h"

#include "catalog/index.h"
#include "commands/cursor_commands.h"
#include "commands/ddl_execution.h"
#include "commands/document_list.h"
#include "commands/router_commands.h"
#include "commands/support.h"
#include "query/match/filter.h"

namespace tessera::commands {
namespace {

Result<query::Filter> parse_filter(const Request& request) {
    TRY(const bson::View filter, object_argument(request.body, "filter", request.name));
    return query::Filter::parse(filter, {});
}

struct DatabaseSize {
    std::uint64_t bytes = 0;
    bool is_empty = true;
};

DatabaseSize size_of(Member& member, const std::string& db) {
    DatabaseSize size;
    for (const auto& collection : member.catalog->collections(db)) {
        size.is_empty = size.is_empty && collection->count() == 0;
        size.bytes += collection->storage_size();
        for (const auto& [name, bytes] : collection->index_sizes()) size.bytes += bytes;
    }
    return size;
}

Status list_databases(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("listDatabases",
                                      {"filter", "nameOnly", "authorizedDatabases"}));
    TRY(const query::Filter filter, parse_filter(request));
    TRY(const bool is_name_only, bool_argument(request.body, "nameOnly", false, "listDatabases"));
    query::MatchContext context;
    std::uint64_t total = 0;
    bson::Builder& reply = invocation.reply;
    {
        auto list = reply.array("databases");
        for (const std::string& db : member.catalog->databases()) {
            bson::Builder entry;
            entry.append("name", db);
            DatabaseSize size;
            if (!is_name_only) {
                size = size_of(member, db);
                entry.append("sizeOnDisk", static_cast<std::int64_t>(size.bytes));
                entry.append("empty", size.is_empty);
            }
            const bson::Document document = std::move(entry).finish();
            TRY(const bool matches, filter.matches(document, context));
            if (!matches) continue;
            total += size.bytes;
            list.append(document);
        }
    }
    if (!is_name_only) {
        reply.append("totalSize", static_cast<std::int64_t>(total));
        reply.append("totalSizeMb", static_cast<std::int64_t>(total >> 20));
    }
    return {};
}

bson::Document describe(const catalog::Collection& collection, bool is_name_only) {
    bson::Builder entry;
    entry.append("name", collection.ns().collection).append("type", "collection");
    if (!is_name_only) {
        entry.append("options", collection.options().document);
        {
            bson::Builder info = entry.object("info");
            info.append("readOnly", false).append("uuid", collection.uuid());
        }
        for (const auto& index : collection.indexes())
            if (index->name() == "_id_") entry.append("idIndex", index->spec());
    }
    return std::move(entry).finish();
}

bson::Document describe(const catalog::ViewDefinition& view, bool is_name_only) {
    bson::Builder entry;
    entry.append("name", view.ns.collection).append("type", "view");
    if (!is_name_only) {
        entry.append("options", view.options);
        entry.object("info").append("readOnly", true);
    }
    return std::move(entry).finish();
}

async::Task<Status> list_collections(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields(
        "listCollections", {"filter", "nameOnly", "authorizedCollections", "cursor"}));
    CO_TRY(const query::Filter filter, parse_filter(request));
    CO_TRY(const bool is_name_only,
           bool_argument(request.body, "nameOnly", false, "listCollections"));
    CO_TRY(const bson::View cursor, object_argument(request.body, "cursor", "listCollections"));
    FirstBatch first;
    CO_TRY(first.batch_size, count_argument(cursor, "batchSize", std::int64_t{1} << 40, "cursor"));
    query::MatchContext context;
    std::vector<bson::Document> documents;
    const auto add = [&](bson::Document document) -> Status {
        TRY(const bool matches, filter.matches(document, context));
        if (matches) documents.push_back(std::move(document));
        return {};
    };
    for (const auto& collection : member.catalog->collections(request.db))
        CO_TRY_OK(add(describe(*collection, is_name_only)));
    for (const auto& view : member.catalog->views(request.db))
        CO_TRY_OK(add(describe(*view, is_name_only)));
    CursorOptions options;
    options.ns = {std::string(request.db), "$cmd.listCollections"};
    auto source = make_list_source(std::move(documents));
    co_return co_await reply_with_cursor(member, invocation, std::move(source), std::move(options),
                                         first);
}

async::Task<Status> list_indexes(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("listIndexes",
                                         {"cursor", "includeBuildUUIDs", "includeIndexBuildInfo"}));
    if (request.body["includeIndexBuildInfo"].is_truthy())
        co_return Error(ErrorCode::command_not_supported,
                        "listIndexes: includeIndexBuildInfo is not supported, "
                        "includeBuildUUIDs is");
    CO_TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    CO_TRY(const bson::View cursor, object_argument(request.body, "cursor", "listIndexes"));
    FirstBatch first;
    CO_TRY(first.batch_size, count_argument(cursor, "batchSize", std::int64_t{1} << 40, "cursor"));
    if (member.catalog->find_view(ns))
        co_return Error(ErrorCode::command_not_supported_on_view,
                        "Namespace " + ns.to_string() + " is a view, not a collection");
    const auto collection = member.catalog->find(ns);
    if (!collection)
        co_return Error(ErrorCode::namespace_not_found, "ns does not exist: " + ns.to_string());
    std::vector<bson::Document> documents;
    for (const auto& index : collection->indexes()) documents.emplace_back(index->spec());
    if (request.body["includeBuildUUIDs"].is_truthy()) {
        for (const auto& [owner, build] : member.catalog->noted_builds()) {
            if (owner->uuid() != collection->uuid()) continue;
            for (const bson::Document& spec : build.specs)
                documents.push_back(bson::make("spec", spec, "buildUUID", build.id));
        }
    }
    CursorOptions options;
    options.ns = ns;
    auto source = make_list_source(std::move(documents));
    co_return co_await reply_with_cursor(member, invocation, std::move(source), std::move(options),
                                         first);
}

}  // namespace

const std::array<Command, 3> catalog_commands = {{
    {"listDatabases", flags::reads | flags::admin_only, worker_function<list_databases>,
     list_databases_on_router, Counted::command, "Lists databases."},
    {"listCollections", flags::reads, list_collections, list_collections_on_router,
     Counted::command, "Lists a database's collections and views."},
    {"listIndexes", flags::reads, list_indexes, list_indexes_on_router, Counted::command,
     "Lists a collection's indexes."},
}};

}  // namespace tessera::commands
