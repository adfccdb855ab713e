// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

namespace tessera {

std::string code_name(ErrorCode code) {
    switch (code) {
#define ERROR_CODE(number, name, wire_name, classes) \
    case ErrorCode::name:                            \
        return wire_name;
#include "base/error_codes.def"
#undef ERROR_CODE
    }
    return "Location" + std::to_string(static_cast<std::int32_t>(code));
}

bool has_class(ErrorCode code, unsigned classes) {
    unsigned of_code = 0;
    switch (code) {
#define ERROR_CODE(number, name, wire_name, its_classes) \
    case ErrorCode::name:                                \
        of_code = its_classes;                           \
        break;
#include "base/error_codes.def"
#undef ERROR_CODE
    }
    return (of_code & classes) != 0;
}

Error Error::with_prefix(std::string_view prefix) const {
    Error copy = *this;
    copy.reason_.insert(0, prefix);
    return copy;
}

std::string Error::to_string() const {
    return code_name(code_) + " (" + std::to_string(static_cast<std::int32_t>(code_)) +
           "): " + reason_;
}

}  // namespace tessera
