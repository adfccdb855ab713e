// SPDX-License-Identifier: Apache-2.0
#include "commands/profile.h"

#include <optional>
#include <vector>

#include "base/log_line.h"
#include "bson/json.h"
#include "commands/support.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"

namespace tessera::commands {
namespace {

constexpr std::size_t shown_bytes_max = 10'000;
constexpr std::size_t shown_text_max = 1000;
constexpr int write_attempts = 3;

void append_counted(bson::Builder& out, std::string_view name, std::int64_t value) {
    if (value != OperationStats::uncounted) append_count(out, name, value);
}

void append_work(const OperationStats& stats, bson::Builder& out) {
    if (stats.cursor_id != 0) out.append("cursorid", stats.cursor_id);
    if (stats.has_read) {
        append_count(out, "keysExamined", stats.keys_examined);
        append_count(out, "docsExamined", stats.docs_examined);
    }
    if (stats.has_sort_stage) out.append("hasSortStage", true);
    append_counted(out, "nMatched", stats.matched);
    append_counted(out, "nModified", stats.modified);
    append_counted(out, "nUpserted", stats.upserted);
    append_counted(out, "ninserted", stats.inserted);
    append_counted(out, "ndeleted", stats.deleted);
    if (stats.is_cursor_exhausted) out.append("cursorExhausted", true);
    if (stats.write_conflicts > 0) append_count(out, "writeConflicts", stats.write_conflicts);
    append_count(out, "numYield", stats.yields);
    append_counted(out, "nreturned", stats.returned);
}

bson::Document make_document(const Node& node, const ProfileEntry& entry) {
    bson::Builder out;
    out.append("op", entry.op).append("ns", entry.ns).append("command", entry.command);
    if (!entry.stats.originating_command.is_empty())
        out.append("originatingCommand", entry.stats.originating_command);
    append_work(entry.stats, out);
    if (entry.error != nullptr) {
        out.append("ok", 0).append("errMsg", entry.error->reason());
        out.append("errName", code_name(entry.error->code()));
        out.append("errCode", static_cast<std::int32_t>(entry.error->code()));
    }
    append_counted(out, "responseLength", entry.response_bytes);
    out.append("protocol", entry.protocol);
    append_count(out, "millis", to_milliseconds(entry.taken));
    if (!entry.plan_summary.empty()) out.append("planSummary", entry.plan_summary);
    out.append("ts", node.clock.wall_now());
    const ClientInfo& client = *entry.operation.client;
    out.append("client", client.remote.substr(0, client.remote.rfind(':')));
    if (const std::string name = client.app_name(); !name.empty()) out.append("appName", name);
    out.array("allUsers");
    out.append("user", "");
    return std::move(out).finish();
}

void log_slow(const ProfileEntry& entry) {
    using log::Attribute;
    const OperationStats& stats = entry.stats;
    std::vector<Attribute> line{{"type", "command"}, {"ns", entry.ns}};
    if (const std::string name = entry.operation.client->app_name(); !name.empty())
        line.emplace_back("appName", name);
    line.emplace_back("command", log::Json{bson::to_json(entry.command)});
    if (!entry.plan_summary.empty()) line.emplace_back("planSummary", entry.plan_summary);
    const auto add = [&](std::string_view name, std::int64_t value) {
        if (value != OperationStats::uncounted) line.emplace_back(name, value);
    };
    if (stats.cursor_id != 0) line.emplace_back("cursorid", stats.cursor_id);
    if (stats.has_read) {
        add("keysExamined", stats.keys_examined);
        add("docsExamined", stats.docs_examined);
    }
    if (stats.has_sort_stage) line.emplace_back("hasSortStage", true);
    add("nMatched", stats.matched);
    add("nModified", stats.modified);
    add("nUpserted", stats.upserted);
    add("ninserted", stats.inserted);
    add("ndeleted", stats.deleted);
    if (stats.is_cursor_exhausted) line.emplace_back("cursorExhausted", true);
    if (stats.write_conflicts > 0) add("writeConflicts", stats.write_conflicts);
    add("numYields", stats.yields);
    add("nreturned", stats.returned);
    line.emplace_back("ok", entry.error == nullptr ? 1 : 0);
    if (entry.error != nullptr) {
        line.emplace_back("errMsg", entry.error->reason());
        line.emplace_back("errName", code_name(entry.error->code()));
        line.emplace_back("errCode", static_cast<std::int64_t>(entry.error->code()));
    }
    add("reslen", entry.response_bytes);
    line.emplace_back("remote", entry.operation.client->remote);
    line.emplace_back("protocol", entry.protocol);
    line.emplace_back("durationMillis", to_milliseconds(entry.taken));
    log::write_line(log::Severity::info, log::Component::command, 51803, "Slow query", line);
}

Status try_write(Member& member, const Namespace& ns, bson::View document) {
    const catalog::CollectionLock lock = member.catalog->lock_shared(ns);
    if (!lock) return Error(ErrorCode::namespace_not_found, "no profile");
    if (!lock->options().is_capped) return Error(ErrorCode::invalid_options, "not capped");
    TRY(auto unit,
        replication::WriteUnit::begin(*member.replication, *member.engine, member.clock));
    TRY_OK(unit.insert(*lock, document, replication::no_statement, false));
    TRY_OK(unit.trim_capped(*lock));
    TRY([[maybe_unused]] const OpTime at, unit.commit());
    return {};
}

void keep(Member& member, std::string_view db, bson::View document) {
    const auto pass = member.write_gate.try_enter();
    if (!pass) return;
    const Namespace ns{std::string(db), std::string(profile_collection)};
    for (int attempt = 0; attempt < write_attempts; ++attempt) {
        // Not while the data are being rolled back or copied.
        if (!ensure_profile(member, db)) return;
        const auto written = try_write(member, ns, document);
        if (written) return;
        const bool may_succeed = written.error().code() == ErrorCode::write_conflict ||
                                 written.error().code() == ErrorCode::namespace_not_found;
        if (!may_succeed) return;
    }
}

}  // namespace

bson::Document shown_command(const Request& request) {
    const bool is_bulk = request.name == "insert";
    if (!is_bulk && request.body.size() <= shown_bytes_max) return bson::Document(request.body);
    bson::Builder shown;
    for (const bson::Element& field : request.body)
        if (!is_bulk || field.name != "documents") shown.append(field);
    return shortened(std::move(shown).finish(), request.comment_text);
}

bson::Document shortened(bson::Document document, std::string_view comment) {
    if (document.view().size() <= shown_bytes_max) return document;
    const std::string text = bson::to_json(document).substr(0, shown_text_max);
    if (comment.empty()) return bson::make("$truncated", text);
    return bson::make("$truncated", text, "comment", comment);
}

Status ensure_profile(Member& member, std::string_view db) {
    const Namespace ns{std::string(db), std::string(profile_collection)};
    TRY_OK(member.replication->check_readable(ns, replication::ReadAccess{true, true}));
    if (const auto there = member.catalog->find(ns)) {
        if (there->options().is_capped) return {};
        return Error(ErrorCode::invalid_options,
                     ns.to_string() + " exists but isn't capped: drop it first");
    }
    const catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
    if (lock) return {};  // Somebody else was faster.
    TRY(auto unit,
        replication::WriteUnit::begin(*member.replication, *member.engine, member.clock));
    replication::NewCollection what;
    what.options = bson::make("capped", true, "size", profile_bytes_max);
    const auto made = replication::create_collection(unit, *member.catalog, ns, what);
    return made ? Status() : Status(made.error());
}

void record_profile(Node& node, Member* member, const ProfileEntry& entry) {
    std::optional<bson::Document> document;
    const auto make = [&]() -> bson::View {
        if (!document) document = make_document(node, entry);
        return document->view();
    };
    constexpr double draws = 1 << 30;
    const double draw = static_cast<double>(node.random_number() % (1 << 30)) / draws;
    const Duration counted = entry.has_awaited_data ? Duration::zero() : entry.taken;
    const auto verdict = node.profiler.verdict(entry.db, counted, draw, make);
    if (verdict.is_logged && !entry.is_logged_apart) log_slow(entry);
    const bool is_kept = verdict.is_kept && member != nullptr && !entry.stats.is_profiled;
    if (is_kept) keep(*member, entry.db, make());
}

}  // namespace tessera::commands
