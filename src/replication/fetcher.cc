// SPDX-License-Identifier: Apache-2.0
//
// Pulling the oplog: one conversation with the sync source, a find and then getMores that wait
// there for news. What has come is applied on a worker while the next batch is on its way.
#include <algorithm>

#include "base/log.h"
#include "consensus/limits.h"
#include "replication/driver.h"
#include "replication/limits.h"

namespace tessera::replication {

using consensus::FirstBatch;
using consensus::MemberState;

namespace {

constexpr std::int32_t batch_entries_max = 13'981'010;  // As MongoDB asks; bytes bound it first.
constexpr Duration first_find_time = 10s;

bson::View batch_of(bson::View reply, const char* name) {
    const bson::Value cursor = reply["cursor"];
    if (!cursor.is_object()) return {};
    const bson::Value batch = cursor.as_view()[name];
    return batch.is_array() ? batch.as_view() : bson::View();
}

// A source is whichever member has the data.
bson::Document to_any_member(const bson::Document& command) {
    bson::Builder whole;
    whole.append_all(command).object("$readPreference").append("mode", "secondaryPreferred");
    return std::move(whole).finish();
}

OpTime optime_in(bson::View entry) {
    OpTime at;
    if (entry["ts"].type() == bson::Type::timestamp) at.timestamp = entry["ts"].as_timestamp();
    if (entry["t"].is_number()) at.term = entry["t"].to_int64();
    return at;
}

}  // namespace

bool Replication::Driver::should_pull() const {
    if (is_stopping_ || is_broken_ || draining_ || is_sync_running_ || !oplog_) return false;
    if (!core_->config() || !core_->self() || oplog_->visible().is_null()) return false;
    switch (core_->state()) {
        case MemberState::secondary:
        case MemberState::recovering:
            return true;
        case MemberState::primary:
            return !core_->is_writable_primary();  // Catching up.
        default:
            return false;
    }
}

OpTime Replication::Driver::last_fetched() const {
    if (!oplog_) return {};
    return has_buffered() ? last_buffered_ : oplog_->visible();
}

async::Task<void> Replication::Driver::pull() {
    while (!is_stopping_) {
        const auto ticket = pull_changed_.ticket();
        if (!should_pull()) {
            co_await pull_changed_.wait(env_.clock, async::no_deadline, ticket, stopping_);
            continue;
        }
        fetching_.emplace();
        auto source = co_await open_source(false);
        Next next = Next::choose_again;
        if (source) {
            next = co_await follow(*source);
        }
        if (is_stopping_) break;
        if (next == Next::roll_back && should_pull()) {
            // Not for what secondaryDelaySecs holds back: it is fetched again if it is still there.
            if (has_delay()) drop_buffer();
            while (has_buffered() && !is_stopping_) {
                const auto applied = pull_changed_.ticket();
                if (!has_buffered()) break;
                co_await pull_changed_.wait(env_.clock, async::no_deadline, applied, stopping_);
            }
            while (is_held_ && !is_stopping_) {
                const auto held = pull_changed_.ticket();
                co_await pull_changed_.wait(env_.clock, async::no_deadline, held, stopping_);
            }
            if (is_stopping_) break;
            const auto status = co_await roll_back(*source);
            if (!status && !is_stopping_) {
                log::error(log::Component::rollback,
                           9000220,
                           "The rollback failed",
                           {{"error", status.error()}});
                core_->denylist_sync_source(source->host, now() + limits::denylist_period);
            }
        }
        source.reset();
        fetching_.reset();
        if (is_stopping_) break;
        core_->set_sync_source({}, now());
        pump();
        pull_changed_.notify();
        if (next != Next::choose_again || !should_pull()) continue;
        const auto again = pull_changed_.ticket();
        co_await pull_changed_.wait(
            env_.clock, now() + consensus::limits::sync_source_retry / 10, again, stopping_);
    }
    fetching_.reset();
}

// Chooses a source and asks it what must be known before its log is trusted.
async::Task<std::optional<Replication::Driver::Source>> Replication::Driver::open_source(
    bool is_initial_sync) {
    std::optional<HostAndPort> host;
    while (!is_stopping_ && !host && (is_initial_sync || should_pull())) {
        const auto ticket = pull_changed_.ticket();
        const OpTime from = is_initial_sync ? OpTime{} : last_fetched();
        host = core_->choose_sync_source(from, now());
        pump();
        if (host) break;
        co_await pull_changed_.wait(
            env_.clock, now() + consensus::limits::sync_source_retry, ticket, stopping_);
    }
    if (!host || is_stopping_) co_return std::nullopt;
    core_->set_sync_source(*host, now());
    pump();
    Source source;
    source.host = *host;
    source.is_asked_for = *host == std::exchange(asked_source_, {});
    auto stream = co_await env_.transport.open(*host, now() + limits::probe_timeout, *fetching_);
    Status outcome = stream ? Status() : Status(stream.error());
    if (stream) {
        source.stream = std::move(*stream);
        bson::Document command = bson::make("replSetGetRBID", 1, "$db", "admin");
        auto reply = co_await ask(source, std::move(command), limits::probe_timeout);
        if (reply)
            source.rollback_id = static_cast<std::int32_t>((*reply)["rbid"].to_int64());
        else
            outcome = reply.error();
    }
    if (outcome) {
        const bson::Document order = bson::make("$natural", 1);
        bson::Document command =
            bson::make("find", "oplog.rs", "limit", 1, "sort", order.view(), "$db", "local");
        auto reply = co_await ask(source, std::move(command), limits::probe_timeout);
        if (!reply) {
            outcome = reply.error();
        } else if (const bson::View batch = batch_of(*reply, "firstBatch"); batch.is_empty()) {
            outcome = Error(ErrorCode::invalid_sync_source, "its oplog is empty");
        } else {
            source.oldest = optime_in(batch.front().value.as_view());
        }
    }
    if (outcome) co_return source;
    if (is_stopping_) co_return std::nullopt;
    log::debug(log::Component::replication,
               9000221,
               "A sync source did not answer",
               {{"host", host->to_string()}, {"error", outcome.error()}});
    if (!fetching_->is_cancelled())
        core_->denylist_sync_source(*host, now() + limits::denylist_period / 10);
    core_->set_sync_source({}, now());
    pump();
    co_return std::nullopt;
}

async::Task<Result<bson::Document>> Replication::Driver::ask(Source& source,
                                                             bson::Document command,
                                                             Duration slack) {
    const Instant deadline = now() + slack;
    async::Cancellation cancellation = *fetching_;
    std::string bytes = to_any_member(command).release();
    CO_TRY(std::string reply,
           co_await source.stream->call(std::move(bytes), deadline, std::move(cancellation)));
    bson::Document document = bson::Document::adopt(std::move(reply));
    if (is_stopping_) co_return Error(ErrorCode::interrupted_at_shutdown, "shutting down");
    const auto status = status_of_reply(document);
    if (!status) co_return status.error();
    co_return document;
}

Duration Replication::Driver::await_time() const {
    const Duration half =
        config() != nullptr ? config()->settings.election_timeout / 2 : Duration(5s);
    return std::clamp(half, limits::fetch_await_min, limits::fetch_await_max);
}

bson::Document Replication::Driver::find_command(Timestamp from) const {
    bson::Builder command;
    command.append("find", "oplog.rs");
    command.object("filter").object("ts").append("$gte", from);
    command.append("batchSize", batch_entries_max).append("tailable", true);
    command.append("awaitData", true).append("maxTimeMS", to_milliseconds(first_find_time));
    command.append("term", core_->term());
    command.object("readConcern").append("level", "local");
    command.append("$replData", 1).append("$oplogQueryData", 1);
    command.append("$db", "local");
    return std::move(command).finish();
}

bson::Document Replication::Driver::get_more_command(const Source& source) const {
    bson::Builder command;
    command.append("getMore", source.cursor).append("collection", "oplog.rs");
    command.append("batchSize", batch_entries_max);
    command.append("maxTimeMS", to_milliseconds(await_time())).append("term", core_->term());
    command.append("lastKnownCommittedOpTime", core_->commit_point().optime);
    command.append("$replData", 1).append("$oplogQueryData", 1).append("$db", "local");
    return std::move(command).finish();
}

async::Task<Replication::Driver::Next> Replication::Driver::follow(Source& source) {
    Next next = co_await take_first_batch(source);
    while (next == Next::go_on && should_pull()) {
        // Not faster than we can apply.
        while (buffer_bytes_ > limits::fetch_buffer_bytes && !is_stopping_) {
            const auto ticket = pull_changed_.ticket();
            if (buffer_bytes_ <= limits::fetch_buffer_bytes) break;
            co_await pull_changed_.wait(env_.clock, async::no_deadline, ticket, stopping_);
        }
        if (!should_pull() || fetching_->is_cancelled()) co_return Next::stop;
        if (core_->sync_source() != source.host) co_return Next::choose_again;
        const Duration slack = await_time() + limits::fetch_network_slack;
        bson::Document command = get_more_command(source);
        auto reply = co_await ask(source, std::move(command), slack);
        if (is_stopping_ || fetching_->is_cancelled()) co_return Next::stop;
        if (!reply) {
            log::debug(log::Component::replication,
                       9000222,
                       "A fetch failed",
                       {{"host", source.host.to_string()}, {"error", reply.error()}});
            co_return Next::choose_again;
        }
        next = co_await take_batch(source, *reply, 0);
    }
    co_return next == Next::go_on ? Next::stop : next;
}

async::Task<Replication::Driver::Next> Replication::Driver::take_first_batch(Source& source) {
    consensus::FirstBatchFacts facts;
    facts.last_fetched = last_fetched();
    bson::Document command = find_command(facts.last_fetched.timestamp);
    const Duration slack = first_find_time + limits::fetch_network_slack;
    auto reply = co_await ask(source, std::move(command), slack);
    if (is_stopping_ || fetching_->is_cancelled()) co_return Next::stop;
    if (!reply) {
        core_->denylist_sync_source(source.host, now() + limits::denylist_period / 10);
        co_return Next::choose_again;
    }
    // Something else may have moved our log's end meanwhile.
    if (last_fetched() != facts.last_fetched) co_return Next::choose_again;
    const auto query = parse_oplog_query_data(*reply, config());
    const auto metadata = parse_repl_data(*reply, config());
    facts.rollback_id_probed = source.rollback_id;
    facts.rollback_id = query.rollback_id;
    facts.source_applied = query.last_applied;
    facts.source_oldest = source.oldest;
    const bson::View batch = batch_of(*reply, "firstBatch");
    if (!batch.is_empty()) facts.first = optime_in(batch.front().value.as_view());
    facts.must_be_ahead =
        !metadata.is_primary && !source.is_asked_for && core_->state() == MemberState::secondary;
    source.cursor = (*reply)["cursor"].as_view()["id"].to_int64();
    switch (consensus::check_first_batch(facts)) {
        case FirstBatch::proceed:
            set_misfit({});
            co_return co_await take_batch(source, *reply, 1);
        case FirstBatch::choose_another:
            core_->denylist_sync_source(source.host, now() + limits::denylist_period / 10);
            co_return Next::choose_again;
        case FirstBatch::too_stale:
            core_->denylist_sync_source(source.host, now() + limits::stale_source_period);
            // Another source may reach further back: only when there is none, that is the end.
            if (!core_->is_primary() &&  // One that catches up does without.
                !core_->choose_sync_source(facts.last_fetched, now()))
                set_misfit(
                    "too stale to catch up: every source's oplog begins after the end of "
                    "this member's, " +
                    facts.last_fetched.to_string());
            co_return Next::choose_again;
        case FirstBatch::roll_back:
            co_return Next::roll_back;
    }
    co_return Next::choose_again;
}

async::Task<Replication::Driver::Next> Replication::Driver::take_batch(Source& source,
                                                                       bson::View reply,
                                                                       std::size_t skip) {
    const auto metadata = parse_repl_data(reply, config());
    const auto query = parse_oplog_query_data(reply, config());
    // It went back meanwhile: what it says now need not follow on what it said before.
    if (query.rollback_id != source.rollback_id) co_return Next::choose_again;
    core_->fetched(source.host, metadata, query, now());
    pump();
    if (!should_pull()) co_return Next::stop;
    Fetched fetched;
    OpTime last = last_fetched();
    for (const bson::Element& element : batch_of(
             reply, reply["cursor"].as_view().has("firstBatch") ? "firstBatch" : "nextBatch")) {
        if (skip > 0) {
            --skip;
            continue;
        }
        if (!element.value.is_object()) co_return Next::choose_again;
        bson::Document entry(element.value.as_view());
        const OpTime at = optime_in(entry);
        if (at.timestamp <= last.timestamp) {
            log::error(log::Component::replication,
                       9000224,
                       "The fetched oplog is out of order",
                       {{"at", at.to_string()}, {"after", last.to_string()}});
            core_->denylist_sync_source(source.host, now() + limits::denylist_period);
            co_return Next::choose_again;
        }
        last = at;
        fetched.bytes += entry.size();
        fetched.entries.push_back(std::move(entry));
    }
    if (!fetched.entries.empty()) {
        last_buffered_ = last;
        buffer_bytes_ += fetched.bytes;
        buffer_.push_back(std::move(fetched));
        if (!std::exchange(is_applying_, true)) tasks_.spawn(apply_fetched());
    }
    if (reply["cursor"].as_view()["id"].to_int64() == 0) co_return Next::choose_again;
    const bool changes =
        core_->should_change_sync_source(source.host, metadata, query, last_fetched(), now());
    co_return changes ? Next::choose_again : Next::go_on;
}

Duration Replication::Driver::delay() const {
    const auto* const present = config();
    const auto* const me =
        present != nullptr && core_->self() ? present->find(*core_->self()) : nullptr;
    return me != nullptr ? me->secondary_delay : Duration::zero();
}

void Replication::Driver::drop_buffer() {
    buffer_.clear();
    buffer_bytes_ = 0;
    last_buffered_ = oplog_->visible();
    pull_changed_.notify();
}

async::Task<std::vector<bson::Document>> Replication::Driver::take_due() {
    std::vector<bson::Document> due;
    while (!buffer_.empty() && !is_stopping_) {
        if (is_held_) {
            const auto held = pull_changed_.ticket();
            co_await pull_changed_.wait(env_.clock, async::no_deadline, held, stopping_);
            continue;
        }
        Fetched& front = buffer_.front();
        // An entry is due so long after it was written by the primary's clock.
        const auto is_late = [&](const bson::Document& entry) {
            const bson::Value written = entry["wall"];
            return has_delay() && written.type() == bson::Type::date &&
                   wall().milliseconds < written.as_date().milliseconds + to_milliseconds(delay());
        };
        const auto end = std::find_if(front.entries.begin(), front.entries.end(), is_late);
        if (end == front.entries.end()) {
            due = std::move(front.entries);
            buffer_bytes_ -= front.bytes;
            buffer_.pop_front();
            break;
        }
        if (end != front.entries.begin()) {
            for (auto each = front.entries.begin(); each != end; ++each) {
                front.bytes -= each->size();
                buffer_bytes_ -= each->size();
                due.push_back(std::move(*each));
            }
            front.entries.erase(front.entries.begin(), end);
            break;
        }
        const std::int64_t written = front.entries.front()["wall"].as_date().milliseconds;
        const std::chrono::milliseconds rest(written + to_milliseconds(delay()) -
                                             wall().milliseconds);
        // A new configuration may know another delay; a rollback gives the buffer up.
        const auto ticket = pull_changed_.ticket();
        co_await pull_changed_.wait(env_.clock, now() + rest, ticket, stopping_);
    }
    co_return due;
}

async::Task<bool> Replication::Driver::hold_applying(Instant deadline) {
    is_held_ = true;
    while (is_in_batch_ && !is_stopping_ && now() < deadline) {
        const auto ticket = pull_changed_.ticket();
        co_await pull_changed_.wait(env_.clock, deadline, ticket, stopping_);
    }
    if (is_in_batch_ || is_stopping_) release_applying();
    co_return is_held_;
}

void Replication::Driver::release_applying() {
    is_held_ = false;
    pull_changed_.notify();
}

// Applies what was fetched, in its order, until nothing is left.
async::Task<void> Replication::Driver::apply_fetched() {
    while (true) {
        auto entries = co_await take_due();
        if (entries.empty()) break;
        const Timestamp newest = optime_in(entries.back()).timestamp;
        (void)env_.logical_clock.advance(newest, wall());
        is_in_batch_ = true;
        async::resume_on there(env_.workers);
        co_await there;
        const auto status = applier_.apply(entries, ApplyMode::exact, oplog_.get());
        async::resume_on back(env_.control);
        co_await back;
        is_in_batch_ = false;
        if (!status) {
            buffer_.clear();
            buffer_bytes_ = 0;
            is_applying_ = false;
            fatal(status.error());
            break;
        }
        read_mail();
        pull_changed_.notify();
    }
    is_applying_ = false;
    pull_changed_.notify();
}

}  // namespace tessera::replication
