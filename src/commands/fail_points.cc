// SPDX-License-Identifier: Apache-2.0
#include "commands/fail_points.h"

#include "commands/operation.h"

namespace tessera::commands {
namespace {

struct Mode {
    bool is_on = false;
    std::int64_t times = -1;
    std::int64_t skip = 0;
};

Result<Mode> parse_mode(const bson::Value& mode) {
    if (mode.is_string() && mode.as_string() == "off") return Mode{};
    if (mode.is_string() && mode.as_string() == "alwaysOn") return Mode{true, -1, 0};
    if (mode.is_object()) {
        const bson::Value times = mode.as_view()["times"];
        const bson::Value skip = mode.as_view()["skip"];
        if (times.is_number() && times.to_int64() >= 0) return Mode{true, times.to_int64(), 0};
        if (skip.is_number() && skip.to_int64() >= 0) return Mode{true, -1, skip.to_int64()};
    }
    return Error(ErrorCode::bad_value,
                 "unknown mode: expected 'off', 'alwaysOn', {times: n} or {skip: n}");
}

Result<Failure> parse_failure(bson::View data) {
    Failure failure;
    if (const bson::Value code = data["errorCode"]; code.is_number())
        failure.error = static_cast<ErrorCode>(code.to_int64());
    if (const bson::Value labels = data["errorLabels"]; labels.is_array()) {
        failure.has_labels = true;
        for (const bson::Element& each : labels.as_view())
            if (each.value.is_string()) failure.labels.emplace_back(each.value.as_string());
    }
    failure.closes_connection = data["closeConnection"].is_truthy();
    if (data["blockConnection"].is_truthy()) {
        const std::int64_t time = data["blockTimeMS"].to_int64();
        if (time < 0) return Error(ErrorCode::bad_value, "blockTimeMS must not be negative");
        failure.blocks = std::chrono::milliseconds(time);
    }
    if (const bson::Value error = data["writeConcernError"]; error.is_object())
        failure.write_concern_error = bson::Document(error.as_view());
    return failure;
}

}  // namespace

Status FailPoints::configure(bson::View command) {
    const bson::Value name = command.front().value;
    if (!name.is_string() || name.as_string() != "failCommand")
        return Error(ErrorCode::fail_point_set_failed,
                     "'" + std::string(name.is_string() ? name.as_string() : "") +
                         "' is not a fail point of this server; there is 'failCommand'");
    TRY(const Mode mode, parse_mode(command["mode"]));
    const bson::Value data_value = command["data"];
    const bson::View data = data_value.is_object() ? data_value.as_view() : bson::View();
    TRY(Failure failure, parse_failure(data));
    const bson::Value commands = data["failCommands"];
    if (mode.is_on && !commands.is_array())
        return Error(ErrorCode::bad_value, "failCommand needs data.failCommands, an array");

    const std::lock_guard lock(mutex_);
    is_active_ = mode.is_on;
    times_entered_ = 0;
    times_left_ = mode.times;
    skip_left_ = mode.skip;
    failure_ = std::move(failure);
    commands_.clear();
    if (commands.is_array())
        for (const bson::Element& each : commands.as_view())
            if (each.value.is_string()) commands_.emplace(each.value.as_string());
    const bson::Value app_name = data["appName"];
    app_name_ = app_name.is_string() ? std::string(app_name.as_string()) : std::string();
    fails_internal_ = data["failInternalCommands"].is_truthy();
    return {};
}

std::optional<Failure> FailPoints::on_command(std::string_view command, const ClientInfo& client) {
    if (!is_active_.load(std::memory_order_relaxed)) return std::nullopt;
    const std::lock_guard lock(mutex_);
    if (!commands_.contains(command) || command == "configureFailPoint") return std::nullopt;
    if (!app_name_.empty() && app_name_ != client.app_name()) return std::nullopt;
    if (client.is_internal && !fails_internal_) return std::nullopt;
    if (skip_left_ > 0) {
        --skip_left_;
        return std::nullopt;
    }
    if (times_left_ == 0) return std::nullopt;
    if (times_left_ > 0 && --times_left_ == 0) is_active_ = false;
    ++times_entered_;
    return failure_;
}

}  // namespace tessera::commands
