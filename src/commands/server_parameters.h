// SPDX-License-Identifier: Apache-2.0
//
// Server parameters: what setParameter and getParameter know. Only parameters something reads are
// here; any other name is refused with InvalidOptions.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/builder.h"
#include "bson/view.h"

namespace tessera::commands {

class ServerParameters {
public:
    ServerParameters();

    /// From --setParameter name=value. Fails with BadValue, naming what is wrong.
    Status set_at_startup(std::string_view name, std::string_view value);
    /// From the command; `old` receives the value before, under the name "was".
    Status set(std::string_view name, const bson::Value& value, bson::Builder& old);
    /// Appends the value under its name; false when there is no such parameter.
    bool append(std::string_view name, bson::Builder& out) const;
    void append_all(bson::Builder& out) const;

    // Those that code reads often.
    std::atomic<bool> enable_test_commands{false};
    std::atomic<bool> ttl_monitor_enabled{true};
    std::atomic<std::int64_t> ttl_monitor_sleep_seconds{60};
    std::atomic<std::int64_t> cursor_timeout_ms{600'000};
    std::atomic<std::int64_t> transaction_lifetime_limit_seconds{60};
    std::atomic<std::int64_t> orphan_cleanup_delay_seconds{900};
    std::atomic<std::int64_t> query_memory_bytes_max{100 * 1024 * 1024};
    std::atomic<std::int64_t> index_build_disk_mb_min{500};
    std::atomic<bool> quiet{false};
    std::atomic<std::int64_t> log_level{0};

private:
    struct Parameter {
        std::function<void(std::string_view, bson::Builder&)> append;
        /// Null: fixed after start-up.
        std::function<Status(const bson::Value&)> set;
        std::function<Status(const bson::Value&)> set_at_startup;
    };
    void add_bool(std::string name, std::atomic<bool>& value, bool is_settable);
    void add_integer(std::string name, std::atomic<std::int64_t>& value, std::int64_t min,
                     bool is_settable);

    std::map<std::string, Parameter, std::less<>> parameters_;  // Fixed after construction.
};

}  // namespace tessera::commands
