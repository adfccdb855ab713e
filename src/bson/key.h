// SPDX-License-Identifier: Apache-2.0
//
// Order-preserving keys: bytes whose memcmp order is the BSON order of the values they encode, a
// direction a field. Numbers of all four types that compare equal give the same key bytes; what the
// key alone cannot say (which numeric type, negative zero, string or symbol, decimal precision) is
// kept beside it as type bits, so that decode_key() gives the values back exactly. The format is
// described in key_format.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/view.h"

namespace tessera::bson {

/// A stored record's number within its collection, positive; 0 is none. After an index key it
/// takes 2 to 9 bytes, by its size, readable from either end.
struct RecordId {
    std::int64_t value = 0;
    auto operator<=>(const RecordId&) const = default;
};

/// Directions of an index's fields: bit i set means field i is descending. At most 32 fields.
struct Ordering {
    std::uint32_t descending = 0;
    bool is_descending(std::size_t field) const { return (descending >> field & 1U) != 0; }
    /// From a key pattern such as {a: 1, b: -1}; non-numeric kinds ("hashed") count as ascending.
    static Ordering from_pattern(View pattern);
};

/// Writes keys; reusable: clear() keeps the memory.
class KeyBuilder {
public:
    explicit KeyBuilder(Ordering ordering = {}) : ordering_(ordering) {}

    /// Appends the next field's value; missing is encoded as null (as indexes store it).
    void append(const Value& value);
    /// Ends the fields: with `before`, the key sorts before every key that starts with these
    /// fields; with `after`, after all of them; with `exact`, equal to a full key.
    enum class Ending { exact, before, after };
    void finish(Ending ending = Ending::exact);
    /// Appends a record's number after finish(): index entries are unique by it.
    void append(RecordId id);

    std::string_view key() const { return key_; }
    /// Empty when every value's type is implied by the key.
    std::string_view type_bits() const { return type_bits_; }
    void clear();

private:
    friend class KeyEncoder;
    Ordering ordering_;
    std::size_t field_ = 0;
    std::string key_;
    std::string type_bits_;
    std::size_t implied_ = 0;  // Tags left unwritten since the last one that said something.
};

/// Returns the length of the fields' part of an index entry's key: up to and with the ending
/// written by finish(). Requires: a RecordId was appended.
std::size_t fields_length(std::string_view key);
/// Reads the RecordId at the end of an index entry's key.
RecordId record_id_at_end(std::string_view key);
/// Reads a RecordId at the front of `bytes` and removes it from them; 0 when they are too short.
RecordId take_record_id(std::string_view& bytes);
/// Returns the length of the first field of a key; 0 when there is none, or on foreign bytes. A
/// field's bytes are never the start of another's.
std::size_t field_length(std::string_view key);

/// Gives back the values of a key, with or without ending and RecordId. `values` are allocated in
/// `arena`. Fails with InternalError on bytes that no KeyBuilder wrote.
Status decode_key(std::string_view key, std::string_view type_bits, Ordering ordering, Arena& arena,
                  std::vector<Value>& values);

/// Encodes a RecordId as the 8-byte big-endian key of a collection's table, and back.
std::string record_key(RecordId id);
RecordId record_id_of(std::string_view key);

}  // namespace tessera::bson
