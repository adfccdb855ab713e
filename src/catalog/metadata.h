// SPDX-License-Identifier: Apache-2.0
//
// What the catalog tables hold. Two of them: "_catalog" for replicated namespaces, unlogged where
// there is an oplog, and "_catalog_local" for the others, always logged. Entries, by the first byte
// of their keys:
//   'c' uuid   {ns, uuid, options, ident, indexes: [{spec, ident, readyAt}],
//              builds: [{id, specs: [spec]}]}, written by DDL in its transaction
//   'm' ident  an index's multikey paths, a uint32 a field; written in a transaction of
//   its own and
//              without a timestamp, before the first document that needs it is: it only grows, and
//              an index that is called multikey without need is merely slower
//   'n' uuid   {count, bytes}, saved now and then; a hint
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/namespace.h"
#include "base/result.h"
#include "bson/ids.h"
#include "bson/view.h"

namespace tessera::catalog {

inline constexpr std::string_view catalog_ident = "_catalog";
inline constexpr std::string_view local_catalog_ident = "_catalog_local";

struct IndexMetadata {
    bson::Document spec;  // As listIndexes shows it.
    std::string ident;
    /// The position it was finished at: readers of earlier timestamps do not use it, since it lacks
    /// what documents were before it was built. Null: good for all.
    Timestamp ready_at = {};
};

/// An index build that is to be continued after a restart; its tables are made anew then.
struct NotedBuild {
    bson::Uuid id;
    std::vector<bson::Document> specs;
};

struct CollectionMetadata {
    Namespace ns;
    bson::Uuid uuid;
    bson::Document options;
    std::string ident;
    std::vector<IndexMetadata> indexes;
    std::vector<NotedBuild> builds;

    bson::Document to_document() const;
    /// Fails with InternalError on what to_document() never wrote.
    static Result<CollectionMetadata> parse(bson::View document);
};

std::string metadata_key(const bson::Uuid& uuid);
std::string count_key(const bson::Uuid& uuid);
std::string multikey_key(std::string_view ident);

}  // namespace tessera::catalog
