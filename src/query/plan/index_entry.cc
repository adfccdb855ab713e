// SPDX-License-Identifier: Apache-2.0
#include "query/plan/collection_source.h"

namespace tessera::query {

IndexEntry IndexEntry::read(EntryFormat format, std::string_view key, std::string_view value) {
    IndexEntry entry;
    if (format == EntryFormat::id_in_key) {
        entry.fields = key.substr(0, bson::fields_length(key));
        entry.id = bson::record_id_at_end(key);
    } else {
        entry.fields = key;
        entry.id = bson::take_record_id(value);
    }
    entry.type_bits = value;
    return entry;
}

}  // namespace tessera::query
