// SPDX-License-Identifier: Apache-2.0
//
// A journal file is a run of records, each starting at a multiple of 128 bytes:
//   uint32 length (header included), uint32 CRC-32C of the record with this field 0, uint16 flags,
//   uint16 zero, uint32 uncompressed length, then the payload. A length of 0 with nothing but zeros
//   after it is the unused end of the file.
#include "storage/wiredtiger/journal_tail.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include <wiredtiger.h>

#include "base/log.h"

namespace tessera::storage::wiredtiger {
namespace {

constexpr std::size_t alignment = 128;
constexpr std::size_t header_bytes = 16;
constexpr std::uintmax_t file_bytes_max = 512 * 1024 * 1024;

std::optional<std::filesystem::path> last_journal_file(const std::string& directory) {
    std::optional<std::filesystem::path> last;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with("WiredTigerLog.")) continue;  // Numbers are padded: order of names.
        if (!last || name > last->filename().string()) last = entry.path();
    }
    return last;
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

}  // namespace

Status drop_damaged_tail(const std::string& directory) {
    const auto file = last_journal_file(directory);
    if (!file) return ok();
    std::error_code failure;
    const auto size = std::filesystem::file_size(*file, failure);
    if (failure || size > file_bytes_max) return ok();
    std::vector<char> bytes(size);
    {
        std::ifstream input(*file, std::ios::binary);
        if (!input.read(bytes.data(), static_cast<std::streamsize>(size))) return ok();
    }
    const auto intact = intact_length(bytes);
    // Without an intact first record this is no tail; the library says what it is.
    if (!intact || *intact == 0) return ok();
    log::warning(log::Component::recovery,
                 9'001'004,
                 "The journal's tail is damaged, as a power loss leaves it: recovering to the last "
                 "intact record",
                 {{"file", file->string()},
                  {"intactBytes", static_cast<std::int64_t>(*intact)},
                  {"droppedBytes", static_cast<std::int64_t>(size - *intact)}});
    std::filesystem::resize_file(*file, *intact, failure);
    if (failure) {
        return Error(
            ErrorCode::internal_error,
            "Cannot cut the damaged tail off " + file->string() + ": " + failure.message());
    }
    return ok();
}

}  // namespace tessera::storage::wiredtiger
