// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/log_line.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <deque>
#include <mutex>
#include <type_traits>

#include <unistd.h>

#include <fmt/format.h>

namespace tessera::log {
namespace {

constexpr std::size_t lines_kept_max = 1024;

struct State {
    std::mutex mutex;  // Guards everything below.
    Sink sink;
    std::function<WallTime()> clock;
    std::deque<std::string> recent;
    std::deque<std::string> warnings;
};

// The log is the one process-wide thing: an assertion must be able to write before it aborts.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): as said.
State& state() {
    static State* const instance = new State;  // Never destroyed: threads may log at exit.
    return *instance;
}
std::atomic<int> verbosity_level{0};
thread_local std::string thread_context = "-";
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

WallTime system_wall_time() {
    return {std::chrono::duration_cast<std::chrono::milliseconds>(
                std::chrono::system_clock::now().time_since_epoch())
                .count()};
}

std::string_view name_of(Component component) {
    static constexpr std::array<std::string_view, 15> names = {
        "-",     "COMMAND", "CONTROL",  "ELECTION", "INDEX",   "INITSYNC", "NETWORK", "QUERY",
        "REPL",  "ROLLBACK", "SHARDING", "STORAGE", "RECOVERY", "WRITE",   "ACCESS"};
    return names[static_cast<std::size_t>(component)];
}

std::string_view letter_of(Severity severity) {
    static constexpr std::array<std::string_view, 5> letters = {"F", "E", "W", "I", "D1"};
    return letters[static_cast<std::size_t>(severity)];
}

std::string date_text(WallTime now) {
    const std::time_t seconds = now.milliseconds / 1000;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}+00:00", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       now.milliseconds % 1000);
}

void append_value(std::string& out, const Attribute& attribute) {
    std::visit(
        [&](const auto& value) {
            using Kind = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<Kind, std::string>)
                out += quote_json(value);
            else if constexpr (std::is_same_v<Kind, Json>)
                out += value.text;
            else if constexpr (std::is_same_v<Kind, bool>)
                out += value ? "true" : "false";
            else
                out += fmt::format("{}", value);
        },
        attribute.value);
}

void keep(std::deque<std::string>& lines, const std::string& line) {
    if (lines.size() == lines_kept_max) lines.pop_front();
    lines.push_back(line);
}

void emit(const std::string& line, bool is_startup_warning) {
    State& log = state();
    const std::lock_guard lock(log.mutex);
    keep(log.recent, line);
    if (is_startup_warning) keep(log.warnings, line);
    if (log.sink) {
        log.sink(line);
        return;
    }
    const std::string with_newline = line + "\n";
    // A log that cannot be written must not stop the process; there is nowhere to report it.
    [[maybe_unused]] const auto written =
        ::write(STDOUT_FILENO, with_newline.data(), with_newline.size());
}

std::string format_line(Severity severity,
                        Component component,
                        int id,
                        std::string_view message,
                        std::span<const Attribute> attributes) {
    std::function<WallTime()> clock;
    {
        const std::lock_guard lock(state().mutex);
        clock = state().clock;
    }
    std::string line = fmt::format(
        R"({{"t":{{"$date":"{}"}},"s":"{}","c":"{}","id":{},"ctx":{},"msg":{})",
        date_text(clock ? clock() : system_wall_time()), letter_of(severity), name_of(component),
        id, quote_json(thread_context), quote_json(message));
    if (!attributes.empty()) {
        line += ",\"attr\":{";
        bool is_first = true;
        for (const Attribute& attribute : attributes) {
            if (!is_first) line += ',';
            is_first = false;
            line += quote_json(attribute.name);
            line += ':';
            append_value(line, attribute);
        }
        line += '}';
    }
    line += '}';
    return line;
}

// Returns the length of the UTF-8 sequence at the front of `text`, 0 when it is not one.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2
                               : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80) return 0;
    return length;
}

}  // namespace

std::string quote_json(std::string_view text) {
    std::string out = "\"";
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const char c = text.front();
        if (length == 0) {
            out += "\\ufffd";
        } else if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
            out += text.substr(0, length);
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
    out += '"';
    return out;
}

void set_sink(Sink sink) {
    const std::lock_guard lock(state().mutex);
    state().sink = std::move(sink);
}
void set_clock(std::function<WallTime()> clock) {
    const std::lock_guard lock(state().mutex);
    state().clock = std::move(clock);
}
void set_verbosity(int level) { verbosity_level = level; }
int verbosity() { return verbosity_level; }
void set_thread_context(std::string name) { thread_context = std::move(name); }

void write(Severity severity,
           Component component,
           int id,
           std::string_view message,
           std::initializer_list<Attribute> attributes) {
    write_line(severity, component, id, message, std::span(attributes.begin(), attributes.size()));
}

void write_line(Severity severity,
                Component component,
                int id,
                std::string_view message,
                std::span<const Attribute> attributes) {
    emit(format_line(severity, component, id, message, attributes), false);
}

void startup_warning(Component component, int id, std::string_view message) {
    emit(format_line(Severity::warning, component, id, message, {}), true);
}

std::vector<std::string> recent_lines() {
    const std::lock_guard lock(state().mutex);
    return {state().recent.begin(), state().recent.end()};
}
std::vector<std::string> startup_warnings() {
    const std::lock_guard lock(state().mutex);
    return {state().warnings.begin(), state().warnings.end()};
}

}  // namespace tessera::log
