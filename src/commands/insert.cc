// SPDX-License-Identifier: Apache-2.0
//
// insert: documents go in groups, each group one write unit; when a group fails, its documents are
// tried one by one, so that each gets its own error.
#include "commands/write_commands.h"

#include <algorithm>

#include "bson/validate.h"
#include "commands/support.h"
#include "commands/write_execution.h"
#include "commands/write_on_router.h"

namespace tessera::commands {
namespace {

// Bounded by what one oplog entry, and the journal's record of it, take at once. The entry with
// what it says of each document is to fit 128 KiB: the allocator's next size is a quarter larger.
constexpr std::size_t group_documents_max = 500;
constexpr std::size_t group_bytes_max = 126 * 1024;
constexpr std::size_t bytes_per_document = 120;
// Beyond this an insert leaves the network thread.
constexpr std::size_t inline_bytes_max = 128 * 1024;

struct Insert {
    WriteCommand command;
    std::vector<bson::View> documents;
    WriteReply reply;
    bool keeps_empty_timestamps = false;  // bypassEmptyTsReplacement.
};

// A document of the request as it is, or as it had to be mended.
struct Prepared {
    std::size_t index;
    bson::View given;
    std::optional<bson::Document> mended;

    bson::View document() const { return mended ? mended->view() : given; }
};

bool is_empty_timestamp(const bson::Element& field) {
    return field.value.type() == bson::Type::timestamp && field.name != "_id" &&
           field.value.as_timestamp().is_null();
}

// A top-level Timestamp(0, 0) becomes the present cluster time, save in _id and where the client
// says otherwise (bypassEmptyTsReplacement).
void fill_empty_timestamps(Member& member, Prepared& prepared) {
    const bson::View view = prepared.document();
    if (std::none_of(view.begin(), view.end(), is_empty_timestamp)) return;
    bson::Builder filled;
    for (const bson::Element& field : view) {
        if (is_empty_timestamp(field))
            filled.append(field.name, member.logical_clock.make(1, member.clock.wall_now()));
        else
            filled.append(field);
    }
    prepared.mended = std::move(filled).finish();
}

Result<Prepared> prepare(Insert& insert, std::size_t index) {
    Member& member = insert.command.member;
    Prepared prepared{index, insert.documents[index], {}};
    TRY(const bool is_storable, catalog::is_storable(prepared.given));
    if (!is_storable) {
        TRY(prepared.mended, catalog::fix_document(prepared.given, member.make_object_id()));
    }
    if (!insert.keeps_empty_timestamps) fill_empty_timestamps(member, prepared);
    return prepared;
}

Status insert_group(Insert& insert, const std::vector<Prepared>& group) {
    WriteCommand& command = insert.command;
    Member& member = command.member;
    const catalog::CollectionLock lock = member.catalog->lock_shared(command.ns);
    if (!lock) return ensure_collection(member, command.invocation, command.ns);
    TRY(auto unit, command.begin_unit());
    std::vector<replication::InsertStatement> inserts;
    inserts.reserve(group.size());
    for (const Prepared& each : group)
        inserts.push_back({each.document(), command.statement_id(each.index)});
    TRY_OK(unit.insert_all(*lock, inserts, command.validates));
    if (lock->options().is_capped) TRY_OK(unit.trim_capped(*lock));
    TRY(const OpTime at, unit.commit());
    command.wrote(at);
    insert.reply.count += static_cast<std::int64_t>(group.size());
    member.metrics.documents_inserted.fetch_add(static_cast<std::int64_t>(group.size()));
    member.metrics.operations.insert.fetch_add(static_cast<std::int64_t>(group.size()));
    for (const Prepared& each : group)
        notify_write(member, command, each.document(), each.document(), false);
    return {};
}

async::Task<Status> insert_with_retries(Insert& insert, const std::vector<Prepared>& group) {
    ConflictBackoff backoff(insert.command.member, *insert.command.invocation.operation);
    while (true) {
        CO_TRY_OK(ensure_collection(insert.command.member, insert.command.invocation,
                                    insert.command.ns));
        const auto status = insert_group(insert, group);
        if (status) co_return Status();
        CO_TRY(const bool again, co_await backoff.again(status.error()));
        if (!again) co_return status.error();
    }
}

// Returns whether to go on with further documents.
async::Task<Result<bool>> flush(Insert& insert, std::vector<Prepared>& group) {
    if (group.empty()) co_return true;
    std::vector<Prepared> taken = std::move(group);
    group.clear();
    const auto whole = co_await insert_with_retries(insert, taken);
    if (whole) co_return true;
    if (ends_command(whole.error())) co_return whole.error();
    if (taken.size() == 1) {
        insert.reply.add_error(static_cast<std::int64_t>(taken.front().index), whole.error());
        co_return !insert.command.is_ordered;
    }
    for (Prepared& each : taken) {
        std::vector<Prepared> alone;
        const std::size_t index = each.index;
        alone.push_back(std::move(each));
        const auto status = co_await insert_with_retries(insert, alone);
        if (status) continue;
        if (ends_command(status.error())) co_return status.error();
        insert.reply.add_error(static_cast<std::int64_t>(index), status.error());
        if (insert.command.is_ordered) co_return false;
    }
    co_return true;
}

async::Task<Status> insert_all(Insert& insert) {
    std::vector<Prepared> group;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < insert.documents.size(); ++i) {
        CO_TRY_OK(insert.command.invocation.operation->check(insert.command.member.clock));
        CO_TRY(const auto executed, insert.command.executed(i));
        if (executed) {
            ++insert.reply.count;
            insert.reply.add_retried(insert.command.statement_id(i));
            insert.command.wrote(*executed);
            continue;
        }
        auto prepared = prepare(insert, i);
        if (!prepared) {
            CO_TRY(const bool goes_on, co_await flush(insert, group));
            if (!goes_on) co_return Status();
            insert.reply.add_error(static_cast<std::int64_t>(i), prepared.error());
            if (insert.command.is_ordered) co_return Status();
            continue;
        }
        const std::size_t more = prepared->document().size() + bytes_per_document;
        if (group.size() >= group_documents_max || bytes + more > group_bytes_max) {
            bytes = 0;
            CO_TRY(const bool goes_on, co_await flush(insert, group));
            if (!goes_on) co_return Status();
        }
        bytes += more;
        group.push_back(std::move(*prepared));
    }
    CO_TRY([[maybe_unused]] const bool goes_on, co_await flush(insert, group));
    co_return Status();
}

async::Task<Status> insert_on_member(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields(
        "insert", {"documents", "ordered", "bypassDocumentValidation", "stmtId", "stmtIds",
                   "encryptionInformation", "bypassEmptyTsReplacement"}));
    CO_TRY(auto documents, request.documents("documents"));
    CO_TRY(WriteCommand command, parse_write_command(member, invocation, documents.size()));
    Insert insert{std::move(command), std::move(documents), WriteReply()};
    insert.keeps_empty_timestamps = request.body["bypassEmptyTsReplacement"].is_truthy();
    std::size_t bytes = 0;
    for (const bson::View& document : insert.documents) bytes += document.size();
    if (bytes > inline_bytes_max) {
        async::resume_on hop(member.workers);
        co_await hop;
    }
    CO_TRY_OK(co_await insert_all(insert));
    if (insert.reply.count == 0) note_no_op_write(insert.command);
    invocation.operation->stats.inserted = insert.reply.count;
    insert.reply.append_head(invocation.reply);
    insert.reply.append_tail(insert.command, invocation.reply);
    co_return Status();
}

}  // namespace

const Command insert_command = {"insert", flags::writes | flags::retryable, insert_on_member,
                                insert_on_router, Counted::insert, "Inserts documents."};

}  // namespace tessera::commands
