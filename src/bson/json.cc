// SPDX-License-Identifier: Apache-2.0
//
// Text is written by hand, since libbson's form has spaces nobody wants in a log, and read by
// libbson.
#include "bson/json.h"

#include <cmath>
#include <iterator>

#include <bson/bson.h>
#include <fmt/format.h>

#include "bson/decimal.h"
#include "bson/validate.h"

namespace tessera::bson {
namespace {

constexpr std::int64_t year_10000_milliseconds = 253402300800000;

/// The shortest text that reads back as this double, with a point so that it stays a double.
std::string double_text(double value) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
}

void append_quoted(std::string& out, std::string_view text) {
    out.push_back('"');
    for (const char c : text) {
        switch (c) {
            case '"':
                out += "\\\"";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\b':
                out += "\\b";
                break;
            case '\f':
                out += "\\f";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    fmt::format_to(
                        std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
                } else {
                    out.push_back(c);
                }
        }
    }
    out.push_back('"');
}

std::string base64(std::string_view bytes) {
    constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
        for (std::size_t i = 0; i < 3; ++i) {
            group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
        }
        out.push_back(digits[group >> 18 & 63U]);
        out.push_back(digits[group >> 12 & 63U]);
        out.push_back(count > 1 ? digits[group >> 6 & 63U] : '=');
        out.push_back(count > 2 ? digits[group & 63U] : '=');
    }
    return out;
}

/// "2020-01-02T03:04:05.006Z", milliseconds only when there are any (civil-from-days: H. Hinnant,
/// "chrono-compatible low-level date algorithms"). Requires: 1970 to 9999.
std::string iso_date(std::int64_t milliseconds) {
    const std::int64_t days = milliseconds / 86400000 + 719468;
    const std::int64_t of_day = milliseconds % 86400000;
    const std::int64_t era = days / 146097;
    const std::int64_t doe = days - era * 146097;
    const std::int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const std::int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    const std::int64_t mp = (5 * doy + 2) / 153;
    const std::int64_t day = doy - (153 * mp + 2) / 5 + 1;
    const std::int64_t month = mp < 10 ? mp + 3 : mp - 9;
    const std::int64_t year = yoe + era * 400 + (month <= 2 ? 1 : 0);
    std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                                  year,
                                  month,
                                  day,
                                  of_day / 3600000,
                                  of_day / 60000 % 60,
                                  of_day / 1000 % 60);
    if (of_day % 1000 != 0) out += fmt::format(".{:03}", of_day % 1000);
    return out + "Z";
}

class ExtendedJson {
public:
    ExtendedJson(std::string& out, bool is_relaxed) : out_(out), is_relaxed_(is_relaxed) {}

    void fields(View view, bool is_array) {
        out_.push_back(is_array ? '[' : '{');
        bool is_first = true;
        for (const Element& element : view) {
            if (!is_first) out_.push_back(',');
            is_first = false;
            if (!is_array) {
                append_quoted(out_, element.name);
                out_.push_back(':');
            }
            value(element.value);
        }
        out_.push_back(is_array ? ']' : '}');
    }

    void value(const Value& value) {
        switch (value.type()) {
            case Type::missing:
            case Type::null:
                out_ += "null";
                return;
            case Type::undefined:
                out_ += R"({"$undefined":true})";
                return;
            case Type::min_key:
                out_ += R"({"$minKey":1})";
                return;
            case Type::max_key:
                out_ += R"({"$maxKey":1})";
                return;
            case Type::boolean:
                out_ += value.as_bool() ? "true" : "false";
                return;
            case Type::string:
                append_quoted(out_, value.as_string());
                return;
            case Type::object:
                fields(value.as_view(), false);
                return;
            case Type::array:
                fields(value.as_view(), true);
                return;
            case Type::int32:
                return integer("$numberInt", value.as_int32());
            case Type::int64:
                return integer("$numberLong", value.as_int64());
            case Type::number_double:
                return floating(value.as_double());
            case Type::decimal128:
                return wrap("$numberDecimal", to_string(value.as_decimal128()));
            case Type::object_id:
                return wrap("$oid", value.as_object_id().to_hex());
            case Type::symbol:
                return wrap("$symbol", value.as_string());
            case Type::code:
                return wrap("$code", value.as_string());
            case Type::date:
                return date(value.as_date().milliseconds);
            default:
                return composed(value);
        }
    }

private:
    void wrap(std::string_view name, std::string_view text) {
        out_ += "{\"";
        out_ += name;
        out_ += "\":";
        append_quoted(out_, text);
        out_.push_back('}');
    }

