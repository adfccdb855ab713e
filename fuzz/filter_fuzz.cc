// SPDX-License-Identifier: Apache-2.0
//
// Input: two documents one after the other, a filter and a document. Neither parsing nor matching
// nor showing the filter may crash, and what is shown is a well-formed document.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "bson/validate.h"
#include "query/match/filter.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one
                              // function.
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    std::uint32_t first = 0;
    if (size < sizeof first) return 0;
    std::memcpy(&first, data, sizeof first);
    if (first > size) return 0;
    const auto filter_bytes = bson::validate(bytes.substr(0, first));
    if (!filter_bytes) return 0;
    const auto filter = query::Filter::parse(*filter_bytes, {});
    if (!filter) return 0;
    const bson::Document shown = filter->serialize();
    ASSERT(bson::validate(shown.bytes()).has_value());
    (void)filter->exact_id();
    const auto document = bson::validate(bytes.substr(first));
    if (!document) return 0;
    query::MatchContext context;
    (void)filter->matches(*document, context).has_value();
    return 0;
}
