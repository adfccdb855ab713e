// SPDX-License-Identifier: Apache-2.0
//
// A collection's options as create and collMod give them, checked and compiled.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/namespace.h"
#include "base/result.h"
#include "bson/view.h"
#include "query/match/filter.h"

namespace tessera::catalog {

enum class ValidationLevel : std::uint8_t { off, moderate, strict };
enum class ValidationAction : std::uint8_t { error, warn };

/// The options the code asks about, and the whole document beside them.
struct CollectionOptions {
    bson::Document document;  // As given to create, without the name: what listCollections shows.
    bool is_capped = false;
    std::int64_t capped_bytes_max = 0;
    std::int64_t capped_documents_max = 0;  // 0: none.
    bool has_id_index = true;
    bool has_pre_images = false;  // changeStreamPreAndPostImages.enabled
    std::shared_ptr<const query::Filter>
        validator;  // Null: none. Shared by states of a collection.
    ValidationLevel validation_level = ValidationLevel::strict;
    ValidationAction validation_action = ValidationAction::error;
};

/// Checks create's fields (those of the collection, not the command's generic ones) and compiles
/// them. The document is normalized: booleans and sizes in their types. Refuses what is unknown
/// (40415), wrong (72, 2) or not supported (238 NotImplemented: time series, clustered,
/// encryption).
Result<CollectionOptions> parse_collection_options(const Namespace& ns, bson::View options);

/// Whether two create commands ask for the same collection: then create does nothing, as MongoDB
/// does.
bool are_same_options(const CollectionOptions& one, const CollectionOptions& two);

/// Checks a document against the validator. `before`: the document an update replaces.
/// Fails with DocumentValidationFailure (121) and errInfo; only logs when the action is "warn".
Status check_document(const CollectionOptions& options,
                      const Namespace& ns,
                      bson::View document,
                      const bson::View* before);

}  // namespace tessera::catalog
