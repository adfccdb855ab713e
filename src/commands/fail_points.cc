// SPDX-License-Identifier: Apache-2.0
#include "commands/fail_points.h"

#include <algorithm>
#include <array>

#include "commands/operation.h"
#include "commands/request.h"

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

// What data may hold; there is no part of it that would be taken and not obeyed.
Status check_data(bson::View data) {
    using Check = bool (*)(const bson::Value&);
    constexpr Check is_number = [](const bson::Value& value) { return value.is_number(); };
    constexpr Check is_array = [](const bson::Value& value) { return value.is_array(); };
    constexpr Check is_object = [](const bson::Value& value) { return value.is_object(); };
    constexpr Check is_string = [](const bson::Value& value) { return value.is_string(); };
    constexpr Check is_flag = [](const bson::Value& value) {
        return value.is_boolean() || value.is_number();
    };
    static constexpr std::array<std::pair<std::string_view, Check>, 9> known = {{
        {"failCommands", is_array},
        {"errorCode", is_number},
        {"errorLabels", is_array},
        {"closeConnection", is_flag},
        {"blockConnection", is_flag},
        {"blockTimeMS", is_number},
        {"writeConcernError", is_object},
        {"appName", is_string},
        {"failInternalCommands", is_flag},
    }};
    for (const bson::Element& field : data) {
        const auto found = std::find_if(
            known.begin(), known.end(), [&](const auto& each) { return each.first == field.name; });
        if (found == known.end())
            return Error(ErrorCode::bad_value,
                         "failCommand does not support data." + std::string(field.name));
        if (!found->second(field.value))
            return Error(ErrorCode::type_mismatch,
                         "failCommand's data." + std::string(field.name) +
                             " cannot be of type " + std::string(type_name(field.value.type())));
    }
    if (data["blockConnection"].is_truthy() && !data.has("blockTimeMS"))
        return Error(ErrorCode::bad_value, "blockConnection needs blockTimeMS");
    return {};
}

Result<Failure> parse_failure(bson::View data) {
    TRY_OK(check_data(data));
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

// A first hello names its application itself.
std::string app_name_of(const Request& request, const ClientInfo& client) {
    std::string known = client.app_name();
    if (!known.empty()) return known;
    const bson::Value metadata = request.body["client"];
    if (!metadata.is_object()) return known;
    const bson::Value name = metadata.as_view().at_path("application.name");
    return name.is_string() ? std::string(name.as_string()) : known;
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

std::optional<Failure> FailPoints::on_command(const Request& request, const ClientInfo& client) {
    if (!is_active_.load(std::memory_order_relaxed)) return std::nullopt;
    const std::lock_guard lock(mutex_);
    if (!commands_.contains(request.name) || request.name == "configureFailPoint")
        return std::nullopt;
    if (!app_name_.empty() && app_name_ != app_name_of(request, client)) return std::nullopt;
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