    void integer(std::string_view name, std::int64_t value) {
        if (is_relaxed_) {
            out_ += std::to_string(value);
        } else {
            wrap(name, std::to_string(value));
        }
    }

    void floating(double value) {
        if (std::isnan(value)) return wrap("$numberDouble", "NaN");
        if (std::isinf(value)) return wrap("$numberDouble", value < 0 ? "-Infinity" : "Infinity");
        if (is_relaxed_) {
            out_ += double_text(value);
        } else {
            wrap("$numberDouble", double_text(value));
        }
    }

    void date(std::int64_t milliseconds) {
        if (is_relaxed_ && milliseconds >= 0 && milliseconds < year_10000_milliseconds) {
            return wrap("$date", iso_date(milliseconds));
        }
        out_ += R"({"$date":)";
        wrap("$numberLong", std::to_string(milliseconds));
        out_.push_back('}');
    }

    void composed(const Value& value) {
        switch (value.type()) {
            case Type::binary: {
                Binary binary = value.as_binary();
                // Subtype 2 repeats its length inside, which JSON leaves out.
                if (binary.subtype == BinarySubtype::old_binary && binary.bytes.size() >= 4)
                    binary.bytes.remove_prefix(4);
                out_ += fmt::format(R"({{"$binary":{{"base64":"{}","subType":"{:02x}"}}}})",
                                    base64(binary.bytes),
                                    static_cast<unsigned>(binary.subtype));
                return;
            }
            case Type::timestamp: {
                const Timestamp timestamp = value.as_timestamp();
                out_ += fmt::format(R"({{"$timestamp":{{"t":{},"i":{}}}}})",
                                    timestamp.seconds,
                                    timestamp.increment);
                return;
            }
            case Type::regex:
                out_ += R"({"$regularExpression":{"pattern":)";
                append_quoted(out_, value.as_regex().pattern);
                out_ += R"(,"options":)";
                append_quoted(out_, value.as_regex().options);
                out_ += "}}";
                return;
            case Type::db_pointer: {
                const std::string_view bytes = value.bytes();
                ObjectId id;
                std::memcpy(id.bytes.data(), bytes.data() + bytes.size() - 12, 12);
                out_ += R"({"$dbPointer":{"$ref":)";
                append_quoted(out_, bytes.substr(4, bytes.size() - 4 - 1 - 12));
                out_ += R"(,"$id":)";
                wrap("$oid", id.to_hex());
                out_ += "}}";
                return;
            }
            case Type::code_with_scope:
                out_ += R"({"$code":)";
                append_quoted(out_, value.as_scope_code());
                out_ += R"(,"$scope":)";
                fields(value.as_scope(), false);
                out_.push_back('}');
                return;
            default:
                return;
        }
    }

    std::string& out_;
    bool is_relaxed_;
};

/// As error messages and explain's index bounds show values.
class MessageText {
public:
    explicit MessageText(std::string& out) : out_(out) {}

    void fields(View view, bool is_array) {
        if (view.is_empty()) {
            out_ += is_array ? "[]" : "{}";
            return;
        }
        out_ += is_array ? "[ " : "{ ";
        bool is_first = true;
        for (const Element& element : view) {
            if (!is_first) out_ += ", ";
            is_first = false;
            if (!is_array) {
                out_ += element.name;
                out_ += ": ";
            }
            value(element.value);
        }
        out_ += is_array ? " ]" : " }";
    }

