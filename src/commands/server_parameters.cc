// SPDX-License-Identifier: Apache-2.0
#include "commands/server_parameters.h"

#include <charconv>

#include "base/log.h"
#include "bson/arena.h"

namespace tessera::commands {

ServerParameters::ServerParameters() {
    add_bool("enableTestCommands", enable_test_commands, false);
    add_bool("ttlMonitorEnabled", ttl_monitor_enabled, true);
    add_integer("ttlMonitorSleepSecs", ttl_monitor_sleep_seconds, 1, true);
    add_integer("cursorTimeoutMillis", cursor_timeout_ms, 1, true);
    add_integer("transactionLifetimeLimitSeconds", transaction_lifetime_limit_seconds, 1, true);
    add_integer("orphanCleanupDelaySecs", orphan_cleanup_delay_seconds, 0, true);
    add_integer("internalQueryMaxBlockingSortMemoryUsageBytes", query_memory_bytes_max, 1024, true);
    add_integer("indexBuildMinAvailableDiskSpaceMB", index_build_disk_mb_min, 0, true);
    add_bool("quiet", quiet, true);
    add_integer("logLevel", log_level, 0, true);
    auto& level = parameters_["logLevel"];
    const auto set_level = level.set;
    level.set = [this, set_level](const bson::Value& value) -> Status {
        TRY_OK(set_level(value));
        log::set_verbosity(static_cast<int>(log_level.load()));
        return {};
    };
    level.set_at_startup = level.set;
    parameters_["featureCompatibilityVersion"] = {
        [](std::string_view name, bson::Builder& out) {
            const bson::Document version = bson::make("version", "7.0");
            out.append(name, version);
        },
        nullptr, nullptr};
    parameters_["authenticationMechanisms"] = {
        [](std::string_view name, bson::Builder& out) { out.array(name); }, nullptr, nullptr};
    // logComponentVerbosity: {verbosity: n}; one level for all components.
    parameters_["logComponentVerbosity"] = {
        [this](std::string_view name, bson::Builder& out) {
            out.object(name).append_integer("verbosity", log_level.load());
        },
        [this](const bson::Value& value) -> Status {
            if (!value.is_object())
                return Error(ErrorCode::type_mismatch, "logComponentVerbosity is an object");
            for (const bson::Element& each : value.as_view()) {
                if (each.name != "verbosity" || !each.value.is_number())
                    return Error(ErrorCode::bad_value,
                                 "logComponentVerbosity: only the default component's "
                                 "'verbosity' can be set, not '" + std::string(each.name) + "'");
                log_level = each.value.to_int64();
            }
            log::set_verbosity(static_cast<int>(log_level.load()));
            return {};
        },
        nullptr};
}

void ServerParameters::add_bool(std::string name, std::atomic<bool>& value, bool is_settable) {
    Parameter parameter;
    parameter.append = [&value](std::string_view field, bson::Builder& out) {
        out.append(field, value.load());
    };
    parameter.set_at_startup = [&value](const bson::Value& given) -> Status {
        if (!given.is_boolean() && !given.is_number())
            return Error(ErrorCode::type_mismatch, "the value must be a boolean");
        value = given.is_truthy();
        return {};
    };
    if (is_settable) parameter.set = parameter.set_at_startup;
    parameters_.emplace(std::move(name), std::move(parameter));
}

void ServerParameters::add_integer(std::string name,
                                   std::atomic<std::int64_t>& value,
                                   std::int64_t min,
                                   bool is_settable) {
    Parameter parameter;
    parameter.append = [&value](std::string_view field, bson::Builder& out) {
        out.append_integer(field, value.load());
    };
    parameter.set_at_startup = [&value, min, name](const bson::Value& given) -> Status {
        if (!given.is_number() || !given.is_integral())
            return Error(ErrorCode::type_mismatch, "the value must be an integer");
        if (given.to_int64() < min)
            return Error(ErrorCode::bad_value, "Invalid value for parameter " + name + ": " +
                                                   std::to_string(given.to_int64()) +
                                                   " is not greater than or equal to " +
                                                   std::to_string(min));
        value = given.to_int64();
        return {};
    };
    if (is_settable) parameter.set = parameter.set_at_startup;
    parameters_.emplace(std::move(name), std::move(parameter));
}

Status ServerParameters::set_at_startup(std::string_view name, std::string_view value) {
    const auto found = parameters_.find(name);
    if (found == parameters_.end() || !found->second.set_at_startup)
        return Error(ErrorCode::bad_value,
                     "Unknown --setParameter '" + std::string(name) + "'");
    bson::Arena arena;
    bson::Value given = arena.make(value);
    std::int64_t number = 0;
    const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (failure == std::errc() && end == value.data() + value.size()) given = arena.make(number);
    if (value == "true" || value == "false") given = bson::Arena::make_bool(value == "true");
    if (auto status = found->second.set_at_startup(given); !status)
        return Error(ErrorCode::bad_value, "Bad value for --setParameter " + std::string(name) +
                                               "='" + std::string(value) +
                                               "': " + status.error().reason());
    return {};
}

Status ServerParameters::set(std::string_view name, const bson::Value& value, bson::Builder& old) {
    const auto found = parameters_.find(name);
    if (found == parameters_.end())
        return Error(ErrorCode::invalid_options,
                     "attempted to set unrecognized parameter [" + std::string(name) +
                         "], use help:true to see options ");
    if (!found->second.set)
        return Error(ErrorCode::illegal_operation,
                     "not allowed to change [" + std::string(name) + "] at runtime");
    found->second.append("was", old);
    return found->second.set(value);
}

bool ServerParameters::append(std::string_view name, bson::Builder& out) const {
    const auto found = parameters_.find(name);
    if (found == parameters_.end()) return false;
    found->second.append(name, out);
    return true;
}

void ServerParameters::append_all(bson::Builder& out) const {
    for (const auto& [name, parameter] : parameters_) parameter.append(name, out);
}

}  // namespace tessera::commands
