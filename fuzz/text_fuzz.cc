// SPDX-License-Identifier: Apache-2.0
//
// Input: a text, tried as a host, as the address of a replica set (which clients name when they add
// a shard) and as extended JSON. What parses is shown as what parses the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/host_and_port.h"
#include "bson/json.h"
#include "bson/validate.h"
#include "sharding/shard_registry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one
                              // function.
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto host = HostAndPort::parse(text);
    if (host) {
        const auto again = HostAndPort::parse(host->to_string());
        ASSERT(again.has_value() && *again == *host);
    }
    const auto set = sharding::SetAddress::parse(text);
    if (set) {
        const auto again = sharding::SetAddress::parse(set->to_string());
        ASSERT(again.has_value() && again->set_name == set->set_name && again->hosts == set->hosts);
    }
    const auto document = bson::from_json(text);
    if (document) {
        ASSERT(bson::validate(document->bytes()).has_value());
        const auto again = bson::from_json(bson::to_json(*document, bson::JsonMode::canonical));
        ASSERT(again.has_value() && again->view() == document->view());
    }
    return 0;
}
