// SPDX-License-Identifier: Apache-2.0
//
// Commands to other processes of the cluster. The real one (src/net) speaks OP_MSG over pooled
// connections; the simulator's delivers through its virtual network. async may not know BSON
// (design.md, layers), so documents cross this seam as their bytes.
#pragma once

#include <string>

#include "async/event.h"
#include "async/task.h"
#include "base/host_and_port.h"
#include "base/result.h"
#include "base/time.h"

namespace tessera::async {

/// A connection kept for one conversation, for answers that follow each other (oplog fetching) and
/// so that slow answers do not hold back others. Closed when it goes.
class Stream {
public:
    virtual ~Stream() = default;
    /// Sends one command and waits for its answer.
    virtual Task<Result<std::string>> call(std::string command_bson, Instant deadline,
                                           Cancellation cancellation) = 0;
};

/// What to send where. `command_bson` is a whole OP_MSG body with $db.
struct RemoteCall {
    HostAndPort target;
    std::string command_bson;
    Instant deadline;
};

class Transport {
public:
    virtual ~Transport() = default;

    /// Sends a command over a pooled connection and returns the whole reply document, whatever its
    /// "ok". Fails with HostUnreachable (refused, reset), HostNotFound, NetworkInterfaceExceeded-
    /// TimeLimit (deadline), CallbackCanceled. An error does not say whether the command ran.
    virtual Task<Result<std::string>> call(RemoteCall request, Cancellation cancellation) = 0;

    /// Opens a connection of its own.
    virtual Task<Result<std::unique_ptr<Stream>>> open(HostAndPort target, Instant deadline,
                                                       Cancellation cancellation) = 0;

    /// Drops pooled connections to `target` (it was restarted, or removed).
    virtual void drop_connections(const HostAndPort& target) = 0;
};

}  // namespace tessera::async
