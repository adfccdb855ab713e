// SPDX-License-Identifier: Apache-2.0
//
// Commands that change collections and indexes on a member: create, drop, dropDatabase,
// renameCollection, collMod; createIndexes and dropIndexes are in index_commands.cc.
#include "commands/ddl_commands.h"

#include "bson/json.h"
#include "catalog/index.h"
#include "commands/ddl_execution.h"
#include "commands/index_commands.h"
#include "commands/placement.h"
#include "commands/rename_command.h"
#include "commands/router_commands.h"
#include "commands/support.h"
#include "commands/write_execution.h"
#include "wire/command_line.h"

namespace tessera::commands {
namespace {

using replication::WriteUnit;
using Locks = std::vector<catalog::CollectionLock>;

// The create command's own fields, without its name and the generic ones: the collection's options.
bson::Document options_of(bson::View body) {
    bson::Builder options;
    bool is_first = true;
    for (const bson::Element& field : body) {
        if (std::exchange(is_first, false) || wire::is_generic_argument(field.name) ||
            field.name == "idIndex" || field.name == "autoIndexId" || field.name == "uuid" ||
            field.name == "temp" || field.name == "flags")
            continue;
        options.append(field);
    }
    return std::move(options).finish();
}

Status check_create_fields(const Request& request) {
    return request.check_known_fields("create",
                                      {"capped",
                                       "autoIndexId",
                                       "idIndex",
                                       "size",
                                       "max",
                                       "storageEngine",
                                       "validator",
                                       "validationLevel",
                                       "validationAction",
                                       "indexOptionDefaults",
                                       "viewOn",
                                       "pipeline",
                                       "collation",
                                       "changeStreamPreAndPostImages",
                                       "timeseries",
                                       "clusteredIndex",
                                       "expireAfterSeconds",
                                       "encryptedFields",
                                       "temp",
                                       "flags",
                                       "uuid"});
}

Status create_view(Member& member, Invocation& invocation, const Namespace& ns) {
    const bson::View body = invocation.request.body;
    if (!body["viewOn"].is_string() || body["viewOn"].as_string().empty())
        return Error(ErrorCode::bad_value, "'viewOn' cannot be empty");
    if (member.catalog->find(ns))
        return Error(ErrorCode::namespace_exists,
                     "Collection already exists. NS: " + ns.to_string());
    const Namespace views{ns.db, "system.views"};
    TRY_OK(ensure_collection(member, invocation, views));
    bson::Builder builder;
    builder.append("_id", ns.to_string()).append("viewOn", body["viewOn"]);
    if (const bson::Value pipeline = body["pipeline"]; pipeline.is_array())
        builder.append("pipeline", pipeline);
    else
        builder.array("pipeline");
    if (const bson::Value collation = body["collation"]; collation.is_object())
        builder.append("collation", collation);
    const bson::Document document = std::move(builder).finish();
    if (const auto old = member.catalog->find_view(ns)) {
        const bool is_same = old->on == body["viewOn"].as_string();
        if (is_same &&
            bson::Document(old->options)["pipeline"].bytes() == document["pipeline"].bytes())
            return {};
        return Error(ErrorCode::namespace_exists, "A view already exists. NS: " + ns.to_string());
    }
    const catalog::CollectionLock lock = member.catalog->lock_shared(views);
    ENSURE(lock.collection() != nullptr);
    TRY(auto unit, WriteUnit::begin(*member.replication, *member.engine, member.clock));
    TRY_OK(unit.insert(*lock, document, replication::no_statement));
    TRY(invocation.last_write, unit.commit());
    return member.catalog->reload_views(ns.db);
}

std::optional<bson::Uuid> uuid_of(bson::View body) {
    const bson::Value value = body["uuid"];
    if (value.type() != bson::Type::binary || value.as_binary().bytes.size() != 16) return {};
    bson::Uuid uuid;
    std::memcpy(uuid.bytes.data(), value.as_binary().bytes.data(), 16);
    return uuid;
}

Status create(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(check_create_fields(request));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    if (ns.is_system() && ns.collection != "system.views" && ns.collection != "system.js" &&
        ns.collection != "system.profile" && ns.db != "config" && ns.db != "admin")
        return Error(ErrorCode::invalid_namespace, "Invalid system namespace: " + ns.to_string());
    // Held while DDL runs: a change of the collection's placement does not begin under it.
    TRY([[maybe_unused]] const Placement placement, check_placement(member, request, ns, true));
    if (request.body.has("viewOn")) return create_view(member, invocation, ns);
    if (request.body.has("pipeline"))
        return Error(ErrorCode::invalid_options,
                     "'pipeline' requires 'viewOn' to also be specified");
    replication::NewCollection what;
    what.options = options_of(request.body);
    if (invocation.operation->client->is_internal) what.uuid = uuid_of(request.body);
    if (const bson::Value index = request.body["idIndex"]; index.is_object())
        what.id_index = bson::Document(index.as_view());
    if (member.catalog->find_view(ns))
        return Error(ErrorCode::namespace_exists, "A view already exists. NS: " + ns.to_string());
    return run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
        if (locks[0]) {
            // Creating what is there already is no error when it is the same.
            if (locks[0]->options().document.view() == what.options.view()) return OpTime();
            return Error(ErrorCode::namespace_exists,
                         "Collection " + ns.to_string() + " already exists.");
        }
        return replication::create_collection(unit, *member.catalog, ns, what);
    });
}

