// SPDX-License-Identifier: Apache-2.0
#include "query/match/path.h"

namespace tessera::query {

std::int32_t array_index(std::string_view component) {
    constexpr std::size_t digits_max = 9;  // Always fits an int32; no array is that long.
    if (component.empty() || component.size() > digits_max) return -1;
    if (component[0] == '0' && component.size() > 1) return -1;
    std::int32_t result = 0;
    for (const char c : component) {
        if (c < '0' || c > '9') return -1;
        result = result * 10 + (c - '0');
    }
    return result;
}

Path::Path(std::string_view dotted) : dotted_(dotted) {
    while (true) {
        const auto dot = dotted.find('.');
        const std::string_view name = dotted.substr(0, dot);
        parts_.push_back({std::string(name), array_index(name)});
        if (dot == std::string_view::npos) return;
        dotted.remove_prefix(dot + 1);
    }
}

}  // namespace tessera::query
