// SPDX-License-Identifier: Apache-2.0
//
// A dotted path, split once. A component of digits without a leading zero is both a field's name
// and an array's index.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::query {

/// Returns the array index a path component denotes, -1 when it denotes none.
std::int32_t array_index(std::string_view component);

class Path {
public:
    struct Part {
        std::string name;
        std::int32_t index;  // -1: not an array index.
    };

    Path() = default;
    explicit Path(std::string_view dotted);

    const std::string& dotted() const { return dotted_; }
    std::size_t size() const { return parts_.size(); }
    bool is_empty() const { return parts_.empty(); }
    const Part& operator[](std::size_t i) const { return parts_[i]; }
    const std::vector<Part>& parts() const { return parts_; }

private:
    std::string dotted_;
    std::vector<Part> parts_;
};

}  // namespace tessera::query
