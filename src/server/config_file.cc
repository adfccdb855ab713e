// SPDX-License-Identifier: Apache-2.0
#include "server/config_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

namespace tessera::server {
namespace {

constexpr int nesting_max = 20;

Error bad_file(const std::string& name, std::string_view reason) {
    return {ErrorCode::bad_value, fmt::format("Error parsing config file {}: {}", name, reason)};
}

std::string_view trimmed(std::string_view text) {
    const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
    while (!text.empty() && is_space(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && is_space(text.back()))
        text.remove_suffix(1);
    return text;
}

// The first line that says something has a '=' before any ':' in the old form.
bool is_old_form(std::string_view text) {
    std::istringstream lines{std::string(text)};
    std::string line;
    while (std::getline(lines, line)) {
        const std::string_view said = trimmed(line);
        if (said.empty() || said.front() == '#' || said.starts_with("---")) continue;
        const std::size_t equals = said.find('=');
        return equals != std::string_view::npos && equals < said.find(':');
    }
    return false;
}

Result<std::vector<FileEntry>> parse_old_form(std::string_view text, const std::string& name) {
    std::vector<FileEntry> entries;
    std::istringstream lines{std::string(text)};
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        std::string_view said = trimmed(line);
        if (const std::size_t comment = said.find('#'); comment != std::string_view::npos)
            said = trimmed(said.substr(0, comment));
        if (said.empty()) continue;
        const std::size_t equals = said.find('=');
        if (equals == std::string_view::npos)
            return bad_file(
                name, fmt::format("line {}: '{}' is not of the form option = value", number, said));
        entries.push_back({std::string(trimmed(said.substr(0, equals))),
                           std::string(trimmed(said.substr(equals + 1))),
                           false});
    }
    return entries;
}

Status collect(const YAML::Node& node,
               const std::string& path,
               int depth,
               std::vector<FileEntry>& out) {
    if (depth > nesting_max) return Error(ErrorCode::bad_value, "nested too deeply");
    if (node.IsNull()) return ok();  // "storage:" with nothing below.
    if (node.IsScalar()) {
        out.push_back({path, node.Scalar(), true});
        return ok();
    }
    if (!node.IsMap())
        return Error(ErrorCode::bad_value,
                     fmt::format("{} is a list; it has to be one value", path));
    for (const auto& entry : node) {
        if (!entry.first.IsScalar())
            return Error(ErrorCode::bad_value, fmt::format("a key below '{}' is no word", path));
        const std::string& key = entry.first.Scalar();
        if (key.starts_with("__"))
            return Error(
                ErrorCode::bad_value,
                fmt::format("{}: values from commands or from the network are not supported", key));
        // A server parameter's own name is no part of a path.
        if (path == "setParameter") {
            if (!entry.second.IsScalar())
                return Error(ErrorCode::bad_value,
                             fmt::format("setParameter.{} has to be one value", key));
            out.push_back({path, key + "=" + entry.second.Scalar(), true});
            continue;
        }
        TRY_OK(collect(entry.second, path.empty() ? key : path + "." + key, depth + 1, out));
    }
    return ok();
}

Result<std::vector<FileEntry>> parse_yaml(std::string_view text, const std::string& name) {
    std::vector<FileEntry> entries;
    // yaml-cpp throws, also from accessors.
    try {
        const YAML::Node root = YAML::Load(std::string(text));
        if (root.IsNull()) return entries;
        if (!root.IsMap())
            return bad_file(name, "it is neither YAML (net: ...) nor lines of option = value");
        if (const auto status = collect(root, "", 0, entries); !status)
            return bad_file(name, status.error().reason());
    } catch (const std::exception& exception) {
        return bad_file(name, exception.what());
    }
    return entries;
}

}  // namespace

Result<std::vector<FileEntry>> parse_config_text(std::string_view text, const std::string& name) {
    return is_old_form(text) ? parse_old_form(text, name) : parse_yaml(text, name);
}

Result<std::vector<FileEntry>> read_config_file(const std::string& path) {
    std::ifstream input(path, std::ios::binary);
    if (!input)
        return Error(ErrorCode::bad_value,
                     fmt::format("Error opening config file {}: {}", path, std::strerror(errno)));
    std::string text(config_file_bytes_max + 1, '\0');
    input.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(input.gcount()));
    if (input.bad()) return bad_file(path, "it cannot be read");
    if (text.size() > config_file_bytes_max) return bad_file(path, "it is larger than 1 MiB");
    return parse_config_text(text, path);
}

}  // namespace tessera::server
