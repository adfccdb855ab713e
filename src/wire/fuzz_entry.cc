// SPDX-License-Identifier: Apache-2.0
#include "wire/fuzz_entry.h"

#include "base/assert.h"
#include "wire/command_line.h"
#include "wire/reply_writer.h"
#include "wire/request.h"

namespace tessera::wire {

namespace {

/// Touches everything a request claims to hold, so that a wrong pointer is found.
std::size_t walk(bson::View document, int depth) {
    std::size_t sum = 0;
    for (const bson::Element& element : document) {
        sum += element.name.size() + element.value.bytes().size();
        const bson::Value& value = element.value;
        if ((value.is_object() || value.is_array()) && depth > 0)
            sum += walk(value.as_view(), depth - 1);
    }
    return sum;
}

void check_answer(const Request& request) {
    ReplyWriter writer(request);
    writer.set_body(bson::View());
    const auto bytes = writer.finish(1);
    ASSERT(bytes.has_value());
    const auto reply = parse_reply(std::string(*bytes));
    ASSERT(reply.has_value());
    ASSERT(reply->response_to == request.id);
    ASSERT(reply->body.is_empty());
}

}  // namespace

void fuzz_one(std::string_view stream) {
    Framer framer;
    std::string_view input = stream;
    for (;;) {
        auto message = framer.next(input);
        if (!message || !message->has_value()) return;
        const auto reply = parse_reply(std::string(**message));
        if (reply) walk(reply->body, 300);
        auto request = parse_request(std::move(**message));
        if (!request) continue;
        const Request moved = std::move(*request);
        std::size_t sum = walk(moved.body, 300);
        for (const Sequence& sequence : moved.sequences) {
            for (const bson::View document : sequence.documents) sum += walk(document, 300);
        }
        ASSERT(sum <= 4 * moved.bytes.size() * 300);
        (void)parse_command_line(moved);
        check_answer(moved);
    }
}

}  // namespace tessera::wire
