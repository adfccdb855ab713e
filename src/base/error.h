// SPDX-License-Identifier: Apache-2.0
//
// What can go wrong, in the protocol's own vocabulary. An Error carries the code a client will see,
// a sentence for a person, and optionally the extra reply fields of that code (for a duplicate key:
// keyPattern and keyValue) as the bytes of one BSON document, which this layer does not look into.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tessera {

enum class ErrorCode : std::int32_t {
#define ERROR_CODE(number, name, wire_name, classes) name = number,
#include "base/error_codes.def"
#undef ERROR_CODE
};

/// Classes of codes somebody reacts to; see has_class().
namespace error_class {
inline constexpr unsigned retriable = 1;
inline constexpr unsigned not_primary = 2;
inline constexpr unsigned recovering = 4;
inline constexpr unsigned shutting_down = 8;
}  // namespace error_class

/// Returns the code for one of the protocol's numbers that has no name of its own.
constexpr ErrorCode location(std::int32_t number) { return static_cast<ErrorCode>(number); }

/// Returns the name on the wire: "DuplicateKey", or "Location40571" for a number without a name.
std::string code_name(ErrorCode code);

/// Returns whether `code` belongs to any of the given classes (error_class::...).
bool has_class(ErrorCode code, unsigned classes);

/// An error on its way to whoever handles it. Cheap to move.
class Error {
public:
    Error(ErrorCode code, std::string reason) : code_(code), reason_(std::move(reason)) {}
    Error(ErrorCode code, std::string reason, std::string details_bson)
        : code_(code),
          reason_(std::move(reason)),
          details_(std::make_shared<const std::string>(std::move(details_bson))) {}

    ErrorCode code() const { return code_; }
    const std::string& reason() const { return reason_; }
    /// The extra reply fields as a BSON document's bytes; empty when there are none.
    std::string_view details() const {
        return details_ ? std::string_view(*details_) : std::string_view();
    }
    /// Returns the same error with `prefix` before its reason ("... :: caused by :: ").
    Error with_prefix(std::string_view prefix) const;
    /// "DuplicateKey (11000): E11000 ...", for logs.
    std::string to_string() const;

private:
    ErrorCode code_;
    std::string reason_;
    std::shared_ptr<const std::string> details_;  // Immutable, shared by copies of this error.
};

}  // namespace tessera
