// SPDX-License-Identifier: Apache-2.0
#include "wire/reply_writer.h"

#include <utility>

#include "base/assert.h"
#include "wire/checksum.h"

namespace tessera::wire {

namespace {

constexpr std::size_t msg_body_at = header_bytes + 4 + 1;             // Flags, section kind.
constexpr std::size_t reply_body_at = header_bytes + 4 + 8 + 4 + 4;   // See OP_REPLY.
constexpr std::uint32_t await_capable = 8;                            // OP_REPLY: responseFlags.

/// Wraps a complete message: its own header, then opcode, size and compressor of what it holds.
void wrap(Compressor compressor, std::string_view message, std::string& out) {
    const std::size_t start = out.size();
    const Header header = read_header(message.data());
    const std::string_view content = message.substr(header_bytes);
    out.resize(start + header_bytes + 9);
    store(out.data() + start + header_bytes, header.op_code);
    store(out.data() + start + header_bytes + 4, static_cast<std::int32_t>(content.size()));
    store(out.data() + start + header_bytes + 8, compressor);
    compress(compressor, content, out);
    const Header outer{static_cast<std::int32_t>(out.size() - start), header.id,
                       header.response_to, OpCode::compressed};
    write_header(out.data() + start, outer);
}

}  // namespace

ReplyWriter::ReplyWriter(const Request& request, std::string buffer)
    : op_code_(request.op_code == OpCode::query ? OpCode::reply : OpCode::msg),
      compressor_(request.compressor),
      // OP_COMPRESSED: a compressed message carries no checksum.
      has_checksum_(request.has_checksum() && !request.compressor),
      body_at_(op_code_ == OpCode::msg ? msg_body_at : reply_body_at),
      response_to_(request.id),
      out_(std::move(buffer)) {
    out_.clear();
}

std::string& ReplyWriter::start() {
    out_.assign(body_at_, '\0');
    return out_;
}

void ReplyWriter::set_body(bson::View body) { start().append(body.bytes()); }

Result<std::string_view> ReplyWriter::finish(std::int32_t id, bool more_to_come) {
    ASSERT(has_body());
    ASSERT(body_at_ + body().size() == out_.size());
    if (out_.size() + 4 > message_bytes_max) {
        return Error(ErrorCode::bson_object_too_large,
                     "the answer of " + std::to_string(out_.size()) +
                         " bytes is larger than a message may be");
    }
    char* const bytes = out_.data();
    if (op_code_ == OpCode::msg) {
        std::uint32_t bits = more_to_come ? flags::more_to_come : 0;
        if (has_checksum_) bits |= flags::checksum_present;
        store(bytes + header_bytes, bits);
        bytes[header_bytes + 4] = 0;  // Section kind 0.
    } else {
        store(bytes + header_bytes, await_capable);
        store(bytes + header_bytes + 16, std::int32_t{1});  // numberReturned.
    }
    const std::size_t length = out_.size() + (has_checksum_ ? 4 : 0);
    const Header header{static_cast<std::int32_t>(length), id, response_to_, op_code_};
    write_header(bytes, header);
    response_to_ = id;  // Of the next, if one follows.
    if (has_checksum_) {
        char sum[4];
        store(sum, crc32c(out_));
        out_.append(sum, 4);
    }
    if (!compressor_) return std::string_view(out_);
    compressed_.clear();
    wrap(*compressor_, out_, compressed_);
    return std::string_view(compressed_);
}

void append_command(const CommandMessage& command, std::string& out) {
    const std::size_t start = out.size();
    out.resize(start + msg_body_at);
    out.append(command.body);
    const Header header{static_cast<std::int32_t>(out.size() - start), command.id, 0,
                        OpCode::msg};
    write_header(out.data() + start, header);
    ASSERT((command.flags & flags::checksum_present) == 0);
    store(out.data() + start + header_bytes, command.flags);
    if (!command.compressor) return;
    const std::string plain = out.substr(start);
    out.resize(start);
    wrap(*command.compressor, plain, out);
}

}  // namespace tessera::wire