Status drop_view(Member& member, Invocation& invocation, const Namespace& ns) {
    const Namespace views{ns.db, "system.views"};
    const catalog::CollectionLock lock = member.catalog->lock_shared(views);
    ENSURE(lock.collection() != nullptr);
    TRY(auto unit, WriteUnit::begin(*member.replication, *member.engine, member.clock));
    bson::Arena arena;
    TRY(const auto found, lock->find_by_id(unit.transaction(), arena.make(ns.to_string())));
    if (found) {
        const bson::Document before(found->document);
        TRY_OK(unit.remove(*lock, found->id, before, replication::no_statement));
        TRY(invocation.last_write, unit.commit());
    }
    return member.catalog->reload_views(ns.db);
}

// A drop by UUID, too, concerns that collection or none. `found`: what has the name, or null.
Status check_uuid(const Member& member,
                  const DropArguments& arguments,
                  const catalog::Collection* found) {
    if (!arguments.uuid || (found != nullptr && found->uuid() == *arguments.uuid)) return {};
    const auto actual = member.catalog->find(*arguments.uuid);
    const bool is_here = actual != nullptr && actual->ns().db == arguments.ns.db;
    return uuid_mismatch(arguments, is_here ? actual->ns().collection : std::string());
}

Status drop(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY(const DropArguments arguments, parse_drop(request));
    const Namespace& ns = arguments.ns;
    invocation.ns = ns;
    TRY([[maybe_unused]] const Placement placement, check_placement(member, request, ns, true));
    if (member.catalog->find_view(ns)) {
        TRY_OK(check_uuid(member, arguments, nullptr));
        TRY_OK(drop_view(member, invocation, ns));
        invocation.reply.append("ns", ns.to_string());
        return {};
    }
    if (ns.is_system() && ns.collection != "system.views" && ns.collection != "system.profile" &&
        ns.collection != "system.js" && !invocation.operation->client->is_internal &&
        ns.db != "config")
        return Error(ErrorCode::illegal_operation,
                     "can't drop system collection " + ns.to_string());
    if (ns.collection == profile_collection && member.profiler.settings(ns.db).level > 0)
        return Error(ErrorCode::illegal_operation,
                     "turn off profiling before dropping system.profile collection");
    std::size_t indexes = 0;
    TRY_OK(run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
        const Status named = check_uuid(member, arguments, locks[0].collection());
        if ((!named || !locks[0]) && ns.is_replicated())
            answer_after_newest_write(member, invocation);
        if (!named) return named.error();
        if (!locks[0]) return Error(ErrorCode::namespace_not_found, "ns not found");
        indexes = locks[0]->indexes().size();
        return replication::drop_collection(unit, *member.catalog, ns);
    }));
    member.cursors.kill_namespace(ns);
    member.metrics.forget(ns);
    if (ns.collection == "system.views") TRY_OK(member.catalog->reload_views(ns.db));
    append_count(invocation.reply, "nIndexesWas", static_cast<std::int64_t>(indexes));
    invocation.reply.append("ns", ns.to_string());
    return {};
}

