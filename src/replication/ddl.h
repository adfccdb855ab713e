// SPDX-License-Identifier: Apache-2.0
//
// DDL as one write unit: the catalog's change, its oplog entry, the commit, then publication. Each
// takes a unit with its positions reserved and commits it. The caller holds the exclusive locks.
#pragma once

#include <optional>

#include "catalog/catalog.h"
#include "replication/write_unit.h"

namespace tessera::replication {

struct NewCollection {
    bson::Document options;                      // The create command's, without the name.
    std::optional<bson::Uuid> uuid;              // Given: a shard's part of a sharded collection.
    std::optional<bson::Document> id_index;
};

/// Creates a collection and logs {create: ...}. Requires: one position reserved. Returns it.
Result<OpTime> create_collection(WriteUnit& unit,
                                 catalog::Catalog& catalog,
                                 const Namespace& ns,
                                 const NewCollection& what);
/// Drops a collection and logs {drop: ...}. Requires: one position reserved.
Result<OpTime> drop_collection(WriteUnit& unit, catalog::Catalog& catalog, const Namespace& ns);
/// Renames and logs. Requires: one position reserved.
Result<OpTime> rename_collection(WriteUnit& unit,
                                 catalog::Catalog& catalog,
                                 const Namespace& from,
                                 const Namespace& to,
                                 catalog::RenameOptions options);
/// Builds one index under the exclusive lock and logs {createIndexes: ...}: for collections without
/// documents, or that nobody else knows. Requires: one position reserved.
Result<OpTime> create_index(WriteUnit& unit,
                            catalog::Catalog& catalog,
                            catalog::Collection& collection,
                            bson::View checked_spec);
/// Drops one index and logs. Requires: one position reserved.
Result<OpTime> drop_index(WriteUnit& unit,
                          catalog::Catalog& catalog,
                          catalog::Collection& collection,
                          std::string_view name);
/// collMod; `reply` receives its fields. Requires: one position reserved.
Result<OpTime> modify_collection(WriteUnit& unit,
                                 catalog::Catalog& catalog,
                                 catalog::Collection& collection,
                                 bson::View command,
                                 bson::Builder& reply);

}  // namespace tessera::replication
