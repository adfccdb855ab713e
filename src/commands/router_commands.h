// SPDX-License-Identifier: Apache-2.0
//
// The routers' side of commands about catalogs and collections (implemented in router_*.cc): sent
// to the database's primary shard, to every shard that has a part of the collection, or to the
// config servers, and the answers merged.
#pragma once

#include "commands/command.h"

namespace tessera::commands {

async::Task<Status> create_on_router(Router& router, Invocation& invocation);
async::Task<Status> drop_on_router(Router& router, Invocation& invocation);
async::Task<Status> drop_database_on_router(Router& router, Invocation& invocation);
async::Task<Status> rename_collection_on_router(Router& router, Invocation& invocation);
async::Task<Status> explain_aggregation_on_router(Router& router, Invocation& invocation);
async::Task<Status> create_indexes_on_router(Router& router, Invocation& invocation);
async::Task<Status> drop_indexes_on_router(Router& router, Invocation& invocation);
async::Task<Status> set_index_commit_quorum_on_router(Router& router, Invocation& invocation);
async::Task<Status> coll_mod_on_router(Router& router, Invocation& invocation);
async::Task<Status> list_databases_on_router(Router& router, Invocation& invocation);
async::Task<Status> list_collections_on_router(Router& router, Invocation& invocation);
async::Task<Status> list_indexes_on_router(Router& router, Invocation& invocation);
async::Task<Status> find_on_router(Router& router, Invocation& invocation);
async::Task<Status> aggregate_on_router(Router& router, Invocation& invocation);
async::Task<Status> count_on_router(Router& router, Invocation& invocation);
async::Task<Status> distinct_on_router(Router& router, Invocation& invocation);
async::Task<Status> explain_on_router(Router& router, Invocation& invocation);
async::Task<Status> coll_stats_on_router(Router& router, Invocation& invocation);
async::Task<Status> db_stats_on_router(Router& router, Invocation& invocation);
async::Task<Status> data_size_on_router(Router& router, Invocation& invocation);
async::Task<Status> validate_on_router(Router& router, Invocation& invocation);

}  // namespace tessera::commands
