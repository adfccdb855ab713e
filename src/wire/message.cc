// SPDX-License-Identifier: Apache-2.0
#include "wire/message.h"

#include <algorithm>
#include <bit>

namespace tessera::wire {

static_assert(std::endian::native == std::endian::little, "the wire is read in place");

Header read_header(const char* bytes) {
    return Header{load<std::int32_t>(bytes), load<std::int32_t>(bytes + 4),
                  load<std::int32_t>(bytes + 8), load<OpCode>(bytes + 12)};
}

void write_header(char* bytes, const Header& header) {
    store(bytes, header.length);
    store(bytes + 4, header.id);
    store(bytes + 8, header.response_to);
    store(bytes + 12, header.op_code);
}

namespace {

Result<std::size_t> message_length(const char* bytes) {
    const Header header = read_header(bytes);
    if (header.length < static_cast<std::int32_t>(header_bytes) ||
        header.length > static_cast<std::int32_t>(message_bytes_max)) {
        return Error(ErrorCode::protocol_error,
                     "message length " + std::to_string(header.length) + " is not between " +
                         std::to_string(header_bytes) + " and " +
                         std::to_string(message_bytes_max));
    }
    switch (header.op_code) {
        case OpCode::reply:
        case OpCode::query:
        case OpCode::compressed:
        case OpCode::msg: return static_cast<std::size_t>(header.length);
    }
    return Error(ErrorCode::protocol_error,
                 "unsupported opcode " +
                     std::to_string(static_cast<std::int32_t>(header.op_code)));
}

}  // namespace

namespace {
// What is set aside for a message of which only the header has come. Pages are touched as it comes.
constexpr std::size_t trusted_bytes = std::size_t{2} << 20;
}  // namespace

Result<std::optional<std::string>> Framer::next(std::string_view& input) {
    if (partial_.empty() && input.size() >= header_bytes) {  // The usual case.
        TRY(const std::size_t length, message_length(input.data()));
        if (input.size() >= length) {
            std::string message(input.substr(0, length));
            input.remove_prefix(length);
            return std::optional(std::move(message));
        }
    }
    if (partial_.size() < header_bytes) {
        const std::size_t wanted = std::min(header_bytes - partial_.size(), input.size());
        partial_.append(input.substr(0, wanted));
        input.remove_prefix(wanted);
        if (partial_.size() < header_bytes) return std::optional<std::string>();
    }
    TRY(const std::size_t length, message_length(partial_.data()));
    const std::size_t wanted = std::min(length - partial_.size(), input.size());
    if (partial_.capacity() < partial_.size() + wanted) {
        // No more than the message needs; of a big one at most twice what is here, for its length
        // is only a promise.
        const std::size_t trusted = std::max(trusted_bytes, 2 * (partial_.size() + wanted));
        partial_.reserve(std::min(length, trusted));
    }
    partial_.append(input.substr(0, wanted));
    input.remove_prefix(wanted);
    if (partial_.size() < length) return std::optional<std::string>();
    std::optional<std::string> message(std::move(partial_));
    partial_ = std::string();
    return message;
}

}  // namespace tessera::wire
