// SPDX-License-Identifier: Apache-2.0
#include "base/zone_file.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

namespace tessera {

namespace {

constexpr std::size_t name_size_max = 100;
constexpr std::size_t zone_file_bytes_max = 1 << 16;

/// A name and nothing that climbs out of the folder.
bool is_zone_name(std::string_view name) {
    if (name.empty() || name.size() > name_size_max || name[0] == '/') return false;
    if (name.find("..") != std::string_view::npos) return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '/' || c == '_' ||
               c == '-' || c == '+';
    });
}

}  // namespace

std::string read_zone_file(std::string_view name) {
    if (!is_zone_name(name)) return {};
    const std::string path = "/usr/share/zoneinfo/" + std::string(name);
    std::FILE* const file = std::fopen(path.c_str(), "rb");
    if (!file) return {};
    std::string bytes(zone_file_bytes_max, '\0');
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
    return bytes;
}

}  // namespace tessera
