// SPDX-License-Identifier: Apache-2.0
//
// WiredTiger's numbers and messages become our errors here, and nowhere else.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <wiredtiger.h>

#include "base/result.h"

namespace tessera::storage::wiredtiger {

/// The process ends with this code when the engine can no longer vouch for the data.
inline constexpr int panic_exit_code = 14;

/// Receives what the library has to say. Logs it; ends the process when the library panics, since
/// from then on nothing that it returns is true. Must outlive its connection.
class EventHandler : public WT_EVENT_HANDLER {
public:
    EventHandler();
    /// The last error messages, for the reason of a failed open; empties them.
    std::string take_messages();
    /// While set, a thread's messages go there instead of to the log (verify).
    static std::vector<std::string>*& collector();
    /// Until called, a panic is an error of open() and not the end of the process.
    void on_opened();

private:
    static int on_error(WT_EVENT_HANDLER*, WT_SESSION*, int error, const char* message);
    static int on_message(WT_EVENT_HANDLER*, WT_SESSION*, const char* message);

    std::mutex mutex_;  // Guards what follows.
    std::vector<std::string> messages_;
    bool is_open_ = false;
};

/// Returns the error for WiredTiger's `code` (not 0), met while doing `what`.
Error to_error(int code, std::string_view what);

/// As to_error(), or success for 0.
inline Status to_status(int code, std::string_view what) {
    if (code == 0) [[likely]]
        return ok();
    return to_error(code, what);
}

}  // namespace tessera::storage::wiredtiger
