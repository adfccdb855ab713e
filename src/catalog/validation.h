// SPDX-License-Identifier: Apache-2.0
//
// validate with its options: looks at all of a collection, and mends what is derived from its
// documents (index entries, multikey paths, counts). A record that is no document is taken away,
// since nothing can read it. Documents themselves are never changed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "catalog/catalog.h"

namespace tessera::catalog {

struct ValidationOptions {
    bool repairs = false;         // Entries, records and multikey paths.
    bool fixes_multikey = false;  // Multikey paths alone.
    bool verifies_files = false;  // full: the engine checks the tables' structure too.
    bool only_metadata = false;   // The index specifications, nothing else.
};

struct IndexValidation {
    std::string name;
    std::int64_t keys = 0;
    bool is_valid = true;
};

/// An index entry that is missing or too many.
struct IndexEntryFault {
    std::string index;
    bson::RecordId record;
    bson::Document id;  // {_id: ...} of the record's document; empty when there is none.
};

struct Validation {
    std::int64_t records = 0;
    std::int64_t invalid_documents = 0;
    std::vector<IndexValidation> indexes;
    std::vector<std::string> errors;    // What is wrong and was not mended.
    std::vector<std::string> warnings;  // Among them what was mended.
    std::vector<IndexEntryFault> missing_entries;  // At most limits::validation_faults_max each.
    std::vector<IndexEntryFault> extra_entries;
    std::vector<bson::RecordId> corrupt_records;
    bool is_repaired = false;
};

/// Requires: the collection's exclusive lock. The count is always corrected, with a warning.
Result<Validation> validate_collection(Collection& collection,
                                       storage::Engine& engine,
                                       const ValidationOptions& options);

}  // namespace tessera::catalog