Status drop_database(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    const std::string db(request.db);
    if (db == "admin" || db == "local" || db == "config")
        return Error(ErrorCode::illegal_operation,
                     "Dropping the '" + db + "' database is prohibited.");
    TRY([[maybe_unused]] const Placement placement,
        check_placement(member, request, Namespace{db, "$cmd"}, true));
    const auto collections = member.catalog->collections(db);
    if (collections.empty()) {
        answer_after_newest_write(member, invocation);
        return {};
    }
    member.profiler.forget(db);
    for (const auto& collection : collections) {
        const Namespace ns = collection->ns();
        TRY_OK(
            run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
                if (!locks[0]) return OpTime();
                return replication::drop_collection(unit, *member.catalog, ns);
            }));
        member.cursors.kill_namespace(ns);
        member.metrics.forget(ns);
    }
    TRY_OK(member.catalog->reload_views(db));
    TRY(auto unit, WriteUnit::begin(*member.replication, *member.engine, member.clock));
    const bson::Document object = bson::make("dropDatabase", 1);
    TRY_OK(unit.command(Namespace{db, ""}, {}, object, {}));
    TRY(const OpTime at, unit.commit());
    if (invocation.last_write < at) invocation.last_write = at;
    invocation.reply.append("dropped", db);
    return {};
}

// viewOn and pipeline go together, as in create; both replace what the view had.
Status modify_view(Member& member, Invocation& invocation, const catalog::ViewDefinition& view) {
    const bson::View body = invocation.request.body;
    for (const bson::Element& field : body) {
        const bool is_known = field.name == body.front().name || field.name == "viewOn" ||
                              field.name == "pipeline" || wire::is_generic_argument(field.name);
        if (!is_known)
            return Error(ErrorCode::invalid_options,
                         "option not supported on a view: " + std::string(field.name));
    }
    const bson::Value on = body["viewOn"];
    const bson::Value pipeline = body["pipeline"];
    if (on.is_missing() && pipeline.is_missing()) return {};
    if (!on.is_string())
        return Error(ErrorCode::invalid_options,
                     "Must specify 'viewOn' when modifying 'pipeline' on a view");
    if (!pipeline.is_array())
        return Error(ErrorCode::invalid_options,
                     "Must specify 'pipeline' when modifying 'viewOn' on a view");
    if (on.as_string().empty()) return Error(ErrorCode::bad_value, "'viewOn' cannot be empty");
    const Namespace views{view.ns.db, "system.views"};
    {
        const catalog::CollectionLock lock = member.catalog->lock_shared(views);
        ENSURE(lock.collection() != nullptr);
        TRY(auto unit, WriteUnit::begin(*member.replication, *member.engine, member.clock));
        const bson::Document id = bson::make("_id", view.ns.to_string());
        TRY(const auto found, lock->find_by_id(unit.transaction(), id["_id"]));
        if (!found) return Error(ErrorCode::namespace_not_found, "ns does not exist");
        const bson::Document before(found->document);
        bson::Builder changed;
        for (const bson::Element& field : before.view()) {
            if (field.name == "viewOn") changed.append("viewOn", on);
            else if (field.name == "pipeline") changed.append("pipeline", pipeline);
            else changed.append(field);
        }
        const bson::Document after = std::move(changed).finish();
        TRY_OK(unit.update(*lock, {found->id, before, after, after}));
        TRY(invocation.last_write, unit.commit());
    }
    member.cursors.kill_namespace(view.ns);
    return member.catalog->reload_views(view.ns.db);
}

