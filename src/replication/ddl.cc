// SPDX-License-Identifier: Apache-2.0
#include "replication/ddl.h"

#include "catalog/index.h"

namespace tessera::replication {

Result<OpTime> create_collection(WriteUnit& unit,
                                 catalog::Catalog& catalog,
                                 const Namespace& ns,
                                 const NewCollection& what) {
    catalog::CreateOptions options;
    options.uuid = what.uuid ? *what.uuid : unit.make_uuid();
    options.options = what.options;
    options.id_index = what.id_index;
    TRY_OK(unit.use_next_position());
    TRY(auto change, catalog.create(unit.transaction(), ns, options));
    bson::Builder object;
    object.append("create", ns.collection).append_all(what.options);
    if (what.id_index) {
        object.append("idIndex", *what.id_index);
    } else {
        const bson::Document key = bson::make("_id", 1);
        object.append("idIndex", bson::make("v", 2, "key", key, "name", "_id_"));
    }
    const bson::Document entry = std::move(object).finish();
    TRY_OK(unit.command(ns, options.uuid, entry, {}));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> drop_collection(WriteUnit& unit, catalog::Catalog& catalog, const Namespace& ns) {
    const auto collection = catalog.find(ns);
    ENSURE(collection != nullptr);
    TRY_OK(unit.use_next_position());
    TRY(auto change, catalog.drop(unit.transaction(), ns, unit.next_position().timestamp));
    const bson::Document object = bson::make("drop", ns.collection);
    bson::Builder object2;
    object2.append_integer("numRecords", collection->count());
    const bson::Document records = std::move(object2).finish();
    TRY_OK(unit.command(ns, collection->uuid(), object, records.view()));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> rename_collection(WriteUnit& unit,
                                 catalog::Catalog& catalog,
                                 const Namespace& from,
                                 const Namespace& to,
                                 catalog::RenameOptions options) {
    const auto source = catalog.find(from);
    const auto target = catalog.find(to);
    ENSURE(source != nullptr);
    TRY_OK(unit.use_next_position());
    TRY(auto change,
        catalog.rename(unit.transaction(), from, to, options, unit.next_position().timestamp));
    bson::Builder object;
    object.append("renameCollection", from.to_string()).append("to", to.to_string());
    object.append("stayTemp", false);
    bson::Builder object2;
    if (target) {
        object.append("dropTarget", target->uuid());
        object2.append_integer("numRecords", target->count());
    }
    const bson::Document entry = std::move(object).finish();
    const bson::Document records = std::move(object2).finish();
    std::optional<bson::View> extra;
    if (target) extra = records.view();
    TRY_OK(unit.command(from, source->uuid(), entry, extra));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> create_index(WriteUnit& unit,
                            catalog::Catalog& catalog,
                            catalog::Collection& collection,
                            bson::View checked_spec) {
    TRY_OK(unit.use_next_position());
    TRY(auto change,
        catalog.create_index(
            unit.transaction(), collection, checked_spec, unit.next_position().timestamp));
    bson::Builder object;
    object.append("createIndexes", collection.ns().collection).append_all(checked_spec);
    const bson::Document entry = std::move(object).finish();
    TRY_OK(unit.command(collection.ns(), collection.uuid(), entry, {}));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> drop_index(WriteUnit& unit,
                          catalog::Catalog& catalog,
                          catalog::Collection& collection,
                          std::string_view name) {
    bson::Document spec;
    for (const auto& index : collection.indexes())
        if (index->name() == name) spec = bson::Document(index->spec());
    TRY_OK(unit.use_next_position());
    TRY(auto change,
        catalog.drop_index(unit.transaction(), collection, name, unit.next_position().timestamp));
    const bson::Document object =
        bson::make("dropIndexes", collection.ns().collection, "index", name);
    TRY_OK(unit.command(collection.ns(), collection.uuid(), object, spec.view()));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> modify_collection(WriteUnit& unit,
                                 catalog::Catalog& catalog,
                                 catalog::Collection& collection,
                                 bson::View command,
                                 bson::Builder& reply) {
    TRY_OK(unit.use_next_position());
    TRY(auto result, catalog.coll_mod(unit.transaction(), collection, command));
    const bson::Document object2 = bson::make("collectionOptions_old", result.old_options);
    TRY_OK(unit.command(collection.ns(), collection.uuid(), command, object2.view()));
    TRY(const OpTime at, unit.commit());
    result.change.published();
    reply.append_all(result.reply);
    return at;
}

}  // namespace tessera::replication
