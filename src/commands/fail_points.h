// SPDX-License-Identifier: Apache-2.0
//
// configureFailPoint's "failCommand", as the drivers' tests use it; only with enableTestCommands=1.
// Source: mongodb/specifications, "MongoDB Server Test Commands".
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::commands {

struct ClientInfo;
class Request;

/// What a failCommand in force does to one command.
struct Failure {
    std::optional<ErrorCode> error;
    std::vector<std::string> labels;
    bool has_labels = false;  // Given, perhaps empty: they replace the server's own.
    bool closes_connection = false;
    Duration blocks{0};
    std::optional<bson::Document> write_concern_error;
};

class FailPoints {
public:
    /// The command {configureFailPoint: name, mode, data}. Fails with FailPointSetFailed (266) for
    /// a name we do not have, BadValue for what cannot be understood, TypeMismatch.
    Status configure(bson::View command);

    /// What happens to this client's command now; counts down {times: n} and {skip: n}.
    std::optional<Failure> on_command(const Request& request, const ClientInfo& client);

    /// How often failCommand struck since it was configured; configureFailPoint's reply has it.
    std::int64_t times_entered() const { return times_entered_; }

private:
    std::atomic<bool> is_active_{false};
    std::atomic<std::int64_t> times_entered_{0};

    std::mutex mutex_;              // Guards what follows.
    std::int64_t times_left_ = -1;  // -1: always on.
    std::int64_t skip_left_ = 0;
    std::set<std::string, std::less<>> commands_;
    std::string app_name_;
    bool fails_internal_ = false;
    Failure failure_;
};

}  // namespace tessera::commands
