// SPDX-License-Identifier: Apache-2.0
//
// Structured log lines, one JSON object a line in the form mongod prints, because launchers and
// people's tools parse it:
//   {"t":{"$date":"..."},"s":"I","c":"NETWORK","id":23016,"ctx":"listener","msg":"Waiting for
//    connections","attr":{"port":27017,"ssl":"off"}}
// Ids of lines other tools look for are theirs (23016, 22856, ...); our own start at 9'000'000.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace tessera::log {

enum class Severity { fatal, error, warning, info, debug };

enum class Component { base, command, control, election, index, initial_sync, network, query,
                       replication, rollback, sharding, storage, recovery, write, access };

/// One name and value of a line's "attr". A Json value is embedded as it stands.
struct Json {
    std::string text;
};
struct Attribute {
    std::string_view name;
    std::variant<std::string, std::int64_t, double, bool, Json> value;

    Attribute(std::string_view n, std::string v) : name(n), value(std::move(v)) {}
    Attribute(std::string_view n, std::string_view v) : name(n), value(std::string(v)) {}
    Attribute(std::string_view n, const char* v) : name(n), value(std::string(v)) {}
    Attribute(std::string_view n, std::int64_t v) : name(n), value(v) {}
    Attribute(std::string_view n, std::int32_t v) : name(n), value(std::int64_t{v}) {}
    Attribute(std::string_view n, std::uint32_t v) : name(n), value(std::int64_t{v}) {}
    Attribute(std::string_view n, std::uint64_t v)
        : name(n), value(static_cast<std::int64_t>(v)) {}
    Attribute(std::string_view n, double v) : name(n), value(v) {}
    Attribute(std::string_view n, bool v) : name(n), value(v) {}
    Attribute(std::string_view n, Json v) : name(n), value(std::move(v)) {}
    Attribute(std::string_view n, const Error& v) : name(n), value(v.to_string()) {}
};

/// Where lines go; called with a whole line without its newline, from any thread, one at a time.
/// The default sink writes to standard output. Also kept in memory: the last lines, for getLog.
using Sink = std::function<void(std::string_view line)>;
void set_sink(Sink sink);

/// Lines at debug severity are dropped unless the level is at least 1 (logComponentVerbosity).
void set_verbosity(int level);
int verbosity();

/// The clock lines are stamped with; the simulator sets its own.
void set_clock(std::function<WallTime()> clock);

/// Names the calling thread ("ctx" of its lines), e.g. "conn12", "initandlisten".
void set_thread_context(std::string name);

void write(Severity severity,
           Component component,
           int id,
           std::string_view message,
           std::initializer_list<Attribute> attributes = {});

inline void info(Component component,
                 int id,
                 std::string_view message,
                 std::initializer_list<Attribute> attributes = {}) {
    write(Severity::info, component, id, message, attributes);
}
inline void warning(Component component,
                    int id,
                    std::string_view message,
                    std::initializer_list<Attribute> attributes = {}) {
    write(Severity::warning, component, id, message, attributes);
}
inline void error(Component component,
                  int id,
                  std::string_view message,
                  std::initializer_list<Attribute> attributes = {}) {
    write(Severity::error, component, id, message, attributes);
}
inline void debug(Component component,
                  int id,
                  std::string_view message,
                  std::initializer_list<Attribute> attributes = {}) {
    if (verbosity() > 0) write(Severity::debug, component, id, message, attributes);
}

/// The last lines written (at most 1,024), oldest first, and those at warning or above since start
/// (at most 1,024): what getLog answers.
std::vector<std::string> recent_lines();
std::vector<std::string> startup_warnings();
/// Records a line as a start-up warning as well as writing it.
void startup_warning(Component component, int id, std::string_view message);

/// Returns `text` as a JSON string literal with its quotes; invalid UTF-8 becomes U+FFFD.
std::string quote_json(std::string_view text);

}  // namespace tessera::log
