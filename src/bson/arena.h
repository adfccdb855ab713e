// SPDX-License-Identifier: Apache-2.0
//
// Arena: memory that one request owns and frees at once, and the computed Values in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "bson/view.h"

namespace tessera::bson {

class Arena {
public:
    Arena() = default;
    Arena(Arena&&) = default;
    Arena& operator=(Arena&&) = default;

    /// Returns `size` bytes that live until clear() or the arena's end. Aligned to 8.
    char* allocate(std::size_t size);
    /// Copies bytes into the arena.
    std::string_view copy(std::string_view bytes);

    Value make(double value) { return scalar(Type::number_double, value); }
    Value make(std::int32_t value) { return scalar(Type::int32, value); }
    Value make(std::int64_t value) { return scalar(Type::int64, value); }
    Value make(WallTime value) { return scalar(Type::date, value.milliseconds); }
    Value make(Timestamp value) { return scalar(Type::timestamp, value.packed()); }
    Value make(const ObjectId& value) { return scalar(Type::object_id, value); }
    Value make(const Decimal128& value) { return scalar(Type::decimal128, value); }
    Value make(std::string_view value) { return make_text(Type::string, value); }
    Value make_text(Type type, std::string_view value);
    Value make_binary(const Binary& value);
    Value make_object(View value);
    Value make_array(View value);
    /// Copies a value's bytes here, so that it outlives what it viewed.
    Value copy(const Value& value);

    static Value make_bool(bool value);
    static Value make_null() { return {Type::null, "", 0}; }
    static Value make_min_key() { return {Type::min_key, "", 0}; }
    static Value make_max_key() { return {Type::max_key, "", 0}; }

    /// Forgets everything made so far; keeps one block for the next use.
    void clear();
    /// Bytes handed out since the start or the last clear().
    std::size_t used() const { return used_; }

private:
    template <class T>
    Value scalar(Type type, const T& value) {
        char* const at = allocate(sizeof(T));
        std::memcpy(at, &value, sizeof(T));
        return {type, at, sizeof(T)};
    }

    struct Block {
        std::unique_ptr<char[]> bytes;
        std::size_t size;
    };
    std::vector<Block> blocks_;
    char* next_ = nullptr;
    std::size_t left_ = 0;
    std::size_t used_ = 0;
};

}  // namespace tessera::bson
