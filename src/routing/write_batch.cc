// SPDX-License-Identifier: Apache-2.0
#include "routing/write_batch.h"

#include <algorithm>

#include "bson/builder.h"

namespace tessera::routing {
namespace {

using bson::Value;
using bson::View;

/// by_id and two_phase children of one round of an unordered batch.
constexpr std::size_t special_children_max = 64;

ErrorCode code_of(View error) {
    return static_cast<ErrorCode>(error["code"].to_int64());
}

std::string_view message_of(View error) {
    return error["errmsg"].is_string() ? error["errmsg"].as_string() : std::string_view();
}

Error error_of(View reply) {
    return {code_of(reply), std::string(message_of(reply)), std::string(reply.bytes())};
}

bson::Document document_of(const Error& error) {
    bson::Builder builder;
    builder.append("index", 0);
    builder.append("code", static_cast<std::int32_t>(error.code()));
    builder.append("errmsg", error.reason());
    return std::move(builder).finish();
}

/// The code errors share, or `otherwise` when they differ.
template <class Errors>
ErrorCode common_code(const Errors& errors, ErrorCode otherwise) {
    const ErrorCode first = code_of(errors.front());
    const bool is_common = std::all_of(
        errors.begin(), errors.end(), [&](View error) { return code_of(error) == first; });
    return is_common ? first : otherwise;
}

/// One error of several shards' errors for one statement.
bson::Document merged_error(const std::vector<bson::Document>& errors) {
    if (errors.size() == 1) return errors.front();
    std::string message = "multiple errors for op : ";
    for (std::size_t i = 0; i < errors.size(); ++i) {
        if (i > 0) message += " :: and :: ";
        message += message_of(errors[i]);
    }
    return document_of({common_code(errors, ErrorCode::multiple_errors_occurred), message});
}

/// The error under another index, with its message or without.
bson::Document with_index(View error, std::uint32_t index, bool with_message) {
    bson::Builder builder;
    builder.append("index", static_cast<std::int32_t>(index));
    for (const auto& element : error) {
        if (element.name == "index") continue;
        if (element.name == "errmsg" && !with_message) {
            builder.append("errmsg", "");
        } else {
            builder.append(element);
        }
    }
    return std::move(builder).finish();
}

}  // namespace

WriteBatch::WriteBatch(std::string ns,
                       WriteBatchOptions options,
                       std::vector<BatchStatement> statements)
    : ns_(std::move(ns)), options_(options) {
    slots_.resize(statements.size());
    for (std::size_t i = 0; i < statements.size(); ++i)
        slots_[i].statement = statements[i];
}

Result<WriteTarget> WriteBatch::target(const RoutingInfo& routing, const Slot& slot) const {
    if (slot.statement.kind == BatchStatement::Kind::insert) {
        WriteTarget result;
        TRY(ShardTarget shard, target_insert(routing, slot.statement.document));
        result.shards.push_back(std::move(shard));
        return result;
    }
    WriteStatement statement = slot.statement.write;
    statement.is_in_transaction = options_.is_in_transaction;
    TRY(WriteTarget result, target_write(routing, statement));
    if (result.shards.size() == 1 && result.kind == WriteKind::by_id) {
        result.kind = WriteKind::one_shard;
    }
    std::erase_if(result.shards,
                  [&](const ShardTarget& shard) { return slot.finished_on.contains(shard.shard); });
    return result;
}

ChildBatch& WriteBatch::new_child(std::vector<ChildBatch>& children,
                                  WriteKind kind,
                                  const ShardTarget& target) {
    ChildBatch& child = children.emplace_back();
    child.id = next_child_++;
    child.kind = kind;
    child.target = target;
    return child;
}

WriteBatch::Added WriteBatch::add(std::vector<ChildBatch>& children,
                                  const WriteTarget& target,
                                  std::uint32_t index) {
    const std::size_t bytes = slots_[index].statement.bytes;
    const auto child_for = [&](const ShardTarget& shard) {
        return std::find_if(children.begin(), children.end(), [&](const ChildBatch& child) {
            return child.kind == target.kind && child.target == shard;
        });
    };
    for (const ShardTarget& shard : target.shards) {
        const auto child = child_for(shard);
        if (child == children.end()) continue;
        const bool is_full = child->statements.size() >= limits::child_batch_statements ||
                             child->bytes + bytes > limits::child_batch_bytes;
        if (is_full) return Added::full;
    }
    for (const ShardTarget& shard : target.shards) {
        const auto found = child_for(shard);
        ChildBatch& child =
            found == children.end() ? new_child(children, target.kind, shard) : *found;
        child.statements.push_back(index);
        child.bytes += bytes;
    }
    return Added::yes;
}

bool WriteBatch::add_special(std::vector<ChildBatch>& children,
                             const WriteTarget& target,
                             std::uint32_t index) {
    if (target.kind == WriteKind::two_phase) {
        ChildBatch& child = new_child(children, target.kind, ShardTarget{});
        child.candidates = target.shards;
        child.statements.push_back(index);
        return true;
    }
    if (target.kind != WriteKind::by_id) return false;
    for (const ShardTarget& shard : target.shards) {
        new_child(children, target.kind, shard).statements.push_back(index);
    }
    return true;
}

std::vector<ChildBatch> WriteBatch::next_round(const RoutingInfo& routing) {
    ASSERT(round_.empty());
    std::vector<ChildBatch> children;
    std::size_t special = 0;
    ++rounds_;
    has_progress_ = false;
    for (std::size_t i = first_open_; i < slots_.size() && !is_stopped_; ++i) {
        Slot& slot = slots_[i];
        if (slot.state != State::ready) continue;
        const auto index = static_cast<std::uint32_t>(i);
        auto targeted = target(routing, slot);
        if (!targeted) {
            // An ordered batch fails here only after what comes before it is done.
            if (options_.is_ordered && !children.empty()) break;
            fail(index, document_of(targeted.error()));
            continue;
        }
        if (targeted->shards.empty()) {  // A multi write that is finished on every shard.
            slot.state = State::done;
            continue;
        }
        const bool is_alone = targeted->kind == WriteKind::by_id ||
                              targeted->kind == WriteKind::two_phase || targeted->shards.size() > 1;
        if (options_.is_ordered && !children.empty()) {
            const bool joins = !is_alone && children.front().kind == targeted->kind &&
                               children.front().target == targeted->shards.front();
            if (!joins) break;
        }
        if (special >= special_children_max) break;
        if (add_special(children, *targeted, index)) {
            ++special;
        } else if (add(children, *targeted, index) == Added::full) {
            break;
        }
        slot.state = State::sent;
        slot.kind = targeted->kind;
        slot.is_stale = slot.is_unexecuted = slot.is_matched = false;
        slot.errors.clear();
        slot.finished_before = slot.finished_on.size();
        sent_.push_back(index);
        if (options_.is_ordered && is_alone) break;
    }
    for (const ChildBatch& child : children)
        round_.emplace(child.id, child);
    return children;
}

void WriteBatch::note_stale(const Error& error) {
    if (options_.is_in_transaction) {
        if (!fatal_) fatal_ = error;
        return;
    }
    if (auto request = refresh_for(error, ns_)) refreshes_.push_back(std::move(*request));
}

void WriteBatch::read_write_errors(const ChildBatch& child, View reply) {
    const Value errors = reply["writeErrors"];
    std::vector<bool> has_error(child.statements.size(), false);
    std::size_t first = child.statements.size();
    if (errors.is_array()) {
        for (const auto& element : errors.as_view()) {
            if (!element.value.is_object()) continue;
            const View error = element.value.as_view();
            const auto position = static_cast<std::size_t>(error["index"].to_int64());
            if (position >= child.statements.size()) continue;
            has_error[position] = true;
            first = std::min(first, position);
            Slot& slot = slots_[child.statements[position]];
            if (needs_new_routing(code_of(error))) {
                slot.is_stale = true;
                note_stale(error_of(error));
            } else {
                slot.errors.emplace_back(error);
            }
        }
    }
    for (std::size_t i = 0; i < child.statements.size(); ++i) {
        Slot& slot = slots_[child.statements[i]];
        if (options_.is_ordered && i > first && !has_error[i]) {
            slot.is_unexecuted = true;
        } else if (!has_error[i] && child.kind == WriteKind::multi) {
            slot.finished_on.insert(child.target.shard);
        }
    }
}

void WriteBatch::on_reply(std::uint32_t id, View reply) {
    const auto found = round_.find(id);
    ASSERT(found != round_.end());
    if (!reply["ok"].is_truthy()) {
        on_error(id, error_of(reply));
        return;
    }
    const ChildBatch& child = found->second;
    if (!child.target.shard.empty()) shards_written_.insert(child.target.shard);
    n_ += reply["n"].to_int64();
    n_modified_ += reply["nModified"].to_int64();
    if (child.kind == WriteKind::by_id && reply["n"].to_int64() > 0) {
        slots_[child.statements.front()].is_matched = true;
    }
    if (reply["upserted"].is_array()) {
        for (const auto& element : reply["upserted"].as_view()) {
            if (!element.value.is_object()) continue;
            const View entry = element.value.as_view();
            const auto position = static_cast<std::size_t>(entry["index"].to_int64());
            if (position >= child.statements.size()) continue;
            slots_[child.statements[position]].upserted = bson::make("_id", entry["_id"]);
        }
    }
    if (reply["writeConcernError"].is_object()) {
        concern_errors_.push_back(
            {child.target.shard, bson::Document(reply["writeConcernError"].as_view())});
    }
    if (reply["retriedStmtIds"].is_array()) {
        for (const auto& element : reply["retriedStmtIds"].as_view()) {
            retried_statements_.insert(static_cast<std::int32_t>(element.value.to_int64()));
        }
    }
    read_write_errors(child, reply);
    finish_child(id);
}

void WriteBatch::on_error(std::uint32_t id, const Error& error) {
    const auto found = round_.find(id);
    ASSERT(found != round_.end());
    const bool is_stale = needs_new_routing(error.code());
    if (is_stale) {
        note_stale(error);
    } else if (options_.is_in_transaction && !fatal_) {
        fatal_ = error;
    }
    bool is_first = true;
    for (const std::uint32_t index : found->second.statements) {
        Slot& slot = slots_[index];
        if (is_stale) {
            slot.is_stale = true;
        } else if (options_.is_ordered && !is_first) {
            slot.is_unexecuted = true;
        } else {
            slot.errors.push_back(document_of(error));
        }
        is_first = false;
    }
    finish_child(id);
}

void WriteBatch::finish_child(std::uint32_t id) {
    round_.erase(id);
    if (round_.empty()) settle_round();
}

void WriteBatch::settle_round() {
    for (const std::uint32_t index : sent_)
        settle(index);
    sent_.clear();
    while (first_open_ < slots_.size() && (slots_[first_open_].state == State::done ||
                                           slots_[first_open_].state == State::failed)) {
        ++first_open_;
    }
    idle_rounds_ = has_progress_ ? 0 : idle_rounds_ + 1;
    if (idle_rounds_ < limits::rounds_without_progress || is_finished()) return;
    fail_all_open({ErrorCode::no_progress_made,
                   "no progress was made executing batch write op in " + ns_ + " after " +
                       std::to_string(limits::rounds_without_progress) + " rounds (" +
                       std::to_string(first_open_) + " ops completed in " +
                       std::to_string(rounds_) + " rounds total)"});
}

void WriteBatch::settle(std::uint32_t index) {
    Slot& slot = slots_[index];
    // Only one document can have that _id: what other shards had to say does not matter.
    const bool is_done_by_id = slot.kind == WriteKind::by_id && slot.is_matched;
    if (!slot.errors.empty() && !is_done_by_id) {
        fail(index, merged_error(slot.errors));
    } else if ((slot.is_stale || slot.is_unexecuted) && !is_done_by_id) {
        slot.state = State::ready;
        // On some shard a multi write is done, which is progress.
        has_progress_ = has_progress_ || slot.finished_on.size() > slot.finished_before;
    } else {
        slot.state = State::done;
        has_progress_ = true;
    }
}

void WriteBatch::fail(std::uint32_t index, bson::Document error) {
    Slot& slot = slots_[index];
    slot.state = State::failed;
    slot.errors.clear();
    slot.errors.push_back(std::move(error));
    has_progress_ = true;
    // A transaction is over at its first error.
    if (options_.is_ordered || options_.is_in_transaction) is_stopped_ = true;
}

void WriteBatch::fail_all_open(const Error& error) {
    for (std::size_t i = first_open_; i < slots_.size() && !is_stopped_; ++i) {
        if (slots_[i].state == State::ready)
            fail(static_cast<std::uint32_t>(i), document_of(error));
    }
}

std::vector<RefreshRequest> WriteBatch::take_refreshes() {
    return std::exchange(refreshes_, {});
}

bool WriteBatch::is_finished() const {
    if (!round_.empty()) return false;
    if (fatal_ || is_stopped_) return true;
    return std::all_of(
        slots_.begin() + static_cast<std::ptrdiff_t>(first_open_),
        slots_.end(),
        [](const Slot& slot) { return slot.state == State::done || slot.state == State::failed; });
}

WriteBatchResult WriteBatch::result() const {
    WriteBatchResult result;
    result.n = n_;
    result.n_modified = n_modified_;
    std::size_t message_bytes = 0;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        const Slot& slot = slots_[i];
        const auto index = static_cast<std::uint32_t>(i);
        if (slot.upserted) result.upserted.push_back({index, *slot.upserted});
        if (slot.state != State::failed) continue;
        const bson::Document& error = slot.errors.front();
        message_bytes += message_of(error).size();
        const bool with_message = message_bytes <= limits::error_message_bytes;
        result.errors.push_back({index, with_index(error, index, with_message)});
    }
    result.retried_statements.assign(retried_statements_.begin(), retried_statements_.end());
    if (concern_errors_.empty()) return result;
    if (concern_errors_.size() == 1) {
        result.write_concern_error = concern_errors_.front().error;
        return result;
    }
    std::string message = "multiple errors reported : ";
    std::vector<bson::Document> errors;
    for (const auto& [shard, error] : concern_errors_) {
        if (!errors.empty()) message += " :: and :: ";
        message.append(message_of(error)).append(" at ").append(shard);
        errors.push_back(error);
    }
    const ErrorCode code = common_code(errors, ErrorCode::write_concern_timeout);
    bson::Builder merged;
    merged.append("code", static_cast<std::int32_t>(code));
    merged.append("codeName", code_name(code));
    merged.append("errmsg", message);
    merged.append("errInfo", errors.front()["errInfo"]);
    result.write_concern_error = std::move(merged).finish();
    return result;
}

void WriteBatchResult::append_to(bson::Builder& reply, bool is_update) const {
    reply.append("n", static_cast<std::int32_t>(n));
    if (!upserted.empty()) {
        auto array = reply.array("upserted");
        for (const UpsertEntry& entry : upserted) {
            auto object = array.object();
            object.append("index", static_cast<std::int32_t>(entry.index));
            object.append("_id", entry.id["_id"]);
        }
    }
    if (is_update) reply.append("nModified", static_cast<std::int32_t>(n_modified));
    if (!errors.empty()) {
        auto array = reply.array("writeErrors");
        for (const WriteErrorEntry& entry : errors)
            array.append(entry.error);
    }
    if (write_concern_error) reply.append("writeConcernError", *write_concern_error);
    if (!retried_statements.empty()) {
        auto array = reply.array("retriedStmtIds");
        for (const std::int32_t statement : retried_statements)
            array.append(statement);
    }
}

}  // namespace tessera::routing
