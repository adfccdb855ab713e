// SPDX-License-Identifier: Apache-2.0
//
// Input: two documents one after the other. The first is tried as a shard key pattern, for which
// the second is a document, a bound and a filter; both are tried as the versions a request carries
// and as the errors a shard answers. A filter's ranges hold the key of whatever it matches.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "bson/validate.h"
#include "routing/chunk.h"
#include "routing/filter_bounds.h"
#include "routing/shard_key.h"
#include "routing/versions.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one function.

void try_versions(bson::View document) {
    const auto version = routing::ShardVersion::parse(document.as_object_value());
    if (version) {
        bson::Builder shown;
        version->append_to(shown, "v");
        const bson::Document whole = std::move(shown).finish();
        const auto again = routing::ShardVersion::parse(whole["v"]);
        ASSERT(again.has_value() && *again == *version);
    }
    (void)routing::DatabaseVersion::parse(document.as_object_value()).has_value();
    (void)routing::StaleConfigInfo::parse(document).has_value();
    (void)routing::StaleDatabaseInfo::parse(document).has_value();
    (void)routing::DatabaseEntry::parse(document).has_value();
    (void)routing::CollectionEntry::parse(document).has_value();
}

void check_ranges(const routing::KeyRanges& ranges) {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        ASSERT(ranges[i].low < ranges[i].high);
        ASSERT(i == 0 || ranges[i - 1].high <= ranges[i].low);
    }
}

bool holds(const routing::KeyRanges& ranges, std::string_view key) {
    for (const routing::KeyRange& range : ranges)
        if (range.low <= key && key < range.high) return true;
    return false;
}

/// Whether the document, taken as a filter, is equalities that it meets itself. Values of its own
/// that a filter reads differently (operators, regular expressions, arrays, null) are left out.
bool matches_itself(bson::View document) {
    for (const bson::Element& element : document) {
        if (element.name.find('$') != std::string_view::npos ||
            element.name.find('.') != std::string_view::npos)
            return false;
        const bson::Type type = element.value.type();
        if (type != bson::Type::int32 && type != bson::Type::string &&
            type != bson::Type::number_double && type != bson::Type::object_id)
            return false;
        if (document[element.name].bytes().data() != element.value.bytes().data())
            return false;  // A name that is there twice.
    }
    return true;
}

void try_pattern(const routing::ShardKeyPattern& pattern, bson::View document) {
    const routing::FilterBounds bounds = routing::bounds_of(pattern, document);
    check_ranges(bounds.ranges);
    (void)routing::exact_id_of(document);
    const auto key = pattern.key_of(document);
    if (key && matches_itself(document)) ASSERT(holds(bounds.ranges, *key));
    (void)pattern.key_document_of(document).has_value();
    (void)pattern.encode_bound(document).has_value();
    const auto extended = pattern.extend_bound(document);
    if (extended) ASSERT(bson::validate(extended->bytes()).has_value());
    (void)pattern.is_prefix_of(document);
    (void)pattern.can_guarantee_unique(document);
    (void)routing::Chunk::parse(pattern, document).has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    std::uint32_t first = 0;
    if (size < sizeof first) return 0;
    std::memcpy(&first, data, sizeof first);
    if (first > size) return 0;
    const auto one = bson::validate(bytes.substr(0, first));
    if (!one) return 0;
    try_versions(*one);
    const auto two = bson::validate(bytes.substr(first));
    if (!two) return 0;
    const auto pattern = routing::ShardKeyPattern::parse(*one);
    if (pattern) try_pattern(*pattern, *two);
    return 0;
}
