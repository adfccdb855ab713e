// SPDX-License-Identifier: Apache-2.0
//
// Input: two documents one after the other, {pipeline: [stages]} and {documents: [...]}. Neither
// parsing, optimising, showing nor running the pipeline may crash; what it shows parses
// again to what shows the same, and what it gives are well-formed documents.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "bson/validate.h"
#include "query/pipeline/test_services.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one function.

constexpr std::size_t input_bytes_max = 4096;  // Larger ones are slow and find nothing new.
constexpr std::size_t memory_max = 1024 * 1024;

query::PipelineContext make_context() {
    query::PipelineContext context;
    context.ns = {"db", "c"};
    context.memory_max = memory_max;
    return context;
}

void check_shown(const query::Pipeline& pipeline) {
    const auto shown = pipeline.to_bson();
    const auto again = query::Pipeline::parse(shown, make_context());
    ASSERT(again.has_value());
    const auto shown_again = again->to_bson();
    ASSERT(shown_again.size() == shown.size());
    for (std::size_t i = 0; i < shown.size(); ++i) ASSERT(shown[i].view() == shown_again[i].view());
}

void run(query::Pipeline& pipeline, query::TestServices& services) {
    pipeline.attach(
        pipeline.needs_source() ? query::make_vector_cursor(services.collections["c"], 2) : nullptr,
        &services);
    while (true) {
        const auto batch = pipeline.next();
        if (!batch) return;
        for (std::size_t i = 0; i < batch->size(); ++i)
            ASSERT(bson::validate((*batch)[i].bytes()).has_value());
        if (batch->is_last) return;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    std::uint32_t first = 0;
    if (size < sizeof first || size > input_bytes_max) return 0;
    std::memcpy(&first, data, sizeof first);
    if (first > size) return 0;
    const auto stages = bson::validate(bytes.substr(0, first), 100);
    const auto stored = bson::validate(bytes.substr(first), 100);
    if (!stages || !stored) return 0;
    auto pipeline = query::Pipeline::parse((*stages)["pipeline"], make_context());
    if (!pipeline) return 0;
    query::TestServices services;
    for (const bson::Element& each : *stored) {
        if (!each.value.is_array()) continue;
        for (const bson::Element& document : each.value.as_view())
            if (document.value.is_object())
                services.collections["c"].emplace_back(document.value.as_view());
    }
    if (!pipeline->optimize()) return 0;
    check_shown(*pipeline);
    run(*pipeline, services);
    return 0;
}
