// SPDX-License-Identifier: Apache-2.0
//
// One whole message from a client, checked and taken apart. Two kinds of trouble: what leaves the
// stream or the documents without meaning fails parse_request() and closes the connection; what is
// merely not allowed stands in Request::error and is answered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/view.h"
#include "wire/compression.h"
#include "wire/message.h"

namespace tessera::wire {

/// OP_MSG: a section of kind 1, documents under a name, the same as an array in the body.
struct Sequence {
    std::string_view name;
    std::vector<bson::View> documents;
};

struct Request {
    std::string bytes;  // The whole message, decompressed; body and sequences point into it.
    std::int32_t id = 0;
    OpCode op_code = OpCode::msg;  // msg or query.
    std::uint32_t flags = 0;       // OP_MSG's; none for OP_QUERY.
    std::optional<Compressor> compressor;  // What it came in; the answer goes back in the same.
    bson::View body;
    std::vector<Sequence> sequences;
    /// OP_QUERY: the database of its namespace; OP_MSG names it in $db.
    std::string_view query_database;
    /// What to answer instead of running it: the request is whole but not allowed.
    std::optional<Error> error;

    Request() = default;
    Request(Request&&) noexcept = default;
    Request& operator=(Request&&) noexcept = default;
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    bool expects_reply() const { return (flags & flags::more_to_come) == 0; }
    bool allows_exhaust() const { return (flags & flags::exhaust_allowed) != 0; }
    bool has_checksum() const { return (flags & flags::checksum_present) != 0; }

    /// The body's first field, which names the command; empty when there is none.
    std::string_view command_name() const;
    /// The sequence of that name, null when there is none.
    const Sequence* sequence(std::string_view name) const;
};

/// Takes apart one whole message (from Framer). Every document in it is valid BSON of at most
/// bson::internal_bytes_max bytes, unless `error` is set. Fails when the connection has to be
/// closed: ProtocolError, InvalidBSON, IllegalOpMsgFlag, ChecksumMismatch, BadValue.
Result<Request> parse_request(std::string message);

/// An answer, on the client's side.
struct Reply {
    std::string bytes;  // body points into it.
    std::int32_t id = 0;
    std::int32_t response_to = 0;
    std::uint32_t flags = 0;
    bson::View body;

    Reply() = default;
    Reply(Reply&&) noexcept = default;
    Reply& operator=(Reply&&) noexcept = default;
    Reply(const Reply&) = delete;
    Reply& operator=(const Reply&) = delete;

    bool more_to_come() const { return (flags & flags::more_to_come) != 0; }
    /// The body as a string of its own.
    std::string take_body() && {
        const std::string_view kept = body.bytes();
        const auto begin = static_cast<std::size_t>(kept.data() - bytes.data());
        bytes.erase(begin + kept.size());
        bytes.erase(0, begin);
        return std::move(bytes);
    }
};

/// Takes apart one whole message that must be an answer: OP_MSG or OP_REPLY, maybe compressed.
Result<Reply> parse_reply(std::string message);

}  // namespace tessera::wire
