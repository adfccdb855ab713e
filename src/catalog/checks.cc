// SPDX-License-Identifier: Apache-2.0
//
// Looking at all of a collection: validate and dbHash.
#include <map>
#include <set>

#include <openssl/evp.h>

#include "bson/json.h"
#include "bson/validate.h"
#include "catalog/catalog.h"
#include "catalog/limits.h"
#include "catalog/stored_collection.h"

namespace tessera::catalog {
namespace {

class Md5 {
public:
    Md5() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_, EVP_md5(), nullptr); }
    ~Md5() { EVP_MD_CTX_free(context_); }
    Md5(const Md5&) = delete;
    Md5& operator=(const Md5&) = delete;
    void add(std::string_view bytes) { EVP_DigestUpdate(context_, bytes.data(), bytes.size()); }
    std::string hex() {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int size = 0;
        EVP_DigestFinal_ex(context_, digest, &size);
        std::string result;
        for (unsigned int i = 0; i < size; ++i) {
            result += "0123456789abcdef"[digest[i] >> 4];
            result += "0123456789abcdef"[digest[i] & 15];
        }
        return result;
    }

private:
    EVP_MD_CTX* context_;
};

Result<std::string> hash_collection(Collection& collection, storage::Transaction& transaction) {
    Md5 md5;
    storage::Table& records = *collection.record_table();
    const bool has_id = !collection.indexes().empty() && collection.indexes()[0]->name() == "_id_";
    storage::Table& order = has_id ? *collection.indexes()[0]->info().table : records;
    const auto cursor = transaction.open_cursor(order);
    while (true) {
        TRY(const bool is_there, cursor->next());
        if (!is_there) break;
        if (!has_id) {
            md5.add(cursor->value());
            continue;
        }
        std::string_view entry = cursor->value();
        const std::string record = bson::record_key(bson::take_record_id(entry));
        TRY(const auto document, transaction.get(records, record));
        if (document) md5.add(*document);
    }
    return md5.hex();
}

// One validation: what the records say the indexes must hold, against what they hold.
class Validation {
public:
    Validation(StoredCollection& collection, storage::Transaction& transaction)
        : collection_(collection), transaction_(transaction) {}

    Result<ValidationReport> run() {
        TRY_OK(records());
        for (const auto& index : collection_.stored_indexes())
            TRY_OK(entries(*index));
        return std::move(report_);
    }

    std::int64_t bytes() const { return bytes_; }

private:
    void fault(std::string text) {
        if (report_.errors.size() < limits::validation_faults_max) {
            report_.errors.push_back(std::move(text));
        }
    }

    // Every record is a document, and every key of it has its entry.
    Status records() {
        const auto& indexes = collection_.stored_indexes();
        expected_.assign(indexes.size(), 0);
        query::KeySet keys;
        const auto cursor = transaction_.open_cursor(*collection_.record_table());
        while (true) {
            TRY(const bool is_there, cursor->next());
            if (!is_there) return ok();
            ++report_.records;
            bytes_ += static_cast<std::int64_t>(cursor->value().size());
            const bson::RecordId id = bson::record_id_of(cursor->key());
            if (cursor->key().size() != 8 || !bson::validate(cursor->value())) {
                ++report_.invalid_documents;
                fault("record " + std::to_string(id.value) + " is no valid document");
                continue;
            }
            const bson::View document(cursor->value().data());
            for (std::size_t i = 0; i < indexes.size(); ++i) {
                if (const Status status = indexes[i]->keys_of(document, keys); !status) {
                    fault("index " + indexes[i]->name() + ": " + status.error().reason());
                    continue;
                }
                expected_[i] += static_cast<std::int64_t>(keys.keys.size());
                TRY_OK(has_entries(*indexes[i], keys, id));
            }
        }
    }

    Status has_entries(const StoredIndex& index, const query::KeySet& keys, bson::RecordId id) {
        const query::IndexInfo& info = index.info();
        const query::MultikeyPaths known = index.multikey_paths();
        for (std::size_t i = 0; i < known.size() && i < keys.multikey.size(); ++i) {
            if ((keys.multikey[i] & ~known[i]) == 0) continue;
            fault("index " + index.name() + " is not known to be multikey, but record " +
                  std::to_string(id.value) + " needs it");
        }
        for (const auto& key : keys.keys) {
            TRY(const auto value, transaction_.get(*info.table, index.entry_key(key, id)));
            const bool is_right = value && *value == index.entry_value(key, id);
            if (!is_right) {
                fault("missing entry in index " + index.name() + " for record " +
                      std::to_string(id.value));
            }
        }
        return ok();
    }

    // There are as many entries as keys: with each key's entry there, no entry is too many.
    Status entries(const StoredIndex& index) {
        std::int64_t count = 0;
        const auto cursor = transaction_.open_cursor(*index.info().table);
        while (true) {
            TRY(const bool is_there, cursor->next());
            if (!is_there) break;
            ++count;
        }
        const std::size_t at = report_.keys_per_index.size();
        report_.keys_per_index.emplace_back(index.name(), count);
        if (count != expected_[at]) {
            fault("index " + index.name() + " has " + std::to_string(count) +
                  " entries, but its "
                  "documents have " +
                  std::to_string(expected_[at]) + " keys");
        }
        return ok();
    }

    StoredCollection& collection_;
    storage::Transaction& transaction_;
    ValidationReport report_;
    std::vector<std::int64_t> expected_;
    std::int64_t bytes_ = 0;
};

}  // namespace

Result<DatabaseHash> hash_database(Catalog& catalog,
                                   storage::Engine& engine,
                                   std::string_view db,
                                   Timestamp read_at) {
    DatabaseHash result;
    Md5 all;
    storage::TransactionOptions options;
    options.read_at = read_at;
    TRY(const auto transaction, engine.begin(options));
    for (const auto& collection : catalog.collections(db)) {
        TRY(auto md5, hash_collection(*collection, *transaction));
        all.add(md5);
        result.collections.emplace_back(collection->ns().collection, std::move(md5));
    }
    result.md5 = all.hex();
    return result;
}

Result<ValidationReport> validate_collection(Collection& base, storage::Engine& engine) {
    auto& collection = static_cast<StoredCollection&>(base);
    TRY(const auto transaction, engine.begin());
    const std::int64_t count_before = collection.count();
    Validation validation(collection, *transaction);
    TRY(auto report, validation.run());
    // Counts drift after a crash; under the exclusive lock this is the truth, and if somebody
    // writes meanwhile his difference is kept.
    const auto& tally = collection.tally();
    if (report.records != count_before) {
        report.warnings.push_back("the count was " + std::to_string(count_before) +
                                  ", corrected to " + std::to_string(report.records));
        tally->count += report.records - count_before;
        tally->bytes = validation.bytes();
    }
    return report;
}

}  // namespace tessera::catalog
