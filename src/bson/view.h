// SPDX-License-Identifier: Apache-2.0
//
// View: a read-only view of a whole document or array; Document: one that owns its bytes. Bytes
// from outside go through validate() once (bson/validate.h); after that reading needs no checks.
#pragma once

#include <iterator>
#include <string>
#include <string_view>

#include "bson/value.h"

namespace tessera::bson {

/// One field of a document: its name and value. For an array the name is the decimal index.
struct Element {
    std::string_view name;
    Value value;
};

class View {
public:
    /// The empty document.
    constexpr View() = default;
    /// Requires: `data` starts a valid document (int32 length ... NUL) that outlives this view.
    constexpr explicit View(const char* data) : data_(data) {}

    class Iterator {
    public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = Element;
        using difference_type = std::ptrdiff_t;
        using pointer = const Element*;
        using reference = const Element&;

        Iterator() = default;
        explicit Iterator(const char* at) : at_(at) { read(); }
        /// The end, to compare with: the bytes there are not looked at.
        static Iterator past(const char* at) {
            Iterator result;
            result.at_ = at;
            return result;
        }
        const Element& operator*() const { return element_; }
        const Element* operator->() const { return &element_; }
        Iterator& operator++() {
            at_ = element_.value.bytes().data() + element_.value.bytes().size();
            read();
            return *this;
        }
        Iterator operator++(int) {
            Iterator old = *this;
            ++*this;
            return old;
        }
        bool operator==(const Iterator& other) const { return at_ == other.at_; }
        /// Where the element's type byte stands, so that whole elements can be copied.
        const char* position() const { return at_; }

    private:
        void read();
        const char* at_ = nullptr;
        Element element_;
    };

    Iterator begin() const { return Iterator(data_ + 4); }
    Iterator end() const { return Iterator::past(data_ + size() - 1); }

    bool is_empty() const { return size() <= 5; }
    /// Bytes in all, the length itself included.
    std::uint32_t size() const {
        std::uint32_t result;
        std::memcpy(&result, data_, 4);
        return result;
    }
    const char* data() const { return data_; }
    std::string_view bytes() const { return {data_, size()}; }

    /// Returns the first field of that name, missing when there is none. Linear.
    Value operator[](std::string_view name) const;
    /// Returns the value at a dotted path through objects (not arrays); missing when there is none.
    Value at_path(std::string_view path) const;
    bool has(std::string_view name) const { return !(*this)[name].is_missing(); }
    /// Number of fields. Linear.
    std::size_t count() const;
    /// The first element. Requires: not empty.
    Element front() const { return *begin(); }

    Value as_object_value() const { return {Type::object, data_, size()}; }
    Value as_array_value() const { return {Type::array, data_, size()}; }

private:
    static constexpr char empty_[5] = {5, 0, 0, 0, 0};
    const char* data_ = empty_;
};

/// A document that owns its bytes. Moves are cheap; a View of it is valid until it changes.
class Document {
public:
    Document() : bytes_("\x05\0\0\0\0", 5) {}
    explicit Document(View view) : bytes_(view.bytes()) {}
    /// Requires: `bytes` is one valid document.
    static Document adopt(std::string bytes) {
        Document result;
        result.bytes_ = std::move(bytes);
        return result;
    }

    View view() const { return View(bytes_.data()); }
    operator View() const { return view(); }  // NOLINT(google-explicit-constructor)
    Value operator[](std::string_view name) const { return view()[name]; }
    bool is_empty() const { return view().is_empty(); }
    std::uint32_t size() const { return static_cast<std::uint32_t>(bytes_.size()); }
    std::string_view bytes() const { return bytes_; }
    std::string release() && { return std::move(bytes_); }

private:
    std::string bytes_;
};

inline bool operator==(View one, View two) { return one.bytes() == two.bytes(); }  // Byte equality.

}  // namespace tessera::bson
