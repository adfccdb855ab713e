// SPDX-License-Identifier: Apache-2.0
#include "storage/wiredtiger/errors.h"

#include <cerrno>
#include <cstdlib>

#include "base/log.h"
#include "storage/engine.h"

namespace tessera::storage::wiredtiger {
namespace {

constexpr std::size_t messages_max = 16;

}  // namespace

EventHandler::EventHandler() : WT_EVENT_HANDLER{} {
    handle_error = &on_error;
    handle_message = &on_message;
}

std::vector<std::string>*& EventHandler::collector() {
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): each thread's own.
    static thread_local std::vector<std::string>* messages = nullptr;
    return messages;
}

void EventHandler::on_opened() {
    std::lock_guard lock(mutex_);
    is_open_ = true;
    messages_.clear();
}

std::string EventHandler::take_messages() {
    std::lock_guard lock(mutex_);
    std::string all;
    for (const auto& message : messages_) {
        if (!all.empty()) all += "; ";
        all += message;
    }
    messages_.clear();
    return all;
}

int EventHandler::on_error(WT_EVENT_HANDLER* base, WT_SESSION*, int error, const char* message) {
    auto* const self = static_cast<EventHandler*>(base);
    if (auto* const collected = collector(); collected != nullptr && error != WT_PANIC) {
        collected->emplace_back(message);
        return 0;
    }
    bool is_open;
    {
        std::lock_guard lock(self->mutex_);
        is_open = self->is_open_;
        if (!is_open && self->messages_.size() < messages_max) {
            self->messages_.emplace_back(message);
        }
    }
    if (error == WT_PANIC && is_open) {
        log::write(log::Severity::fatal,
                   log::Component::storage,
                   50853,
                   "The storage engine cannot go on: stopping, so that nothing wrong is answered. "
                   "Free disk space or repair the disk, then start again",
                   {{"error", error}, {"message", message}});
        std::_Exit(panic_exit_code);
    }
    log::write(log::Severity::error,
               log::Component::storage,
               22435,
               "WiredTiger error",
               {{"error", error}, {"message", message}});
    return 0;
}

int EventHandler::on_message(WT_EVENT_HANDLER*, WT_SESSION*, const char* message) {
    if (auto* const collected = collector(); collected != nullptr) {
        collected->emplace_back(message);
        return 0;
    }
    log::write(log::Severity::debug,
               log::Component::storage,
               22430,
               "WiredTiger message",
               {{"message", message}});
    return 0;
}

Error to_error(int code, std::string_view what) {
    const auto reason = [&](std::string_view prefix) {
        return std::string(prefix) + " (" + std::string(what) + ": " + wiredtiger_strerror(code) +
               ")";
    };
    switch (code) {
        case WT_ROLLBACK:
            return write_conflict();
        case WT_PREPARE_CONFLICT:
            return {ErrorCode::prepared_transaction_in_progress,
                    "A prepared transaction holds this document; wait for its decision"};
        case WT_CACHE_FULL:
            return {ErrorCode::temporarily_unavailable, reason("The storage cache is full")};
        case ENOSPC:
        case EDQUOT:
            return {ErrorCode::out_of_disk_space, reason("No space is left on the data disk")};
        case EBUSY:
            return {ErrorCode::lock_busy, reason("The table is in use")};
        case ENOENT:
            return {ErrorCode::query_plan_killed, reason("The collection or index was dropped")};
        case WT_PANIC:
        case WT_ERROR:
        case WT_TRY_SALVAGE:
            return {ErrorCode::internal_error, reason("The storage engine failed")};
        case EINVAL:
            return {ErrorCode::bad_value, reason("The storage engine refused an argument")};
        default:
            return {ErrorCode::internal_error, reason("Storage error")};
    }
}

}  // namespace tessera::storage::wiredtiger