    void value(const Value& value) {
        switch (value.type()) {
            case Type::missing:
                out_ += "EOO";
                return;
            case Type::null:
                out_ += "null";
                return;
            case Type::undefined:
                out_ += "undefined";
                return;
            case Type::min_key:
                out_ += "MinKey";
                return;
            case Type::max_key:
                out_ += "MaxKey";
                return;
            case Type::boolean:
                out_ += value.as_bool() ? "true" : "false";
                return;
            case Type::string:
            case Type::symbol:
                out_.push_back('"');
                out_ += value.as_string();
                out_.push_back('"');
                return;
            case Type::object:
                fields(value.as_view(), false);
                return;
            case Type::array:
                fields(value.as_view(), true);
                return;
            case Type::int32:
                out_ += std::to_string(value.as_int32());
                return;
            case Type::int64:
                out_ += std::to_string(value.as_int64());
                return;
            case Type::number_double:
                return floating(value.as_double());
            case Type::decimal128:
                out_ += to_string(value.as_decimal128());
                return;
            case Type::code:
                out_ += value.as_string();
                return;
            default:
                return composed(value);
        }
    }

private:
    void floating(double value) {
        // Infinity and NaN too: inf.0, nan.0.
        std::string text = std::isnan(value) ? "nan" : fmt::format("{}", value);
        if (text.find('.') == std::string::npos) text += ".0";
        out_ += text;
    }

    void composed(const Value& value) {
        switch (value.type()) {
            case Type::object_id:
                out_ += "ObjectId('" + value.as_object_id().to_hex() + "')";
                return;
            case Type::date:
                out_ += "new Date(" + std::to_string(value.as_date().milliseconds) + ")";
                return;
            case Type::timestamp: {
                const Timestamp timestamp = value.as_timestamp();
                out_ += fmt::format("Timestamp({}, {})", timestamp.seconds, timestamp.increment);
                return;
            }
            case Type::regex: {
                const Regex regex = value.as_regex();
                out_ += fmt::format("/{}/{}", regex.pattern, regex.options);
                return;
            }
            case Type::binary:
                return binary(value.as_binary());
            case Type::db_pointer: {
                const std::string_view bytes = value.bytes();
                ObjectId id;
                std::memcpy(id.bytes.data(), bytes.data() + bytes.size() - 12, 12);
                out_ += fmt::format("DBRef('{}',ObjectId('{}'))",
                                    bytes.substr(4, bytes.size() - 4 - 1 - 12),
                                    id.to_hex());
                return;
            }
            case Type::code_with_scope:
                out_ += "CodeWScope( ";
                out_ += value.as_scope_code();
                out_ += ", ";
                fields(value.as_scope(), false);
                out_ += ")";
                return;
            default:
                return;
        }
    }

    void binary(const Binary& binary) {
        if (binary.subtype == BinarySubtype::uuid && binary.bytes.size() == 16) {
            Uuid uuid;
            std::memcpy(uuid.bytes.data(), binary.bytes.data(), 16);
            out_ += "UUID(\"" + uuid.to_string() + "\")";
            return;
        }
        out_ += fmt::format("BinData({}, ", static_cast<unsigned>(binary.subtype));
        for (const char c : binary.bytes) {
            fmt::format_to(std::back_inserter(out_), "{:02X}", static_cast<unsigned char>(c));
        }
        out_.push_back(')');
    }

    std::string& out_;
};

}  // namespace

std::string to_json(View document, JsonMode mode) {
    return to_json(document.as_object_value(), mode);
}

std::string to_json(const Value& value, JsonMode mode) {
    std::string out;
    if (mode == JsonMode::message) {
        MessageText(out).value(value);
    } else {
        ExtendedJson(out, mode == JsonMode::relaxed).value(value);
    }
    return out;
}

Result<Document> from_json(std::string_view text) {
    bson_error_t error;
    // Libbson takes a NULL or empty text for its length's absence; no JSON is empty.
    if (text.empty()) return Error(ErrorCode::failed_to_parse, "no JSON: the text is empty");
    bson_t* const parsed = bson_new_from_json(reinterpret_cast<const std::uint8_t*>(text.data()),
                                              static_cast<ssize_t>(text.size()),
                                              &error);
    if (parsed == nullptr) return Error(ErrorCode::failed_to_parse, error.message);
    std::string bytes(reinterpret_cast<const char*>(bson_get_data(parsed)), parsed->len);
    bson_destroy(parsed);
    TRY_OK(validate(bytes));
    return Document::adopt(std::move(bytes));
}

}  // namespace tessera::bson
