// SPDX-License-Identifier: Apache-2.0
//
// Processes of this machine: started apart from the launcher, found again by what /proc says, and
// never signalled before they are proven to be the ones that were started.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tessera::launcher {

/// Who a process is: an id alone is given again after its process has ended.
struct ProcessIdentity {
    int pid = 0;
    std::uint64_t start_time = 0;  // Clock ticks after boot.
    std::string boot_id;
    std::string executable;
};

enum class ProcessState { gone, running, frozen };

std::vector<int> all_process_ids();
/// Its words with blanks between; empty when it is gone.
std::string command_line_of(int pid);
std::optional<ProcessIdentity> identify(int pid);
/// Of the process itself; `gone` when its id belongs to another by now. A zombie is gone.
ProcessState state_of(const ProcessIdentity& identity);
/// Resident memory in bytes; 0 when it is gone.
std::int64_t resident_bytes(int pid);
/// Seconds since it started; 0 when it is gone.
double uptime_seconds(const ProcessIdentity& identity);

/// The program this process runs, for starting it again as mongod and mongos.
std::string own_executable();
/// Starts `executable` with `words` as its command line, in a session of its own, with its output
/// appended to `log`.
Result<ProcessIdentity> spawn(const std::string& executable,
                              const std::vector<std::string>& words,
                              const std::string& log);

/// Watches one process from before it was verified, so that what is signalled is what was verified.
class ProcessHandle {
public:
    /// Fails with NoSuchKey when it is gone or is not the one that was started.
    static Result<ProcessHandle> open(const ProcessIdentity& identity);
    ProcessHandle(ProcessHandle&& other) noexcept : descriptor_(other.descriptor_) {
        other.descriptor_ = -1;
    }
    ProcessHandle& operator=(ProcessHandle&&) = delete;
    ~ProcessHandle();

    Status signal(int number);
    bool wait_ended(Duration limit);
    int descriptor() const { return descriptor_; }

private:
    explicit ProcessHandle(int descriptor) : descriptor_(descriptor) {}
    int descriptor_ = -1;
};

/// The file that remembers a process: <node's folder>/process.json.
std::optional<ProcessIdentity> load_identity(const std::string& folder);
Status save_identity(const std::string& folder, const ProcessIdentity& identity);

}  // namespace tessera::launcher
