// SPDX-License-Identifier: Apache-2.0
//
// What a router refuses by name.
#include "commands/router.h"
#include "commands/router_commands.h"
#include "commands/write_on_router.h"

namespace tessera::commands {
namespace {

async::Task<Status> refuse(Invocation& invocation) {
    co_return Error(ErrorCode::command_not_supported,
                    std::string(invocation.request.name) +
                        " is not supported through a router yet; docs/compatibility.md lists "
                        "what is");
}

}  // namespace

async::Task<Status> create_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> drop_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> drop_database_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> rename_collection_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> create_indexes_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> drop_indexes_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> coll_mod_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> list_databases_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> list_collections_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> list_indexes_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> find_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> aggregate_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> count_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> distinct_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> explain_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> coll_stats_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> db_stats_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> data_size_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> validate_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> insert_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> update_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> delete_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}
async::Task<Status> find_and_modify_on_router(Router&, Invocation& invocation) {
    return refuse(invocation);
}

}  // namespace tessera::commands
