// SPDX-License-Identifier: Apache-2.0
//
// renameCollection on a member. Within a database it changes a name. Across databases it copies:
// the documents and indexes go into a collection with a name of its own beside the target, which
// takes the target's name when it is whole; then the source is dropped. The source is locked all
// the while, as documented.
#include "commands/rename_command.h"

#include "base/log.h"
#include "catalog/index.h"
#include "catalog/index_build.h"
#include "commands/ddl_execution.h"
#include "commands/placement.h"
#include "commands/support.h"
#include "routing/versions.h"

namespace tessera::commands {
namespace {

using replication::WriteUnit;
using Locks = std::vector<catalog::CollectionLock>;

constexpr std::uint32_t copied_documents_max = 1000;  // Of one transaction.
constexpr std::size_t copied_bytes_max = 4 * 1024 * 1024;

struct Renaming {
    Namespace from;
    Namespace to;
    catalog::RenameOptions options;
};

Result<Renaming> parse(const Request& request) {
    TRY_OK(request.check_known_fields("renameCollection", {"to", "dropTarget", "stayTemp"}));
    const bson::Value source = request.body.front().value;
    const bson::Value target = request.body["to"];
    if (!source.is_string() || !target.is_string())
        return Error(ErrorCode::type_mismatch,
                     "'renameCollection' and 'to' must be namespaces as strings");
    Renaming result;
    result.from = Namespace::split(source.as_string());
    result.to = Namespace::split(target.as_string());
    TRY_OK(check_namespace(result.from));
    TRY_OK(check_namespace(result.to));
    if (result.from == result.to)
        return Error(ErrorCode::illegal_operation, "Can't rename a collection to itself");
    result.options.drop_target = request.body["dropTarget"].is_truthy();
    return result;
}

Status check_target(Member& member, const Renaming& renaming, bool has_target) {
    if (member.catalog->find_view(renaming.to) || (has_target && !renaming.options.drop_target))
        return Error(ErrorCode::namespace_exists, "target namespace exists");
    return {};
}

Status rename_within(Member& member, Invocation& invocation, const Renaming& renaming) {
    return run_ddl(
        member,
        invocation,
        {renaming.from, renaming.to},
        [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            if (!locks[0])
                return Error(ErrorCode::namespace_not_found,
                             "Source collection " + renaming.from.to_string() + " does not exist");
            TRY_OK(check_target(member, renaming, static_cast<bool>(locks[1])));
            return replication::rename_collection(
                unit, *member.catalog, renaming.from, renaming.to, renaming.options);
        });
}

// The copy of a collection in another database, until it is whole.
class Copy {
public:
    Copy(Member& member, Invocation& invocation, const Renaming& renaming)
        : member_(member),
          invocation_(invocation),
          renaming_(renaming),
          temporary_{renaming.to.db,
                     "tmp" + std::to_string(member.random_number() % 100'000) +
                         ".renameCollection"} {}
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;
    ~Copy() {
        if (is_renamed_ || !member_.catalog->find(temporary_)) return;
        const auto status = ddl({temporary_}, [&](WriteUnit& unit, Locks&) {
            return replication::drop_collection(unit, *member_.catalog, temporary_);
        });
        if (!status)
            log::warning(log::Component::write,
                         9000131,
                         "A temporary collection of renameCollection remains",
                         {{"ns", temporary_.to_string()}, {"error", status.error()}});
    }

    // Requires: the source's exclusive lock.
    Status run(catalog::Collection& source) {
        replication::NewCollection what;
        what.options = source.options().document;
        TRY_OK(ddl({temporary_}, [&](WriteUnit& unit, Locks&) {
            return replication::create_collection(unit, *member_.catalog, temporary_, what);
        }));
        for (const auto& index : source.indexes()) {
            if (index->name() == "_id_") continue;
            const auto copy_index = [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
                TRY(const auto checked, member_.catalog->check_index(*locks[0], index->spec()));
                return replication::create_index(
                    unit, *member_.catalog, *locks[0], checked.spec);
            };
            TRY_OK(ddl({temporary_}, copy_index));
        }
        TRY_OK(copy_documents(source));
        const auto put_in_place = [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            TRY_OK(check_target(member_, renaming_, static_cast<bool>(locks[1])));
            return replication::rename_collection(
                unit, *member_.catalog, temporary_, renaming_.to, renaming_.options);
        };
        TRY_OK(ddl({temporary_, renaming_.to}, put_in_place));
        is_renamed_ = true;
        return {};
    }

private:
    Status ddl(std::vector<Namespace> namespaces, const DdlBody& body) {
        return run_ddl(member_, invocation_, std::move(namespaces), body);
    }

    Status copy_documents(catalog::Collection& source) {
        TRY(const auto reader, member_.engine->begin());
        const auto cursor = reader->open_cursor(*source.record_table());
        TRY(bool is_there, cursor->next());
        while (is_there) {
            TRY_OK(invocation_.operation->check(member_.clock));
            std::vector<bson::Document> batch;
            std::size_t bytes = 0;
            while (is_there && batch.size() < copied_documents_max && bytes < copied_bytes_max) {
                batch.emplace_back(bson::View(cursor->value().data()));
                bytes += cursor->value().size();
                TRY(is_there, cursor->next());
            }
            TRY_OK(insert(batch));
        }
        return {};
    }

    Status insert(const std::vector<bson::Document>& batch) {
        const catalog::CollectionLock lock = member_.catalog->lock_shared(temporary_);
        if (!lock) return Error(ErrorCode::namespace_not_found, "the copy was dropped");
        TRY(auto unit,
            WriteUnit::begin(*member_.replication, *member_.engine, member_.clock));
        TRY_OK(unit.reserve(static_cast<std::uint32_t>(batch.size())));
        for (const bson::Document& document : batch)
            TRY_OK(unit.insert(*lock, document, replication::no_statement, false));
        TRY(const OpTime at, unit.commit());
        if (invocation_.last_write < at) invocation_.last_write = at;
        return {};
    }

    Member& member_;
    Invocation& invocation_;
    const Renaming& renaming_;
    const Namespace temporary_;
    bool is_renamed_ = false;
};

Status rename_across(Member& member, Invocation& invocation, const Renaming& renaming) {
    const catalog::CollectionLock lock = member.catalog->lock_exclusive(renaming.from);
    if (!lock)
        return Error(ErrorCode::namespace_not_found,
                     "Source collection " + renaming.from.to_string() + " does not exist");
    TRY_OK(check_target(member, renaming, member.catalog->find(renaming.to) != nullptr));
    for (const auto& build : member.catalog->builds())
        if (build->collection() == lock->uuid())
            return Error(ErrorCode::background_operation_in_progress_for_namespace,
                         "cannot perform operation: an index build is currently running for "
                         "collection '" + renaming.from.to_string() + "'");
    Copy copy(member, invocation, renaming);
    TRY_OK(copy.run(*lock));
    TRY(auto unit, WriteUnit::begin(*member.replication, *member.engine, member.clock));
    if (renaming.from.is_replicated()) TRY_OK(unit.reserve(1));
    TRY(const OpTime at, replication::drop_collection(unit, *member.catalog, renaming.from));
    if (invocation.last_write < at) invocation.last_write = at;
    return {};
}

}  // namespace

Status rename_collection(Member& member, Invocation& invocation) {
    TRY(const Renaming renaming, parse(invocation.request));
    invocation.ns = renaming.from;
    // A router sends the version of the source alone; it would not have come here had it known the
    // target as sharded.
    Request of_target;
    of_target.is_internal = invocation.request.is_internal;
    bson::Builder unsharded;
    if (!invocation.request.shard_version.is_empty())
        routing::ShardVersion::unsharded().append_to(unsharded, "v");
    const bson::Document version = std::move(unsharded).finish();
    if (version["v"].is_object()) of_target.shard_version = version["v"].as_view();
    TRY([[maybe_unused]] const Placement source,
        check_placement(member, invocation.request, renaming.from, true));
    TRY([[maybe_unused]] const Placement target,
        check_placement(member, of_target, renaming.to, true));
    if (member.catalog->find_view(renaming.from))
        return Error(ErrorCode::command_not_supported_on_view, "cannot rename view");
    if (renaming.from.is_replicated() != renaming.to.is_replicated())
        return Error(ErrorCode::illegal_operation,
                     "Cannot rename between replicated and unreplicated databases");
    if (renaming.from.db == renaming.to.db) {
        TRY_OK(rename_within(member, invocation, renaming));
    } else {
        TRY_OK(rename_across(member, invocation, renaming));
    }
    member.cursors.kill_namespace(renaming.from);
    member.cursors.kill_namespace(renaming.to);
    return {};
}

}  // namespace tessera::commands
