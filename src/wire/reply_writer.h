// SPDX-License-Identifier: Apache-2.0
//
// Writes the answer to a request in place: room for the header is reserved, the body is built in
// the same string, and finish() fills in what is then known, compresses when the request was
// compressed, and adds a checksum when the request had one.
//
//     bson::Builder body(reply.start());
//     body.append("ok", 1.0);
//     body.done();                          // Or let it go out of scope, before finish().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/view.h"
#include "wire/request.h"

namespace tessera::wire {

class ReplyWriter {
public:
    /// Takes what it needs from `request`, which need not stay. `buffer`: memory to write into.
    explicit ReplyWriter(const Request& request, std::string buffer = {});
    ReplyWriter(const ReplyWriter&) = delete;
    ReplyWriter& operator=(const ReplyWriter&) = delete;

    /// Begins a body, dropping one begun before: the string a bson::Builder is to append one
    /// document to. The builder must be done before finish().
    std::string& start();
    /// As start() and copying `body`.
    void set_body(bson::View body);

    bool has_body() const { return out_.size() > body_at_; }
    /// The body as it stands. Requires: has_body(), and its builder is done.
    bson::View body() const { return bson::View(out_.data() + body_at_); }

    /// Completes the message with `id` as its own, and returns its bytes: valid until start().
    /// With `more_to_come`, another answer follows (exhaust), which answers this one's id.
    /// Fails with BSONObjectTooLarge beyond message_bytes_max; nothing is then to be sent.
    Result<std::string_view> finish(std::int32_t id, bool more_to_come = false);

    /// Gives the buffer back, for the next one.
    std::string release() && { return std::move(out_); }

private:
    const OpCode op_code_;
    const std::optional<Compressor> compressor_;
    const bool has_checksum_;
    const std::size_t body_at_;
    std::int32_t response_to_;
    std::string out_;
    std::string compressed_;
};

/// What a client sends: `body` as an OP_MSG of one section. Appended to `out`.
struct CommandMessage {
    std::int32_t id = 0;
    std::string_view body;  // One document.
    std::uint32_t flags = 0;
    std::optional<Compressor> compressor = std::nullopt;
};
void append_command(const CommandMessage& command, std::string& out);

}  // namespace tessera::wire
