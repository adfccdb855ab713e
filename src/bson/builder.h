// SPDX-License-Identifier: Apache-2.0
//
// Builder writes one document at the end of a byte string, its own or a caller's, so that a reply
// can be built in place. Nested documents are written in the same string:
//
//     bson::Builder reply;
//     {
//         auto cursor = reply.object("cursor");
//         cursor.append("id", std::int64_t{0});
//         auto batch = cursor.array("firstBatch");
//         batch.append(document);                  // Arrays number their elements.
//     }                                            // A child closes when it goes out of scope,
//     reply.append("ok", 1.0);                     // or earlier by done().
//     bson::Document document = std::move(reply).finish();
//
// While a child is open its parent must not be written to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "bson/view.h"

namespace tessera::bson {

class ArrayBuilder;

class Builder {
public:
    Builder() : out_(&own_), start_(0) { open(); }
    /// Writes a document at the end of `out`, which must outlive the builder.
    explicit Builder(std::string& out) : out_(&out), start_(out.size()) { open(); }
    /// Goes on where `document` ends.
    static Builder reopen(Document document);
    Builder(const Builder&) = delete;
    Builder& operator=(const Builder&) = delete;
    Builder(Builder&& other) noexcept;
    Builder& operator=(Builder&&) = delete;
    ~Builder() {
        if (!is_done_) done();
    }

    Builder& append(std::string_view name, double value) {
        return scalar(Type::number_double, name, value);
    }
    Builder& append(std::string_view name, std::int32_t value) {
        return scalar(Type::int32, name, value);
    }
    Builder& append(std::string_view name, std::int64_t value) {
        return scalar(Type::int64, name, value);
    }
    Builder& append(std::string_view name, bool value) {
        return scalar(Type::boolean, name, static_cast<std::uint8_t>(value));
    }
    Builder& append(std::string_view name, std::string_view value) {
        return text(Type::string, name, value);
    }
    Builder& append(std::string_view name, const std::string& value) {
        return append(name, std::string_view(value));
    }
    Builder& append(std::string_view name, const char* value) {
        return append(name, std::string_view(value));
    }
    Builder& append(std::string_view name, View value) {
        return raw(Type::object, name, value.bytes());
    }
    Builder& append(std::string_view name, const Document& value) {
        return append(name, value.view());
    }
    Builder& append(std::string_view name, const Value& value) {
        if (value.is_missing()) return *this;
        return raw(value.type(), name, value.bytes());
    }
    Builder& append(std::string_view name, WallTime value) {
        return scalar(Type::date, name, value.milliseconds);
    }
    Builder& append(std::string_view name, Timestamp value) {
        return scalar(Type::timestamp, name, value.packed());
    }
    Builder& append(std::string_view name, const ObjectId& value) {
        return scalar(Type::object_id, name, value);
    }
    Builder& append(std::string_view name, const Uuid& value) {
        return append(name, Binary{BinarySubtype::uuid, value.view()});
    }
    Builder& append(std::string_view name, const Decimal128& value) {
        return scalar(Type::decimal128, name, value);
    }
    Builder& append(std::string_view name, const Binary& value);
    Builder& append(std::string_view name, const Regex& value);
    /// {ts: Timestamp, t: int64}.
    Builder& append(std::string_view name, const OpTime& value);
    Builder& append_null(std::string_view name) { return raw(Type::null, name, {}); }
    Builder& append_min_key(std::string_view name) { return raw(Type::min_key, name, {}); }
    Builder& append_max_key(std::string_view name) { return raw(Type::max_key, name, {}); }
    Builder& append_array(std::string_view name, View value) {
        return raw(Type::array, name, value.bytes());
    }
    /// A whole element under its own name.
    Builder& append(const Element& element) { return append(element.name, element.value); }
    /// Every element of `document`, in order.
    Builder& append_all(View document) {
        out_->append(document.data() + 4, document.size() - 5);
        return *this;
    }
    /// The elements of one document from `first` up to `last`.
    Builder& append_range(const View::Iterator& first, const View::Iterator& last) {
        out_->append(first.position(), last.position());
        return *this;
    }
    /// A number as int32 when it fits, int64 otherwise.
    Builder& append_integer(std::string_view name, std::int64_t value);

    /// Opens a nested document or array.
    Builder object(std::string_view name);
    ArrayBuilder array(std::string_view name);

    /// Bytes written so far for this document, closing NUL not counted.
    std::size_t size() const { return out_->size() - start_; }
    /// Closes the document: nothing can be appended any more.
    void done();
    /// Closes and returns the document. Requires: the builder owns its string.
    Document finish() &&;

private:
    friend class ArrayBuilder;

    void open() { out_->append(4, '\0'); }
    void header(Type type, std::string_view name) {
        out_->push_back(static_cast<char>(type));
        out_->append(name);
        out_->push_back('\0');
    }
    Builder& raw(Type type, std::string_view name, std::string_view bytes) {
        header(type, name);
        out_->append(bytes);
        return *this;
    }
    Builder& text(Type type, std::string_view name, std::string_view value);
    template <class T>
    Builder& scalar(Type type, std::string_view name, const T& value) {
        header(type, name);
        out_->append(reinterpret_cast<const char*>(&value), sizeof(T));
        return *this;
    }

    std::string own_;
    std::string* out_;  // own_, or the caller's.
    std::size_t start_;
    bool is_done_ = false;
};

/// As Builder, for arrays: elements are named "0", "1", ... by itself.
class ArrayBuilder {
public:
    ArrayBuilder() = default;
    explicit ArrayBuilder(std::string& out) : builder_(out) {}

    template <class T>
    ArrayBuilder& append(const T& value) {
        char name[12];
        builder_.append(next_name(name), value);
        return *this;
    }
    ArrayBuilder& append_null() {
        char name[12];
        builder_.append_null(next_name(name));
        return *this;
    }
    ArrayBuilder& append_array(View value) {
        char name[12];
        builder_.append_array(next_name(name), value);
        return *this;
    }
    Builder object() {
        char name[12];
        return builder_.object(next_name(name));
    }
    ArrayBuilder array();

    std::uint32_t count() const { return count_; }
    std::size_t size() const { return builder_.size(); }
    void done() { builder_.done(); }
    /// The array's bytes as a document's. Requires: the builder owns its string.
    Document finish() && { return std::move(builder_).finish(); }

private:
    friend class Builder;
    explicit ArrayBuilder(Builder&& builder) : builder_(std::move(builder)) {}
    std::string_view next_name(char (&buffer)[12]);

    Builder builder_;
    std::uint32_t count_ = 0;
};

/// Builds a small document in one expression: make("ok", 1.0, "n", 5).
template <class... Rest>
Document make(Rest&&... rest) {
    Builder builder;
    const auto append_pairs = [&](const auto& self,
                                  std::string_view name,
                                  const auto& value,
                                  const auto&... more) -> void {
        builder.append(name, value);
        if constexpr (sizeof...(more) > 0) self(self, more...);
    };
    if constexpr (sizeof...(rest) > 0) append_pairs(append_pairs, rest...);
    return std::move(builder).finish();
}

}  // namespace tessera::bson
