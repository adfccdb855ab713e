// SPDX-License-Identifier: Apache-2.0
#include "commands/cursor_registry.h"

namespace tessera::commands {

PinnedCursor::PinnedCursor(PinnedCursor&& other) noexcept { *this = std::move(other); }

PinnedCursor& PinnedCursor::operator=(PinnedCursor&& other) noexcept {
    std::swap(registry_, other.registry_);
    std::swap(id_, other.id_);
    std::swap(source_, other.source_);
    std::swap(options_, other.options_);
    return *this;
}

PinnedCursor::~PinnedCursor() {
    if (registry_ != nullptr) registry_->close(id_);
}

void PinnedCursor::keep() {
    ASSERT(registry_ != nullptr);
    source_->save();
    std::exchange(registry_, nullptr)->put_back(*this);
}

std::int64_t CursorRegistry::add(std::unique_ptr<CursorSource> source, CursorOptions options) {
    source->save();
    const std::lock_guard lock(mutex_);
    std::int64_t id = 0;
    do {
        // Positive, and not to be guessed from others.
        id = static_cast<std::int64_t>(random_.next() >> 1);
    } while (id == 0 || cursors_.contains(id));
    Entry entry;
    entry.ns = options.ns;
    entry.session = options.session;
    entry.never_times_out = options.never_times_out;
    entry.source = std::move(source);
    entry.options = std::make_unique<CursorOptions>(std::move(options));
    entry.last_used = clock_.now();
    entry.created = entry.last_used_wall = clock_.wall_now();
    cursors_.emplace(id, std::move(entry));
    ++total_opened_;
    return id;
}

Result<PinnedCursor> CursorRegistry::pin(std::int64_t id,
                                         const Namespace& ns,
                                         const std::optional<replication::SessionId>& session,
                                         std::shared_ptr<Operation> operation) {
    const std::lock_guard lock(mutex_);
    const auto found = cursors_.find(id);
    if (found == cursors_.end())
        return Error(ErrorCode::cursor_not_found, "cursor id " + std::to_string(id) + " not found");
    Entry& entry = found->second;
    if (entry.ns != ns)
        return Error(ErrorCode::unauthorized,
                     "Requested getMore on namespace '" + ns.to_string() +
                         "', but cursor belongs to a different namespace " + entry.ns.to_string());
    if (entry.session != session) {
        if (!entry.session)
            return Error(location(50736), "Cannot run getMore on cursor " + std::to_string(id) +
                                              ", which was not created in a session, in session " +
                                              session->id.to_string());
        return Error(location(session ? 50737 : 50736),
                     "Cannot run getMore on cursor " + std::to_string(id) +
                         ", which was created in session " + entry.session->id.to_string() +
                         (session ? ", in session " + session->id.to_string()
                                  : std::string(", without an lsid")));
    }
    if (entry.user)
        return Error(ErrorCode::cursor_in_use,
                     "cursor id " + std::to_string(id) + " is already in use");
    PinnedCursor pinned;
    pinned.registry_ = this;
    pinned.id_ = id;
    pinned.source_ = std::move(entry.source);
    pinned.options_ = std::move(entry.options);
    entry.user = std::move(operation);
    return pinned;
}

void CursorRegistry::put_back(PinnedCursor& cursor) {
    // What is closed goes after the lock: closing may take time.
    std::unique_ptr<CursorSource> closed;
    const std::lock_guard lock(mutex_);
    const auto found = cursors_.find(cursor.id_);
    if (found == cursors_.end() || (found->second.user && found->second.user->is_killed())) {
        closed = std::move(cursor.source_);
        if (found != cursors_.end()) cursors_.erase(found);
        return;
    }
    Entry& entry = found->second;
    entry.user.reset();
    entry.source = std::move(cursor.source_);
    entry.options = std::move(cursor.options_);
    entry.last_used = clock_.now();
    entry.last_used_wall = clock_.wall_now();
}

void CursorRegistry::close(std::int64_t id) {
    const std::lock_guard lock(mutex_);
    cursors_.erase(id);
}

CursorRegistry::KillOutcome CursorRegistry::kill(std::int64_t id) {
    Entry closed;
    const std::lock_guard lock(mutex_);
    const auto found = cursors_.find(id);
    if (found == cursors_.end()) return KillOutcome::not_found;
    if (found->second.user) found->second.user->kill(ErrorCode::cursor_killed);
    closed = std::move(found->second);
    cursors_.erase(found);
    return KillOutcome::killed;
}

std::int64_t CursorRegistry::kill_session(const replication::SessionId& session) {
    std::vector<std::int64_t> ids;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, entry] : cursors_)
            if (entry.session == session) ids.push_back(id);
    }
    for (const std::int64_t id : ids) kill(id);
    return static_cast<std::int64_t>(ids.size());
}

void CursorRegistry::kill_namespace(const Namespace& ns) {
    std::vector<std::int64_t> ids;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, entry] : cursors_)
            if (entry.ns == ns) ids.push_back(id);
    }
    for (const std::int64_t id : ids) kill(id);
}

void CursorRegistry::kill_all() {
    std::vector<std::int64_t> ids;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, entry] : cursors_) ids.push_back(id);
    }
    for (const std::int64_t id : ids) kill(id);
}

std::int64_t CursorRegistry::expire(Duration idle_max) {
    const Instant before = clock_.now() - idle_max;
    std::vector<std::int64_t> ids;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, entry] : cursors_)
            if (!entry.user && !entry.never_times_out && entry.last_used < before)
                ids.push_back(id);
        timed_out_ += static_cast<std::int64_t>(ids.size());
    }
    for (const std::int64_t id : ids) kill(id);
    return static_cast<std::int64_t>(ids.size());
}

std::vector<CursorRegistry::Info> CursorRegistry::idle_cursors() const {
    const std::lock_guard lock(mutex_);
    std::vector<Info> result;
    for (const auto& [id, entry] : cursors_) {
        if (entry.user) continue;
        Info info;
        info.id = id;
        info.options = *entry.options;
        info.created = entry.created;
        info.last_used = entry.last_used_wall;
        info.plan_summary = entry.source->plan_summary();
        result.push_back(std::move(info));
    }
    return result;
}

CursorRegistry::Counts CursorRegistry::counts() const {
    const std::lock_guard lock(mutex_);
    Counts counts;
    counts.open = static_cast<std::int64_t>(cursors_.size());
    for (const auto& [id, entry] : cursors_) {
        if (entry.user) ++counts.open_pinned;
        if (entry.never_times_out) ++counts.open_no_timeout;
    }
    counts.timed_out = timed_out_;
    counts.total_opened = total_opened_;
    return counts;
}

}  // namespace tessera::commands
