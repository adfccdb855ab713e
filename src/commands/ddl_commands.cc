// SPDX-License-Identifier: Apache-2.0
//
// Commands that change collections and indexes on a member: create, drop, dropDatabase,
// renameCollection, createIndexes, dropIndexes, collMod, convertToCapped (refused).
#include "commands/ddl_commands.h"

#include "bson/json.h"
#include "catalog/index.h"
#include "commands/ddl_execution.h"
#include "commands/placement.h"
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

Status drop(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("drop", {"encryptedFields", "dropPendingName"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    if (member.catalog->find_view(ns)) {
        TRY_OK(drop_view(member, invocation, ns));
        invocation.reply.append("ns", ns.to_string());
        return {};
    }
    if (ns.is_system() && ns.collection != "system.views" && ns.collection != "system.profile" &&
        ns.collection != "system.js" && !invocation.operation->client->is_internal &&
        ns.db != "config")
        return Error(ErrorCode::illegal_operation,
                     "can't drop system collection " + ns.to_string());
    std::size_t indexes = 0;
    TRY_OK(run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
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
    const auto collections = member.catalog->collections(db);
    if (collections.empty()) return {};
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

Status rename_collection(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("renameCollection", {"to", "dropTarget", "stayTemp"}));
    const bson::Value source = request.body.front().value;
    const bson::Value target = request.body["to"];
    if (!source.is_string() || !target.is_string())
        return Error(ErrorCode::type_mismatch,
                     "'renameCollection' and 'to' must be namespaces as strings");
    const Namespace from = Namespace::split(source.as_string());
    const Namespace to = Namespace::split(target.as_string());
    TRY_OK(check_namespace(from));
    TRY_OK(check_namespace(to));
    invocation.ns = from;
    if (from == to)
        return Error(ErrorCode::illegal_operation, "Can't rename a collection to itself");
    if (from.db != to.db)
        return Error(ErrorCode::command_not_supported,
                     "renaming a collection to another database is not supported; copy it with "
                     "$out and drop it");
    if (member.catalog->find_view(from))
        return Error(ErrorCode::command_not_supported_on_view, "cannot rename view");
    catalog::RenameOptions options;
    options.drop_target = request.body["dropTarget"].is_truthy();
    TRY_OK(run_ddl(
        member, invocation, {from, to}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            if (!locks[0])
                return Error(ErrorCode::namespace_not_found,
                             "Source collection " + from.to_string() + " does not exist");
            if (member.catalog->find_view(to) || (locks[1] && !options.drop_target))
                return Error(ErrorCode::namespace_exists, "target namespace exists");
            return replication::rename_collection(unit, *member.catalog, from, to, options);
        }));
    member.cursors.kill_namespace(from);
    member.cursors.kill_namespace(to);
    return {};
}

Status create_one_index(
    Member& member, Invocation& invocation, const Namespace& ns, bson::View spec, bool& is_new) {
    return run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
        if (!locks[0])
            return Error(ErrorCode::namespace_not_found, "collection dropped during index build");
        TRY(const auto checked, member.catalog->check_index(*locks[0], spec));
        if (checked.exists_already) return OpTime();
        is_new = true;
        return replication::create_index(unit, *member.catalog, *locks[0], checked.spec);
    });
}

Status create_indexes(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields(
        "createIndexes", {"indexes", "v", "commitQuorum", "ignoreUnknownIndexOptions"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    TRY(const auto specs, request.documents("indexes"));
    if (specs.empty())
        return Error(ErrorCode::bad_value, "Must specify at least one index to create");
    if (member.catalog->find_view(ns))
        return Error(ErrorCode::command_not_supported_on_view, "Cannot create indexes on a view");
    TRY([[maybe_unused]] const Placement placement, check_placement(member, request, ns, true));
    const bool was_there = member.catalog->find(ns) != nullptr;
    TRY_OK(ensure_collection(member, invocation, ns));
    const auto collection = member.catalog->find(ns);
    ENSURE(collection != nullptr);
    const auto before = static_cast<std::int64_t>(collection->indexes().size());
    bool has_new = false;
    for (const bson::View spec : specs) {
        bool is_new = false;
        TRY_OK(create_one_index(member, invocation, ns, spec, is_new));
        has_new |= is_new;
    }
    const auto now = member.catalog->find(ns);
    ENSURE(now != nullptr);
    bson::Builder& reply = invocation.reply;
    append_count(reply, "numIndexesBefore", before);
    append_count(reply, "numIndexesAfter", static_cast<std::int64_t>(now->indexes().size()));
    if (has_new) {
        reply.append("createdCollectionAutomatically", !was_there);
        if (member.replication->is_replica_set()) reply.append("commitQuorum", "votingMembers");
    } else {
        reply.append("note", "all indexes already exist");
    }
    return {};
}

// The names dropIndexes means: "*", a name, names, or a key pattern.
Result<std::vector<std::string>> names_to_drop(const catalog::Collection& collection,
                                               const bson::Value& index) {
    std::vector<std::string> names;
    if (index.is_string() && index.as_string() == "*") {
        for (const auto& each : collection.indexes())
            if (each->name() != "_id_") names.push_back(each->name());
        return names;
    }
    if (index.is_string()) {
        names.emplace_back(index.as_string());
    } else if (index.is_array()) {
        for (const bson::Element& each : index.as_view())
            if (each.value.is_string()) names.emplace_back(each.value.as_string());
    } else if (index.is_object()) {
        for (const auto& each : collection.indexes())
            if (each->spec()["key"].as_view() == index.as_view()) names.push_back(each->name());
        if (names.empty())
            return Error(
                ErrorCode::index_not_found,
                "can't find index with key: " + bson::to_json(index, bson::JsonMode::message));
    } else {
        return Error(ErrorCode::type_mismatch,
                     "BSON field 'dropIndexes.index' is the wrong type '" +
                         std::string(type_name(index.type())) +
                         "', expected types '[string, object, array]'");
    }
    for (const std::string& name : names) {
        if (name == "_id_") return Error(ErrorCode::invalid_options, "cannot drop _id index");
        bool is_there = false;
        for (const auto& each : collection.indexes())
            is_there |= each->name() == name;
        if (!is_there)
            return Error(ErrorCode::index_not_found, "index not found with name [" + name + "]");
    }
    return names;
}

Status drop_indexes(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("dropIndexes", {"index"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    const auto collection = member.catalog->find(ns);
    if (!collection) return Error(ErrorCode::namespace_not_found, "ns not found " + ns.to_string());
    const bson::Value index = request.body["index"];
    if (index.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'dropIndexes.index' is missing but a required field");
    TRY(const auto names, names_to_drop(*collection, index));
    const auto was = static_cast<std::int64_t>(collection->indexes().size());
    for (const std::string& name : names) {
        TRY_OK(
            run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
                if (!locks[0]) return Error(ErrorCode::namespace_not_found, "ns not found");
                return replication::drop_index(unit, *member.catalog, *locks[0], name);
            }));
    }
    member.cursors.kill_namespace(ns);
    append_count(invocation.reply, "nIndexesWas", was);
    if (index.is_string() && index.as_string() == "*")
        invocation.reply.append("msg", "non-_id indexes dropped for collection");
    return {};
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
    if (member.catalog->find_view(ns))
        return Error(ErrorCode::command_not_supported,
                     "collMod of a view is not supported: drop and create the view");
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

const std::array<Command, 8> ddl_commands = {{
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
     worker_function<create_indexes>,
     create_indexes_on_router,
     Counted::command,
     "Builds indexes."},
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
