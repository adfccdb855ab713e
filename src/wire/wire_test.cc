// SPDX-License-Identifier: Apache-2.0
//
// Messages in and out, and every way a message can be wrong.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bson/builder.h"
#include "bson/validate.h"
#include "wire/checksum.h"
#include "wire/command_line.h"
#include "wire/fuzz_entry.h"
#include "wire/reply_writer.h"
#include "wire/request.h"

namespace tessera::wire {
namespace {

using bson::Document;
using bson::make;

/// Builds messages piece by piece, also wrong ones.
class Message {
public:
    explicit Message(OpCode op_code, std::int32_t id = 7) {
        bytes_.assign(header_bytes, '\0');
        const Header header{0, id, 0, op_code};
        write_header(bytes_.data(), header);
    }
    template <class T>
    Message& put(T value) {
        bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
        return *this;
    }
    Message& put_bytes(std::string_view bytes) {
        bytes_.append(bytes);
        return *this;
    }
    Message& body(const Document& document) {
        return put(std::uint8_t{0}).put_bytes(document.bytes());
    }
    Message& sequence(std::string_view name, const std::vector<Document>& documents) {
        std::string content(name);
        content.push_back('\0');
        for (const Document& document : documents) content.append(document.bytes());
        return put(std::uint8_t{1})
            .put(static_cast<std::int32_t>(content.size() + 4))
            .put_bytes(content);
    }
    Message& checksum() {
        set_length(4);
        return put(crc32c(bytes_));
    }
    std::string take() {
        set_length(0);
        return bytes_;
    }

private:
    void set_length(std::size_t more) {
        store(bytes_.data(), static_cast<std::int32_t>(bytes_.size() + more));
    }
    std::string bytes_;
};

Message msg(std::uint32_t bits = 0) {
    Message message(OpCode::msg);
    message.put(bits);
    return message;
}

Document ping() { return make("ping", 1, "$db", "admin"); }

std::string compressed(std::string_view message,
                       Compressor compressor,
                       std::int32_t claim_more = 0,
                       OpCode original = OpCode::msg) {
    Message outer(OpCode::compressed);
    const std::string_view content = message.substr(header_bytes);
    outer.put(original)
        .put(static_cast<std::int32_t>(content.size()) + claim_more)
        .put(compressor);
    std::string packed;
    compress(compressor, content, packed);
    return outer.put_bytes(packed).take();
}

ErrorCode failure(std::string message) {
    const auto request = parse_request(std::move(message));
    return request ? ErrorCode::ok : request.error().code();
}

// ---- Checksum ----

TEST(Checksum, IsCrc32c) {
    EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
    EXPECT_EQ(crc32c_portable("123456789"), 0xe3069283U);
    EXPECT_EQ(crc32c(""), 0U);
    const std::string longer(1'001, 'x');
    EXPECT_EQ(crc32c(longer), crc32c_portable(longer));
}

// ---- Framer ----

TEST(Framer, GivesTheSameMessagesHoweverTheStreamIsCut) {
    const std::string one = msg().body(ping()).take();
    const std::string other = msg().body(make("hello", 1, "$db", "admin", "x", "yz")).take();
    const std::string stream = one + other + one;
    for (std::size_t step = 1; step <= stream.size(); ++step) {
        Framer framer;
        std::vector<std::string> messages;
        for (std::size_t at = 0; at < stream.size(); at += step) {
            std::string_view input = std::string_view(stream).substr(at, step);
            for (;;) {
                auto next = framer.next(input);
                ASSERT_TRUE(next.has_value());
                if (!next->has_value()) break;
                messages.push_back(std::move(**next));
            }
            EXPECT_TRUE(input.empty());
        }
        EXPECT_EQ(messages, (std::vector{one, other, one}));
        EXPECT_FALSE(framer.is_in_message());
    }
}

ErrorCode frame_failure(std::int32_t length, std::int32_t op_code, std::size_t cut) {
    std::string bytes(header_bytes, '\0');
    store(bytes.data(), length);
    store(bytes.data() + 12, op_code);
    Framer framer;
    std::string_view first = std::string_view(bytes).substr(0, cut);
    auto next = framer.next(first);
    if (!next) return next.error().code();
    std::string_view second = std::string_view(bytes).substr(cut);
    next = framer.next(second);
    return next ? ErrorCode::ok : next.error().code();
}

TEST(Framer, RefusesImpossibleHeadersBeforeAnyBody) {
    for (const std::size_t cut : {std::size_t{0}, std::size_t{7}, header_bytes}) {
        for (const std::int32_t length : {-1, 0, 15, 48'000'001, INT32_MAX, INT32_MIN})
            EXPECT_EQ(frame_failure(length, 2013, cut), ErrorCode::protocol_error) << length;
        for (const std::int32_t op_code : {0, 2001, 2002, 2005, 2006, 2007, 2010, 2011, -1})
            EXPECT_EQ(frame_failure(100, op_code, cut), ErrorCode::protocol_error) << op_code;
        EXPECT_EQ(frame_failure(48'000'000, 2013, cut), ErrorCode::ok);
    }
}

TEST(Framer, TakesNoMemoryForWhatIsOnlyClaimed) {
    std::string bytes(header_bytes, '\0');
    store(bytes.data(), std::int32_t{48'000'000});
    store(bytes.data() + 12, std::int32_t{2013});
    Framer framer;
    std::string_view input = bytes;
    EXPECT_FALSE(framer.next(input)->has_value());
    EXPECT_TRUE(framer.is_in_message());
}

// ---- OP_MSG ----

TEST(Request, ReadsABody) {
    const auto request = parse_request(msg(flags::exhaust_allowed).body(ping()).take());
    ASSERT_TRUE(request.has_value()) << request.error().to_string();
    EXPECT_EQ(request->id, 7);
    EXPECT_EQ(request->command_name(), "ping");
    EXPECT_EQ(parse_command_line(*request)->database, "admin");
    EXPECT_TRUE(request->allows_exhaust());
    EXPECT_TRUE(request->expects_reply());
    EXPECT_FALSE(request->has_checksum());
    EXPECT_FALSE(request->error.has_value());
}

TEST(Request, StaysValidWhenItIsMoved) {
    auto request = parse_request(msg().body(ping()).sequence("d", {make("a", 1)}).take());
    ASSERT_TRUE(request.has_value());
    const Request moved = std::move(*request);
    EXPECT_EQ(moved.body.bytes(), ping().bytes());
    EXPECT_EQ(moved.sequence("d")->documents.at(0)["a"].as_int32(), 1);
}

TEST(Request, ReadsSequencesBeforeAndAfterTheBody) {
    const auto request = parse_request(msg(flags::more_to_come)
                                           .sequence("a", {make("x", 1), make("x", 2)})
                                           .body(make("insert", "c", "$db", "d"))
                                           .sequence("b", {})
                                           .take());
    ASSERT_TRUE(request.has_value()) << request.error().to_string();
    EXPECT_FALSE(request->expects_reply());
    ASSERT_EQ(request->sequences.size(), 2U);
    EXPECT_EQ(request->sequence("a")->documents.at(1)["x"].as_int32(), 2);
    EXPECT_TRUE(request->sequence("b")->documents.empty());
    EXPECT_EQ(request->sequence("c"), nullptr);
}

TEST(Request, VerifiesTheChecksum) {
    const auto good = parse_request(msg(flags::checksum_present).body(ping()).checksum().take());
    ASSERT_TRUE(good.has_value()) << good.error().to_string();
    EXPECT_TRUE(good->has_checksum());
    std::string bad = msg(flags::checksum_present).body(ping()).checksum().take();
    bad[25] = static_cast<char>(bad[25] ^ 1);
    EXPECT_EQ(failure(bad), ErrorCode::checksum_mismatch);
    EXPECT_EQ(failure(msg(flags::checksum_present).take()), ErrorCode::protocol_error);
}

TEST(Request, RefusesUnknownRequiredFlagsAndIgnoresOptionalOnes) {
    for (int bit = 2; bit < 16; ++bit)
        EXPECT_EQ(failure(msg(1U << bit).body(ping()).take()), ErrorCode::illegal_op_msg_flag);
    for (int bit = 17; bit < 32; ++bit)
        EXPECT_EQ(failure(msg(1U << bit).body(ping()).take()), ErrorCode::ok);
}

TEST(Request, RefusesMalformedSections) {
    EXPECT_EQ(failure(Message(OpCode::msg).take()), ErrorCode::protocol_error);  // No flags.
    EXPECT_EQ(failure(msg().take()), location(40587));                           // No body.
    EXPECT_EQ(failure(msg().body(ping()).body(ping()).take()), location(40430));
    EXPECT_EQ(failure(msg().put(std::uint8_t{2}).take()), location(40432));
    EXPECT_EQ(failure(msg().put(std::uint8_t{0}).take()), ErrorCode::protocol_error);
    const bson::Document whole = ping();
    const auto half = whole.bytes().substr(0, 10);
    EXPECT_EQ(failure(msg().put(std::uint8_t{0}).put_bytes(half).take()),
              ErrorCode::invalid_bson);
    for (const std::int32_t size : {-1, 0, 3, 4, 100, INT32_MAX}) {
        EXPECT_EQ(failure(msg().body(ping()).put(std::uint8_t{1}).put(size).put('x').take()),
                  ErrorCode::protocol_error)
            << size;
    }
    // A name without end; documents that leave a rest.
    EXPECT_EQ(failure(msg().put(std::uint8_t{1}).put(std::int32_t{6}).put_bytes("ab").take()),
              ErrorCode::protocol_error);
    EXPECT_EQ(failure(msg()
                          .body(ping())
                          .put(std::uint8_t{1})
                          .put(std::int32_t{8})
                          .put_bytes(std::string_view("a\0bc", 4))
                          .take()),
              ErrorCode::protocol_error);
}

TEST(Request, RefusesInvalidDocuments) {
    std::string bytes = msg().body(ping()).take();
    bytes[bytes.size() - 1] = 'x';  // No terminator.
    EXPECT_EQ(failure(bytes), ErrorCode::invalid_bson);
    std::string type = msg().body(ping()).take();
    type[header_bytes + 4 + 1 + 4] = 0x55;  // No such type.
    EXPECT_EQ(failure(type), ErrorCode::invalid_bson);
}

TEST(Request, AnswersWhatIsWellFormedButNotAllowed) {
    const auto error_of = [](std::string message) {
        const auto request = parse_request(std::move(message));
        return request && request->error ? request->error->code() : ErrorCode::ok;
    };
    EXPECT_EQ(error_of(msg().body(make("documents", 1)).sequence("documents", {}).take()),
              location(40433));
    EXPECT_EQ(error_of(msg().body(ping()).sequence("a", {}).sequence("a", {}).take()),
              location(40431));
    Message many = msg().body(ping());
    for (std::size_t i = 0; i <= sequences_max; ++i) many.sequence("s" + std::to_string(i), {});
    EXPECT_EQ(error_of(many.take()), ErrorCode::too_many_document_sequences);
    const std::string big(bson::document_bytes_max + 20'000, 'x');
    EXPECT_EQ(error_of(msg().body(make("x", big, "$db", "d")).take()),
              ErrorCode::bson_object_too_large);
    std::string deep("\x05\0\0\0\0", 5);
    for (int i = 0; i < 250; ++i) {
        bson::Builder outer;
        outer.append("a", bson::View(deep.data()));
        deep = std::string(std::move(outer).finish().bytes());
    }
    EXPECT_EQ(error_of(msg().put(std::uint8_t{0}).put_bytes(deep).take()), ErrorCode::overflow);
}

// ---- OP_COMPRESSED ----

TEST(Compressed, IsReadWithEachCompressor) {
    const std::string plain =
        msg().body(make("ping", 1, "$db", "admin", "x", std::string(1'000, 'x'))).take();
    for (const auto compressor :
         {Compressor::noop, Compressor::snappy, Compressor::zlib, Compressor::zstd}) {
        const auto request = parse_request(compressed(plain, compressor));
        ASSERT_TRUE(request.has_value()) << request.error().to_string();
        EXPECT_EQ(request->compressor, compressor);
        EXPECT_EQ(request->command_name(), "ping");
        EXPECT_EQ(request->bytes, plain);
    }
}

TEST(Compressed, RefusesASizeThatIsNotTrue) {
    const std::string plain = msg().body(ping()).take();
    for (const auto compressor :
         {Compressor::noop, Compressor::snappy, Compressor::zlib, Compressor::zstd}) {
        for (const std::int32_t more : {-30, -1, 1, 100, 47'000'000}) {
            EXPECT_NE(failure(compressed(plain, compressor, more)), ErrorCode::ok)
                << compressor_name(compressor) << more;
        }
    }
    EXPECT_EQ(failure(compressed(plain, Compressor::zlib, 48'000'000)),
              ErrorCode::protocol_error);
    EXPECT_EQ(failure(compressed(plain, Compressor::zlib, INT32_MAX - 100)),
              ErrorCode::protocol_error);
}

TEST(Compressed, RefusesCorruptBytesUnknownCompressorsAndNesting) {
    const std::string plain = msg().body(ping()).take();
    for (const auto compressor : {Compressor::snappy, Compressor::zlib, Compressor::zstd}) {
        const std::string good = compressed(plain, compressor);
        for (std::size_t cut = header_bytes; cut < good.size(); ++cut) {
            std::string shorter = good.substr(0, cut);
            store(shorter.data(), static_cast<std::int32_t>(cut));
            EXPECT_NE(failure(shorter), ErrorCode::ok);
        }
    }
    std::string unknown = compressed(plain, Compressor::noop);
    unknown[header_bytes + 8] = 9;
    EXPECT_EQ(failure(unknown), ErrorCode::bad_value);
    EXPECT_EQ(failure(compressed(plain, Compressor::noop, 0, OpCode::compressed)),
              ErrorCode::protocol_error);
    EXPECT_EQ(failure(compressed(plain, Compressor::noop, 0, static_cast<OpCode>(2001))),
              ErrorCode::protocol_error);
}

TEST(Compressed, NamesAreThoseOfHello) {
    EXPECT_EQ(compressor_by_name("zstd"), Compressor::zstd);
    EXPECT_EQ(compressor_by_name("none"), std::nullopt);
    EXPECT_EQ(compressor_by_name("noop"), std::nullopt);
    EXPECT_EQ(compressor_name(Compressor::snappy), "snappy");
}

// ---- OP_QUERY ----

Message query(std::string_view name_space, const Document& document) {
    Message message(OpCode::query);
    message.put(std::int32_t{0})
        .put_bytes(name_space)
        .put('\0')
        .put(std::int32_t{0})
        .put(std::int32_t{-1})
        .put_bytes(document.bytes());
    return message;
}

TEST(Query, IsTheHandshake) {
    for (const char* name : {"hello", "isMaster", "ismaster"}) {
        const auto request =
            parse_request(query("admin.$cmd", make(name, 1, "helloOk", true)).take());
        ASSERT_TRUE(request.has_value());
        EXPECT_FALSE(request->error.has_value());
        EXPECT_EQ(request->command_name(), name);
        EXPECT_EQ(parse_command_line(*request)->database, "admin");
    }
    const auto wrapped =
        parse_request(query("admin.$cmd", make("$query", make("isMaster", 1))).take());
    EXPECT_EQ(wrapped->command_name(), "isMaster");
    EXPECT_FALSE(wrapped->error.has_value());
}

TEST(Query, AnswersEverythingElseWithTheErrorThatTellsToUpgrade) {
    for (const auto& message : {query("admin.$cmd", make("find", "c")), query("db.c", Document()),
                                query("db.c", make("isMaster", 1)), query("", Document())}) {
        const auto request = parse_request(Message(message).take());
        ASSERT_TRUE(request.has_value());
        ASSERT_TRUE(request->error.has_value());
        EXPECT_EQ(request->error->code(), ErrorCode::unsupported_op_query_command);
        EXPECT_EQ(parse_command_line(*request).error().code(),
                  ErrorCode::unsupported_op_query_command);
    }
}

TEST(Query, RefusesMalformedOnes) {
    const std::string good = query("admin.$cmd", make("isMaster", 1)).take();
    for (std::size_t cut = header_bytes; cut < good.size(); ++cut) {
        std::string shorter = good.substr(0, cut);
        store(shorter.data(), static_cast<std::int32_t>(cut));
        EXPECT_NE(failure(shorter), ErrorCode::ok) << cut;
    }
    EXPECT_NE(failure(query("a.$cmd", make("hello", 1)).put('x').take()), ErrorCode::ok);
    EXPECT_EQ(failure(Message(OpCode::reply).take()), ErrorCode::protocol_error);
}

// ---- Answers ----

Request request_of(std::string message) {
    return std::move(parse_request(std::move(message)).value());
}

TEST(ReplyWriter, WritesWhatAClientReads) {
    const Request request = request_of(msg().body(ping()).take());
    ReplyWriter writer(request);
    EXPECT_FALSE(writer.has_body());
    {
        bson::Builder body(writer.start());
        body.append("ok", 1.0);
    }
    const auto bytes = writer.finish(99);
    ASSERT_TRUE(bytes.has_value());
    const auto reply = parse_reply(std::string(*bytes));
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    EXPECT_EQ(reply->id, 99);
    EXPECT_EQ(reply->response_to, 7);
    EXPECT_FALSE(reply->more_to_come());
    EXPECT_EQ(reply->body.bytes(), make("ok", 1.0).bytes());
}

TEST(ReplyWriter, AnswersInKind) {
    const std::string plain = msg(flags::checksum_present).body(ping()).checksum().take();
    ReplyWriter with_checksum(request_of(plain));
    with_checksum.set_body(make("ok", 1.0));
    const std::string bytes(with_checksum.finish(1).value());
    EXPECT_TRUE(parse_reply(bytes).value().flags & flags::checksum_present);
    std::string broken = bytes;
    broken[20] = static_cast<char>(broken[20] ^ 1);
    EXPECT_FALSE(parse_reply(broken).has_value());

    for (const auto compressor : {Compressor::snappy, Compressor::zlib, Compressor::zstd}) {
        ReplyWriter writer(request_of(compressed(msg().body(ping()).take(), compressor)));
        writer.set_body(make("ok", 1.0));
        const std::string packed(writer.finish(1).value());
        EXPECT_EQ(read_header(packed.data()).op_code, OpCode::compressed);
        EXPECT_EQ(parse_reply(packed).value().body["ok"].as_double(), 1.0);
    }

    ReplyWriter legacy(request_of(query("admin.$cmd", make("isMaster", 1)).take()));
    legacy.set_body(make("ok", 1.0));
    const std::string old(legacy.finish(1).value());
    EXPECT_EQ(read_header(old.data()).op_code, OpCode::reply);
    EXPECT_EQ(parse_reply(old).value().response_to, 7);
}

TEST(ReplyWriter, ChainsAStreamOfAnswers) {
    ReplyWriter writer(request_of(msg(flags::exhaust_allowed).body(ping()).take()));
    writer.set_body(make("n", 1));
    const auto first = parse_reply(std::string(writer.finish(10, true).value()));
    EXPECT_TRUE(first->more_to_come());
    EXPECT_EQ(first->response_to, 7);
    writer.set_body(make("n", 2));
    const auto second = parse_reply(std::string(writer.finish(11).value()));
    EXPECT_FALSE(second->more_to_come());
    EXPECT_EQ(second->response_to, 10);
    EXPECT_EQ(second->body["n"].as_int32(), 2);
}

TEST(ReplyWriter, RefusesMoreThanAMessageHolds) {
    ReplyWriter writer(request_of(msg().body(ping()).take()));
    writer.set_body(make("x", std::string(message_bytes_max, 'x')));
    EXPECT_EQ(writer.finish(1).error().code(), ErrorCode::bson_object_too_large);
}

TEST(CommandMessage, IsReadByTheServer) {
    const Document body = ping();
    for (const auto& compressor : {std::optional<Compressor>(), std::optional(Compressor::zstd)}) {
        CommandMessage command;
        command.id = 5;
        command.body = body.bytes();
        command.flags = flags::exhaust_allowed;
        command.compressor = compressor;
        std::string bytes = "before";
        append_command(command, bytes);
        const auto request = parse_request(bytes.substr(6));
        ASSERT_TRUE(request.has_value());
        EXPECT_EQ(request->id, 5);
        EXPECT_EQ(request->compressor, compressor);
        EXPECT_TRUE(request->allows_exhaust());
        EXPECT_EQ(request->body.bytes(), body.bytes());
    }
}

// ---- Command line ----

TEST(CommandLine, FindsTheGenericArguments) {
    const auto request = request_of(
        msg().body(make("find", "c", "$db", "d", "maxTimeMS", 5, "comment", "x")).take());
    const auto line = parse_command_line(request);
    ASSERT_TRUE(line.has_value());
    EXPECT_EQ(line->name, "find");
    EXPECT_EQ(line->database, "d");
    EXPECT_EQ(line->max_time_ms.as_int32(), 5);
    EXPECT_EQ(line->comment.as_string(), "x");
    EXPECT_TRUE(line->lsid.is_missing());
    EXPECT_TRUE(is_generic_argument("lsid"));
    EXPECT_TRUE(is_generic_argument("$db"));
    EXPECT_FALSE(is_generic_argument("filter"));
}

TEST(CommandLine, RefusesWhatNamesNoCommandOrDatabase) {
    EXPECT_EQ(parse_command_line(request_of(msg().body(make("ping", 1)).take())).error().code(),
              location(40571));
    EXPECT_EQ(parse_command_line(request_of(msg().body(make("ping", 1, "$db", 5)).take()))
                  .error()
                  .code(),
              location(40571));
    EXPECT_EQ(parse_command_line(request_of(msg().body(Document()).take())).error().code(),
              ErrorCode::command_not_found);
}

TEST(CommandLine, RefusesAFieldThatIsThereTwice) {
    const Error twice =
        parse_command_line(
            request_of(msg().body(make("find", "c", "limit", 1, "limit", 2, "$db", "d")).take()))
            .error();
    EXPECT_EQ(twice.code(), location(40413));
    EXPECT_EQ(twice.reason(), "BSON field 'APIParametersFromClient.limit' is a duplicate field");
    // Names that look alike to it are told apart all the same.
    EXPECT_TRUE(parse_command_line(
        request_of(msg().body(make("find", "c", "abcd", 1, "acbd", 2, "$db", "d")).take())));
    // Of however many.
    for (const int fields : {31, 32, 33, 500}) {
        for (const bool is_twice : {false, true}) {
            bson::Builder body;
            body.append("find", "c").append("$db", "d");
            for (int i = 3; i < fields; ++i)
                body.append("f" + std::to_string(i), i);
            body.append(is_twice ? "$db" : "last", "d");
            const auto line =
                parse_command_line(request_of(msg().body(std::move(body).finish()).take()));
            EXPECT_EQ(line.has_value(), !is_twice) << fields;
        }
    }
}

// ---- The fuzzer's entry ----

TEST(Fuzz, SurvivesEveryTruncationAndBitFlipOfGoodMessages) {
    const std::vector<std::string> seeds = {
        msg(flags::checksum_present).body(ping()).checksum().take(),
        msg().body(make("insert", "c", "$db", "d")).sequence("documents", {make("a", 1)}).take(),
        query("admin.$cmd", make("isMaster", 1)).take(),
        compressed(msg().body(ping()).take(), Compressor::snappy),
        compressed(msg().body(ping()).take(), Compressor::zlib),
        compressed(msg().body(ping()).take(), Compressor::zstd),
    };
    for (const std::string& seed : seeds) {
        for (std::size_t cut = 0; cut <= seed.size(); ++cut) fuzz_one(seed.substr(0, cut));
        for (std::size_t bit = 0; bit < seed.size() * 8; ++bit) {
            std::string flipped = seed;
            flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
            fuzz_one(flipped);
        }
    }
}

}  // namespace
}  // namespace tessera::wire
