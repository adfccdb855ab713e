// SPDX-License-Identifier: Apache-2.0
//
// getMore and killCursors, the same on members and routers: a cursor's source knows where its
// documents come from.
#include "commands/cursor_commands.h"

#include <limits>

#include <fmt/format.h>

#include "bson/validate.h"
#include "commands/router.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

// An awaitData cursor waits so long when the client does not say.
constexpr Duration await_data_default = 1s;

std::optional<replication::SessionId> session_of(const Request& request) {
    if (!request.session) return std::nullopt;
    return complete(request.session->id);
}

// A document that a pipeline or a projection made is alone in its batch when it is too large for a
// reply (BatchWriter::has_room); until it is to leave the server it may be.
Status check_size(const bson::ArrayBuilder& batch) {
    constexpr std::size_t around_it = 7;  // The array's length; type, name and NUL of the element.
    if (batch.size() <= bson::internal_bytes_max + around_it || batch.count() != 1) return {};
    return Error(ErrorCode::bson_object_too_large,
                 fmt::format("BSONObj size: {0} (0x{0:X}) is invalid. Size must be between 0 and "
                             "{1}(16MB)",
                             batch.size() - around_it,
                             bson::internal_bytes_max));
}

struct GetMore {
    std::int64_t id = 0;
    Namespace ns;
    std::int64_t batch_size = std::numeric_limits<std::int64_t>::max();
};

Result<GetMore> parse_get_more(const Request& request) {
    TRY_OK(request.check_known_fields(
        "getMore", {"collection", "batchSize", "maxTimeMS", "term", "lastKnownCommittedOpTime",
                    "includeQueryStatsMetrics"}));
    GetMore result;
    const bson::Value id = request.body.front().value;
    if (id.type() != bson::Type::int64)
        return Error(ErrorCode::type_mismatch,
                     "BSON field 'getMore.getMore' is the wrong type '" +
                         std::string(type_name(id.type())) + "', expected type 'long'");
    result.id = id.as_int64();
    const bson::Value collection = request.body["collection"];
    if (!collection.is_string())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'getMore.collection' is missing but a required field");
    result.ns = {std::string(request.db), std::string(collection.as_string())};
    TRY(const std::int64_t size, count_argument(request.body, "batchSize", 0, "getMore"));
    if (size > 0) result.batch_size = size;
    return result;
}

// Fills the batch; a tailable cursor with awaitData that has nothing waits inside its source, whose
// deadline is the operation's.
async::Task<Result<bool>> fill(Node& node, Invocation& invocation, PinnedCursor& cursor,
                               bson::ArrayBuilder& out, std::int64_t batch_size) {
    Operation& operation = *invocation.operation;
    CursorOptions& options = cursor.options();
    const Duration given = invocation.request.time_max;
    if (options.awaits_data) {
        operation.await_deadline =
            node.clock.now() + (given > Duration::zero() ? given : await_data_default);
    } else if (options.time_left > Duration::zero()) {
        operation.deadline = node.clock.now() + options.time_left;
    }
    BatchWriter batch(out, batch_size);
    CO_TRY(const bool is_exhausted, co_await cursor.source().fill(batch, operation));
    CO_TRY_OK(check_size(out));
    co_return is_exhausted;
}

// For the log of slow operations and the profiler.
void note_cursor(Node& node,
                 const Invocation& invocation,
                 const PinnedCursor& cursor,
                 bool is_exhausted) {
    Operation& operation = *invocation.operation;
    operation.stats.cursor_id = cursor.id();
    operation.stats.is_cursor_exhausted = is_exhausted;
    if (std::string plan = cursor.source().plan_summary(); !plan.empty())
        node.operations.set_plan_summary(operation, std::move(plan));
    if (node.profiler.is_watching())
        operation.stats.originating_command = cursor.options().command;
}

