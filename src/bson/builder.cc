// SPDX-License-Identifier: Apache-2.0
#include "bson/builder.h"

#include <charconv>
#include <limits>

namespace tessera::bson {

Builder::Builder(Builder&& other) noexcept
    : own_(std::move(other.own_)),
      out_(other.out_ == &other.own_ ? &own_ : other.out_),
      start_(other.start_),
      is_done_(other.is_done_) {
    other.is_done_ = true;
}

Builder Builder::reopen(Document document) {
    Builder result;
    result.own_ = std::move(document).release();
    result.own_.pop_back();  // Its NUL.
    return result;
}

Builder& Builder::text(Type type, std::string_view name, std::string_view value) {
    header(type, name);
    const auto length = static_cast<std::int32_t>(value.size() + 1);
    out_->append(reinterpret_cast<const char*>(&length), sizeof(length));
    out_->append(value);
    out_->push_back('\0');
    return *this;
}

Builder& Builder::append(std::string_view name, const Binary& value) {
    header(Type::binary, name);
    const auto length = static_cast<std::int32_t>(value.bytes.size());
    out_->append(reinterpret_cast<const char*>(&length), sizeof(length));
    out_->push_back(static_cast<char>(value.subtype));
    out_->append(value.bytes);
    return *this;
}

Builder& Builder::append(std::string_view name, const Regex& value) {
    header(Type::regex, name);
    out_->append(value.pattern);
    out_->push_back('\0');
    out_->append(value.options);
    out_->push_back('\0');
    return *this;
}

Builder& Builder::append(std::string_view name, const OpTime& value) {
    Builder child = object(name);
    child.append("ts", value.timestamp);
    child.append("t", value.term);
    return *this;
}

Builder& Builder::append_integer(std::string_view name, std::int64_t value) {
    if (value >= std::numeric_limits<std::int32_t>::min() &&
        value <= std::numeric_limits<std::int32_t>::max())
        return append(name, static_cast<std::int32_t>(value));
    return append(name, value);
}

Builder Builder::object(std::string_view name) {
    header(Type::object, name);
    return Builder(*out_);
}

ArrayBuilder Builder::array(std::string_view name) {
    header(Type::array, name);
    return ArrayBuilder(Builder(*out_));
}

void Builder::done() {
    if (is_done_) return;
    is_done_ = true;
    out_->push_back('\0');
    const auto length = static_cast<std::int32_t>(out_->size() - start_);
    std::memcpy(out_->data() + start_, &length, sizeof(length));
}

Document Builder::finish() && {
    ASSERT(out_ == &own_);
    done();
    return Document::adopt(std::move(own_));
}

ArrayBuilder ArrayBuilder::array() {
    char name[12];
    return builder_.array(next_name(name));
}

std::string_view ArrayBuilder::next_name(char (&buffer)[12]) {
    const auto end = std::to_chars(buffer, buffer + sizeof(buffer), count_++).ptr;
    return {buffer, static_cast<std::size_t>(end - buffer)};
}

}  // namespace tessera::bson
