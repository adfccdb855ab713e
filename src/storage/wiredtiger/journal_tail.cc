// SPDX-License-Identifier: Apache-2.0
//
// A journal file is a run of records, each starting at a multiple of 128 bytes:
//   uint32 length (header included), uint32 CRC-32C of the record with this field 0, uint16 flags,
//   uint16 zero, uint32 uncompressed length, then the payload. A length of 0 with nothing but zeros
//   after it is the unused end of the file.
#include "storage/wiredtiger/journal_tail.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <wiredtiger.h>

#include "base/log.h"

namespace tessera::storage::wiredtiger {
namespace {

constexpr std::size_t alignment = 128;
constexpr std::size_t header_bytes = 16;
constexpr std::uintmax_t file_bytes_max = 512 * 1024 * 1024;

/// In the order they were written.
std::vector<std::filesystem::path> journal_files(const std::string& directory) {
    std::vector<std::filesystem::path> files;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(directory, failure))
        if (entry.path().filename().string().starts_with("WiredTigerLog."))
            files.push_back(entry.path());
    std::sort(files.begin(), files.end());  // Numbers are padded: order of names.
    return files;
}

bool is_all_zero(const char* from, const char* to) {
    return from == to ||
           (*from == 0 &&
            std::memcmp(from, from + 1, static_cast<std::size_t>(to - from) - 1) == 0);
}

// Returns where the intact records end, or nothing when the file is fine as it is.
std::optional<std::size_t> intact_length(std::vector<char>& bytes) {
    const auto crc32c = wiredtiger_crc32c_func();
    std::size_t at = 0;
    while (at + alignment <= bytes.size()) {
        char* const record = bytes.data() + at;
        std::uint32_t length;
        std::uint32_t checksum;
        std::memcpy(&length, record, sizeof(length));
        std::memcpy(&checksum, record + 4, sizeof(checksum));
        if (length == 0) {
            if (is_all_zero(record, bytes.data() + bytes.size())) return std::nullopt;
            return at;
        }
        const std::size_t padded = (std::size_t{length} + alignment - 1) / alignment * alignment;
        if (length < header_bytes || padded > bytes.size() - at) return at;
        std::memset(record + 4, 0, sizeof(checksum));
        if (crc32c(record, length) != checksum) return at;
        at += padded;
    }
    if (at == bytes.size()) return std::nullopt;
    return at;
}

Status cut(const std::filesystem::path& file, std::uintmax_t size, std::size_t intact) {
    log::warning(log::Component::recovery,
                 9'001'004,
                 "The journal's tail is damaged, as a power loss leaves it: recovering to the last "
                 "intact record",
                 {{"file", file.string()},
                  {"intactBytes", static_cast<std::int64_t>(intact)},
                  {"droppedBytes", static_cast<std::int64_t>(size - intact)}});
    std::error_code failure;
    std::filesystem::resize_file(file, intact, failure);
    if (!failure) return ok();
    return Error(ErrorCode::internal_error,
                 "Cannot cut the damaged tail off " + file.string() + ": " + failure.message());
}

}  // namespace

Status check_journal(const std::string& directory) {
    const std::vector<std::filesystem::path> files = journal_files(directory);
    for (std::size_t i = 0; i < files.size(); ++i) {
        std::error_code failure;
        const auto size = std::filesystem::file_size(files[i], failure);
        if (failure || size > file_bytes_max) continue;
        std::vector<char> bytes(size);
        std::ifstream input(files[i], std::ios::binary);
        if (!input.read(bytes.data(), static_cast<std::streamsize>(size))) continue;
        const auto intact = intact_length(bytes);
        // Without an intact first record there is nothing to keep; the library says what it is.
        if (!intact || *intact == 0) continue;
        if (i + 1 < files.size()) {
            return Error(ErrorCode::internal_error,
                         "Journal file " + files[i].string() + " is damaged at byte " +
                             std::to_string(*intact) + ", and later files need what was there" +
                             std::string(damaged_files_advice));
        }
        TRY_OK(cut(files[i], size, *intact));
    }
    return ok();
}

}  // namespace tessera::storage::wiredtiger
