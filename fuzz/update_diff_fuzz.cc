// SPDX-License-Identifier: Apache-2.0
//
// Input: two documents one after the other. The second is stored; the first is tried as an oplog
// diff, as an update, and as what the second becomes. Nothing may crash, whatever is applied gives
// a well-formed document, and entries replay.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "bson/validate.h"
#include "query/update/diff.h"
#include "query/update/update.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one function.

void try_diff(bson::View diff, bson::View document) {
    const auto applied = query::apply_diff(document, diff);
    if (applied) ASSERT(bson::validate(applied->bytes()).has_value());
}

void try_update(bson::View text, bson::View document) {
    const auto update = query::Update::parse(text.as_object_value(), {});
    if (!update) return;
    query::UpdateContext context;
    query::ApplyOptions options;
    options.matched_index = 0;
    const auto result = update->apply(document, options, context);
    if (!result || result->is_noop) return;
    ASSERT(bson::validate(result->after.bytes()).has_value());
    const auto replayed = query::apply_oplog_update(document, result->oplog);
    ASSERT(replayed.has_value() && replayed->bytes() == result->after.bytes());
}

void try_compute(bson::View after, bson::View before) {
    const auto computed = query::compute_diff(before, after);
    if (!computed.diff) return;
    const auto applied = query::apply_diff(before, *computed.diff);
    ASSERT(applied.has_value() && applied->view() == after);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    std::uint32_t first = 0;
    if (size < sizeof first) return 0;
    std::memcpy(&first, data, sizeof first);
    if (first > size) return 0;
    const auto one = bson::validate(bytes.substr(0, first), 100);
    const auto two = bson::validate(bytes.substr(first), 100);
    if (!one || !two) return 0;
    try_diff(*one, *two);
    try_update(*one, *two);
    try_compute(*one, *two);
    return 0;
}