Status coll_mod(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("collMod",
                                      {"index",
                                       "validator",
                                       "validationLevel",
                                       "validationAction",
                                       "cappedSize",
                                       "cappedMax",
                                       "changeStreamPreAndPostImages",
                                       "viewOn",
                                       "pipeline",
                                       "dryRun",
                                       "expireAfterSeconds",
                                       "recordPreImages",
                                       "timeseries"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    TRY([[maybe_unused]] const Placement placement, check_placement(member, request, ns, true));
    if (const auto view = member.catalog->find_view(ns))
        return modify_view(member, invocation, *view);
    if (request.body.has("viewOn") || request.body.has("pipeline"))
        return Error(ErrorCode::invalid_options,
                     "option not supported on a collection: viewOn, pipeline");
    bson::Builder command;
    bool is_first = true;
    for (const bson::Element& field : request.body)
        if (std::exchange(is_first, false) || !wire::is_generic_argument(field.name))
            command.append(field);
    const bson::Document object = std::move(command).finish();
    return run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
        if (!locks[0])
            return Error(ErrorCode::namespace_not_found, "ns does not exist: " + ns.to_string());
        return replication::modify_collection(
            unit, *member.catalog, *locks[0], object, invocation.reply);
    });
}

}  // namespace

Result<DropArguments> parse_drop(const Request& request) {
    TRY_OK(request.check_known_fields("drop", {"collectionUUID"}));
    DropArguments result;
    TRY(result.ns, request.collection());
    if (const bson::Value uuid = request.body["collectionUUID"]; !uuid.is_missing()) {
        TRY(result.uuid, bson::uuid_in(uuid));
    }
    return result;
}

Error uuid_mismatch(const DropArguments& arguments, const std::string& actual) {
    ASSERT(arguments.uuid.has_value());
    bson::Builder details;
    details.append("db", arguments.ns.db).append("collectionUUID", *arguments.uuid);
    details.append("expectedCollection", arguments.ns.collection);
    if (actual.empty())
        details.append_null("actualCollection");
    else
        details.append("actualCollection", actual);
    return {ErrorCode::collection_uuid_mismatch,
            "Collection UUID does not match that specified",
            std::move(std::move(details).finish()).release()};
}

const std::array<Command, 10> ddl_commands = {{
    {"create",
     flags::writes,
     worker_function<create>,
     create_on_router,
     Counted::command,
     "Creates a collection or a view."},
    {"drop",
     flags::writes,
     worker_function<drop>,
     drop_on_router,
     Counted::command,
     "Drops a collection or a view."},
    {"dropDatabase",
     flags::writes,
     worker_function<drop_database>,
     drop_database_on_router,
     Counted::command,
     "Drops a database."},
    {"renameCollection",
     flags::writes | flags::admin_only,
     worker_function<rename_collection>,
     rename_collection_on_router,
     Counted::command,
     "Renames a collection."},
    {"createIndexes",
     flags::writes,
     create_indexes,
     create_indexes_on_router,
     Counted::command,
     "Builds indexes."},
    {"setIndexCommitQuorum",
     flags::writes,
     worker_function<set_index_commit_quorum>,
     set_index_commit_quorum_on_router,
     Counted::command,
     "Changes how many members an index build waits for."},
    {"voteCommitIndexBuild",
     flags::any_state | flags::internal | flags::quiet,
     vote_commit_index_build,
     nullptr,
     Counted::command,
     "Internal."},
    {"dropIndexes",
     flags::writes,
     worker_function<drop_indexes>,
     drop_indexes_on_router,
     Counted::command,
     "Drops indexes."},
    {"deleteIndexes",
     flags::writes | flags::hidden,
     worker_function<drop_indexes>,
     drop_indexes_on_router,
     Counted::command,
     "dropIndexes"},
    {"collMod",
     flags::writes,
     worker_function<coll_mod>,
     coll_mod_on_router,
     Counted::command,
     "Changes a collection's options."},
}};

}  // namespace tessera::commands
