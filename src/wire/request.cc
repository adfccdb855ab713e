// SPDX-License-Identifier: Apache-2.0
//
// Layouts, after the header:
//   OP_MSG         uint32 flags; sections; uint32 checksum when its flag is set
//     section 0    byte 0; one document
//     section 1    byte 1; int32 size, counted from itself; name, NUL; documents to its end
//   OP_COMPRESSED  int32 original opcode; int32 uncompressed size; uint8 compressor; bytes
//   OP_QUERY       int32 flags; namespace, NUL; int32 skip; int32 limit; document; maybe another
//   OP_REPLY       int32 flags; int64 cursor; int32 from; int32 count; documents
#include "wire/request.h"

#include <cstdio>

#include "bson/validate.h"
#include "wire/checksum.h"

namespace tessera::wire {

namespace {

Error malformed(std::string_view why) {
    return Error(ErrorCode::protocol_error, "malformed message: " + std::string(why));
}

/// Reads forward over bytes that are all there; fails when they end early.
class Reader {
public:
    explicit Reader(std::string_view left) : left_(left) {}

    bool is_at_end() const { return left_.empty(); }
    std::string_view left() const { return left_; }

    template <class T>
    Result<T> read(std::string_view what) {
        if (left_.size() < sizeof(T)) return malformed("it ends within " + std::string(what));
        const T value = load<T>(left_.data());
        left_.remove_prefix(sizeof(T));
        return value;
    }
    Result<std::string_view> take(std::size_t count, std::string_view what) {
        if (left_.size() < count) return malformed("it ends within " + std::string(what));
        const std::string_view taken = left_.substr(0, count);
        left_.remove_prefix(count);
        return taken;
    }
    Result<std::string_view> cstring(std::string_view what) {
        const std::size_t end = left_.find('\0');
        if (end == std::string_view::npos) return malformed(std::string(what) + " has no end");
        const std::string_view text = left_.substr(0, end);
        left_.remove_prefix(end + 1);
        return text;
    }
    /// The bytes of one document, as far as its length says.
    Result<std::string_view> document() {
        if (left_.size() < 4) return malformed("it ends within a document");
        const auto size = load<std::int32_t>(left_.data());
        if (size < 5 || static_cast<std::size_t>(size) > left_.size())
            return Error(ErrorCode::invalid_bson,
                         "invalid BSON: a document's length does not fit its message");
        return take(static_cast<std::size_t>(size), "a document");
    }

private:
    std::string_view left_;
};

/// A document too big or too deep is the client's mistake and answered; a broken one is not.
Result<bson::View> check_document(std::string_view bytes, std::optional<Error>& error) {
    if (bytes.size() > bson::internal_bytes_max) {
        char hex[16];
        std::snprintf(hex, sizeof(hex), "0x%X", static_cast<unsigned>(bytes.size()));
        error = Error(ErrorCode::bson_object_too_large,
                      "BSONObj size: " + std::to_string(bytes.size()) + " (" + hex +
                          ") is invalid. Size must be between 0 and " +
                          std::to_string(bson::internal_bytes_max) + "(16MB)");
        return bson::View();
    }
    Result<bson::View> document = bson::validate(bytes);
    if (!document && document.error().code() == ErrorCode::overflow) {
        error = document.error();
        return bson::View();
    }
    return document;
}

/// What OP_COMPRESSED was made of: the message as it would have come by itself.
struct Unpacked {
    std::string message;
    std::optional<Compressor> compressor;
};

Result<Unpacked> unpack(std::string message) {
    const Header header = read_header(message.data());
    if (header.op_code != OpCode::compressed) return Unpacked{std::move(message), std::nullopt};
    Reader reader(std::string_view(message).substr(header_bytes));
    TRY(const OpCode original, reader.read<OpCode>("the original opcode"));
    TRY(const std::int32_t size, reader.read<std::int32_t>("the uncompressed size"));
    TRY(const Compressor compressor, reader.read<Compressor>("the compressor"));
    if (original == OpCode::compressed) return malformed("compressed within compressed");
    if (size < 0 || static_cast<std::size_t>(size) > message_bytes_max - header_bytes)
        return malformed("the uncompressed size " + std::to_string(size) + " is out of bounds");
    Unpacked result{std::string(header_bytes, '\0'), compressor};
    TRY_OK(decompress(compressor, reader.left(), static_cast<std::size_t>(size), result.message));
    const Header inner{static_cast<std::int32_t>(result.message.size()), header.id,
                       header.response_to, original};
    write_header(result.message.data(), inner);
    return result;
}

struct Sections {
    std::uint32_t flags = 0;
    std::optional<bson::View> body;
    std::vector<Sequence> sequences;
    std::optional<Error> error;
};

Status read_sequence(Reader& reader, Sections& out) {
    TRY(const std::int32_t size, reader.read<std::int32_t>("a section's size"));
    if (size < 4 + 1) return malformed("a document sequence is too short");
    TRY(const std::string_view bytes,
        reader.take(static_cast<std::size_t>(size) - 4, "a document sequence"));
    Reader inner(bytes);
    Sequence sequence;
    TRY(sequence.name, inner.cstring("a document sequence's name"));
    while (!inner.is_at_end()) {
        TRY(const std::string_view document, inner.document());
        TRY(const bson::View view, check_document(document, out.error));
        sequence.documents.push_back(view);
    }
    if (out.sequences.size() >= sequences_max) {
        if (!out.error) {
            out.error = Error(ErrorCode::too_many_document_sequences,
                              "Too many document sequences in OP_MSG");
        }
        return {};
    }
    for (const Sequence& other : out.sequences) {
        if (other.name == sequence.name && !out.error) {
            out.error = Error(location(40431),
                              "Duplicate document sequence: " + std::string(sequence.name));
        }
    }
    out.sequences.push_back(std::move(sequence));
    return {};
}

/// A field must not come both ways (OP_MSG specification, "Kind 1").
void check_duplicates(Sections& sections) {
    if (sections.sequences.empty() || sections.error) return;
    for (const bson::Element& element : *sections.body) {
        for (const Sequence& sequence : sections.sequences) {
            if (sequence.name != element.name) continue;
            sections.error = Error(location(40433),
                                   "Duplicate field between body and document sequence " +
                                       std::string(sequence.name));
            return;
        }
    }
}

Result<Sections> read_msg(std::string_view message) {
    Sections result;
    Reader reader(message.substr(header_bytes));
    TRY(result.flags, reader.read<std::uint32_t>("the flags"));
    if (const std::uint32_t unknown = result.flags & flags::required_unknown; unknown != 0) {
        return Error(ErrorCode::illegal_op_msg_flag,
                     "Message contains illegal flags value: " + std::to_string(result.flags));
    }
    if ((result.flags & flags::checksum_present) != 0) {
        if (reader.left().size() < 4) return malformed("it ends within the checksum");
        const auto stored = load<std::uint32_t>(message.data() + message.size() - 4);
        if (crc32c(message.substr(0, message.size() - 4)) != stored)
            return Error(ErrorCode::checksum_mismatch,
                         "OP_MSG checksum does not match contents");
        reader = Reader(reader.left().substr(0, reader.left().size() - 4));
    }
    while (!reader.is_at_end()) {
        TRY(const std::uint8_t kind, reader.read<std::uint8_t>("a section"));
        if (kind == 1) {
            TRY_OK(read_sequence(reader, result));
        } else if (kind == 0) {
            if (result.body)
                return Error(location(40430), "Multiple body sections in message");
            TRY(const std::string_view document, reader.document());
            TRY(result.body, check_document(document, result.error));
        } else {
            return Error(location(40432), "Unknown section kind " + std::to_string(kind));
        }
    }
    if (!result.body) return Error(location(40587), "OP_MSG messages must have a body");
    check_duplicates(result);
    return result;
}

bool is_hello(std::string_view name) {
    return name == "hello" || name == "isMaster" || name == "ismaster";
}

/// OP_QUERY is there for the first message of a connection alone; everything else is answered with
/// the error that tells drivers to upgrade.
Status read_query(Request& request) {
    Reader reader(std::string_view(request.bytes).substr(header_bytes));
    TRY([[maybe_unused]] const std::string_view flags, reader.take(4, "the flags"));
    TRY(const std::string_view name_space, reader.cstring("the namespace"));
    TRY([[maybe_unused]] const std::string_view skip_and_limit,
        reader.take(8, "skip and limit"));
    TRY(const std::string_view document, reader.document());
    TRY(request.body, check_document(document, request.error));
    if (!reader.is_at_end()) {  // The fields to return: checked, and of no effect on a command.
        TRY(const std::string_view fields, reader.document());
        TRY([[maybe_unused]] const bson::View view, check_document(fields, request.error));
        if (!reader.is_at_end()) return malformed("bytes after its end");
    }
    constexpr std::string_view suffix = ".$cmd";
    const bool is_command = name_space.size() > suffix.size() && name_space.ends_with(suffix);
    if (is_command)
        request.query_database = name_space.substr(0, name_space.size() - suffix.size());
    for (const std::string_view wrapper : {"$query", "query"}) {
        if (request.command_name() != wrapper) continue;
        const bson::Value inner = request.body[wrapper];
        if (inner.is_object()) request.body = inner.as_view();
        break;
    }
    if (!request.error && (!is_command || !is_hello(request.command_name()))) {
        request.error = Error(
            ErrorCode::unsupported_op_query_command,
            "Unsupported OP_QUERY command: " + std::string(request.command_name()) +
                ". The client driver may require an upgrade. For more details see "
                "https://dochub.mongodb.org/core/legacy-opcode-removal");
    }
    return {};
}

}  // namespace

Result<Request> parse_request(std::string message) {
    TRY(Unpacked unpacked, unpack(std::move(message)));
    Request request;
    request.bytes = std::move(unpacked.message);
    request.compressor = unpacked.compressor;
    const Header header = read_header(request.bytes.data());
    request.id = header.id;
    request.op_code = header.op_code;
    if (header.op_code == OpCode::query) {
        TRY_OK(read_query(request));
        return request;
    }
    if (header.op_code != OpCode::msg)
        return malformed("opcode " + std::to_string(static_cast<int>(header.op_code)) +
                         " is not a request");
    TRY(Sections sections, read_msg(request.bytes));
    request.flags = sections.flags;
    request.body = *sections.body;
    request.sequences = std::move(sections.sequences);
    request.error = std::move(sections.error);
    return request;
}

Result<Reply> parse_reply(std::string message) {
    TRY(Unpacked unpacked, unpack(std::move(message)));
    Reply reply;
    reply.bytes = std::move(unpacked.message);
    const Header header = read_header(reply.bytes.data());
    reply.id = header.id;
    reply.response_to = header.response_to;
    if (header.op_code == OpCode::reply) {
        Reader reader(std::string_view(reply.bytes).substr(header_bytes));
        TRY([[maybe_unused]] const std::string_view fixed, reader.take(20, "OP_REPLY's fields"));
        TRY(const std::string_view document, reader.document());
        TRY(reply.body, bson::validate(document));
        return reply;
    }
    if (header.op_code != OpCode::msg) return malformed("it is not an answer");
    TRY(const Sections sections, read_msg(reply.bytes));
    if (sections.error) return *sections.error;
    reply.flags = sections.flags;
    reply.body = *sections.body;
    return reply;
}

// ---- Request ----

std::string_view Request::command_name() const {
    return body.is_empty() ? std::string_view() : body.front().name;
}

const Sequence* Request::sequence(std::string_view name) const {
    for (const Sequence& sequence : sequences) {
        if (sequence.name == name) return &sequence;
    }
    return nullptr;
}

}  // namespace tessera::wire
