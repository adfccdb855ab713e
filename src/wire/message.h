// SPDX-License-Identifier: Apache-2.0
//
// The frame all messages share: 16 bytes of header (length, id, answered id, opcode; little-endian
// int32 each), and what OP_MSG puts after it. Pure: bytes in, bytes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera::wire {

// Limits, as `hello` announces them (maxMessageSizeBytes).
inline constexpr std::size_t message_bytes_max = 48'000'000;
inline constexpr std::size_t header_bytes = 16;
/// Kind-1 sections a message may hold: no command has more than a few.
inline constexpr std::size_t sequences_max = 16;

enum class OpCode : std::int32_t {
    reply = 1,
    query = 2004,
    compressed = 2012,
    msg = 2013,
};

/// OP_MSG: flagBits. Bits 0 to 15 are required: an unknown one that is set is an error.
namespace flags {
inline constexpr std::uint32_t checksum_present = 1U << 0;
inline constexpr std::uint32_t more_to_come = 1U << 1;
inline constexpr std::uint32_t exhaust_allowed = 1U << 16;
inline constexpr std::uint32_t required_unknown = 0xffffU & ~(checksum_present | more_to_come);
}  // namespace flags

struct Header {
    std::int32_t length = 0;
    std::int32_t id = 0;
    std::int32_t response_to = 0;
    OpCode op_code = OpCode::msg;
};
/// Requires: at least header_bytes at `bytes`.
Header read_header(const char* bytes);
void write_header(char* bytes, const Header& header);

template <class T>
T load(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof(T));
    return value;
}
template <class T>
void store(char* bytes, T value) {
    std::memcpy(bytes, &value, sizeof(T));
}

/// Cuts a stream of bytes into whole messages. Holds what is incomplete; memory grows with what has
/// arrived, never by what a header claims.
class Framer {
public:
    /// Takes the next whole message from `input` together with what is held, and removes its bytes
    /// from `input`; nothing when more is needed (all of `input` is then held). Fails with
    /// ProtocolError when a header is impossible: length out of bounds or an opcode we do not
    /// speak. After a failure the stream has no meaning any more.
    Result<std::optional<std::string>> next(std::string_view& input);
    /// Whether part of a message is held.
    bool is_in_message() const { return !partial_.empty(); }

private:
    std::string partial_;
};

}  // namespace tessera::wire