template <class Role>
async::Task<Status> get_more(Role& node, Invocation& invocation) {
    CO_TRY(const GetMore args, parse_get_more(invocation.request));
    invocation.ns = args.ns;
    CO_TRY(PinnedCursor cursor, node.cursors.pin(args.id, args.ns, session_of(invocation.request),
                                                 invocation.operation));
    cursor.source().on_get_more(invocation.request);
    bool is_exhausted = false;
    {
        bson::Builder object = invocation.reply.object("cursor");
        Result<bool> filled = false;
        {
            auto batch = object.array("nextBatch");
            filled = co_await fill(node, invocation, cursor, batch, args.batch_size);
            node.metrics.documents_returned.fetch_add(batch.count());
            invocation.operation->stats.returned = batch.count();
        }
        if (!filled) co_return filled.error();  // The cursor closes with the pin.
        is_exhausted = *filled;
        note_cursor(node, invocation, cursor, is_exhausted);
        cursor.source().append_cursor_fields(object);
        object.append("id", is_exhausted ? std::int64_t{0} : args.id);
        object.append("ns", args.ns.to_string());
    }
    cursor.source().append_reply_fields(invocation.reply);
    if (!is_exhausted) cursor.keep();
    co_return Status();
}

template <class Role>
async::Task<Status> kill_cursors(Role& node, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("killCursors", {"cursors"}));
    const bson::Value ids = request.body["cursors"];
    if (!ids.is_array())
        co_return Error(ErrorCode::idl_failed_to_parse,
                        "BSON field 'killCursors.cursors' is missing but a required field");
    std::vector<std::int64_t> killed;
    std::vector<std::int64_t> unknown;
    for (const bson::Element& each : ids.as_view()) {
        if (each.value.type() != bson::Type::int64)
            co_return Error(ErrorCode::type_mismatch,
                            "BSON field 'killCursors.cursors." + std::string(each.name) +
                                "' is the wrong type, expected type 'long'");
        const std::int64_t id = each.value.as_int64();
        const bool was_there =
            node.cursors.kill(id) == CursorRegistry::KillOutcome::killed;
        (was_there ? killed : unknown).push_back(id);
    }
    const auto append = [&](std::string_view name, const std::vector<std::int64_t>& list) {
        auto array = invocation.reply.array(name);
        for (const std::int64_t id : list) array.append(id);
    };
    append("cursorsKilled", killed);
    append("cursorsNotFound", unknown);
    append("cursorsAlive", {});
    append("cursorsUnknown", {});
    co_return Status();
}

}  // namespace

async::Task<Status> reply_with_cursor(Node& node,
                                      Invocation& invocation,
                                      std::unique_ptr<CursorSource> source,
                                      CursorOptions options,
                                      FirstBatch first) {
    Operation& operation = *invocation.operation;
    options.session = session_of(invocation.request);
    bson::Builder object = invocation.reply.object("cursor");
    bool is_exhausted = false;
    {
        auto out = object.array("firstBatch");
        BatchWriter batch(out, first.batch_size);
        // batchSize: 0 only opens the cursor.
        if (first.batch_size > 0) {
            CO_TRY(is_exhausted, co_await source->fill(batch, operation));
            CO_TRY_OK(check_size(out));
        }
        node.metrics.documents_returned.fetch_add(batch.count());
        operation.stats.returned = batch.count();
    }
    source->append_cursor_fields(object);
    append_snapshot_time(invocation, object);
    const std::string plan = source->plan_summary();
    if (!plan.empty()) node.operations.set_plan_summary(operation, plan);
    std::int64_t id = 0;
    const std::string ns = options.ns.to_string();
    std::string late_fields;
    if (!is_exhausted && !first.is_single) {
        if (operation.deadline != Instant::max())
            options.time_left = operation.deadline - node.clock.now();
        bson::Builder late(late_fields);
        source->append_reply_fields(late);
        late.done();
        options.command = bson::Document(invocation.request.body);
        id = node.cursors.add(std::move(source), std::move(options));
        operation.stats.cursor_id = id;
    } else {
        bson::Builder late(late_fields);
        source->append_reply_fields(late);
        late.done();
    }
    operation.stats.is_cursor_exhausted = id == 0;
    object.append("id", id).append("ns", ns);
    object.done();
    invocation.reply.append_all(bson::View(late_fields.data()));
    co_return Status();
}

const std::array<Command, 2> cursor_commands = {{
    {"getMore", flags::any_state, get_more<Member>, get_more<Router>, Counted::getmore,
     "Returns a cursor's next documents."},
    {"killCursors", flags::any_state, kill_cursors<Member>, kill_cursors<Router>, Counted::command,
     "Closes cursors."},
}};

}  // namespace tessera::commands
