// SPDX-License-Identifier: Apache-2.0
//
// Configuration files of mongod and mongos, in both forms: YAML ("net:\n  port: 27017") and the old
// one, an option a line ("port = 27017").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tessera::server {

/// One setting as the file says it. `key` is a dotted path in YAML, an option's name in the old
/// form.
struct FileEntry {
    std::string key;
    std::string value;
    bool is_path = true;
};

inline constexpr std::size_t config_file_bytes_max = 1024 * 1024;

/// Reads the file. Fails with BadValue, naming the file, the line and what is wrong.
Result<std::vector<FileEntry>> read_config_file(const std::string& path);
/// The same for a text that is read already; `name` is for messages.
Result<std::vector<FileEntry>> parse_config_text(std::string_view text, const std::string& name);

}  // namespace tessera::server
