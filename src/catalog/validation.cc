// SPDX-License-Identifier: Apache-2.0
//
// Records first: every key of theirs must have its entry. Then, where an index has more entries
// than its documents have keys, each entry is held against its document. What is to be mended is
// gathered and written in transactions of a bounded size, beside the one that reads.
#include "catalog/validation.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "bson/validate.h"
#include "catalog/index_spec.h"
#include "catalog/limits.h"
#include "catalog/stored_collection.h"

namespace tessera::catalog {
namespace {

// Changes written in one transaction.
constexpr std::size_t repair_batch = 1000;

class Validator {
public:
    Validator(StoredCollection& collection,
              storage::Engine& engine,
              storage::Transaction& transaction,
              const ValidationOptions& options)
        : collection_(collection),
          engine_(engine),
          transaction_(transaction),
          options_(options) {}

    Result<Validation> run() {
        const auto& indexes = collection_.stored_indexes();
        work_.resize(indexes.size());
        for (const auto& index : indexes) report_.indexes.push_back({index->name(), 0, true});
        TRY_OK(records());
        for (std::size_t i = 0; i < indexes.size(); ++i) TRY_OK(entries(i));
        TRY_OK(flush());
        tell_of_repairs();
        return std::move(report_);
    }

    std::int64_t bytes() const { return bytes_; }

private:
    struct Work {  // Of an index.
        std::int64_t expected = 0;
        std::int64_t inserted = 0;
        std::int64_t removed = 0;
        std::int64_t missing = 0;
        bool has_widened = false;
    };
    struct Change {
        storage::Table* table = nullptr;
        std::string key;
        std::optional<std::string> value;  // Null: removed.
    };

    void fault(std::string text, std::optional<std::size_t> index = std::nullopt) {
        if (index) report_.indexes[*index].is_valid = false;
        if (report_.errors.size() < limits::validation_faults_max)
            report_.errors.push_back(std::move(text));
    }

    Status change(storage::Table& table, std::string key, std::optional<std::string> value) {
        changes_.push_back({&table, std::move(key), std::move(value)});
        report_.is_repaired = true;
        return changes_.size() < repair_batch ? ok() : flush();
    }

    Status flush() {
        if (changes_.empty()) return ok();
        TRY(const auto transaction, engine_.begin());
        for (const Change& each : changes_) {
            if (each.value) {
                TRY_OK(transaction->put(*each.table, each.key, *each.value));
            } else {
                TRY([[maybe_unused]] const bool was_there,
                    transaction->remove(*each.table, each.key));
            }
        }
        changes_.clear();
        return transaction->commit();
    }

    Status records() {
        const auto cursor = transaction_.open_cursor(*collection_.record_table());
        while (true) {
            TRY(const bool is_there, cursor->next());
            if (!is_there) return ok();
            if (cursor->key().size() != 8 || !bson::validate(cursor->value())) {
                TRY_OK(corrupt_record(cursor->key()));
                continue;
            }
            ++report_.records;
            bytes_ += static_cast<std::int64_t>(cursor->value().size());
            TRY_OK(record(bson::record_id_of(cursor->key()), bson::View(cursor->value().data())));
        }
    }

    Status corrupt_record(std::string_view key) {
        const bson::RecordId id = key.size() == 8 ? bson::record_id_of(key) : bson::RecordId();
        ++report_.invalid_documents;
        if (report_.corrupt_records.size() < limits::validation_faults_max)
            report_.corrupt_records.push_back(id);
        if (!options_.repairs) {
            ++report_.records;
            fault("record " + std::to_string(id.value) + " is no valid document");
            return ok();
        }
        report_.warnings.push_back("record " + std::to_string(id.value) +
                                   " was no valid document, and was removed");
        return change(*collection_.record_table(), std::string(key), std::nullopt);
    }

    Status record(bson::RecordId id, bson::View document) {
        const auto& indexes = collection_.stored_indexes();
        for (std::size_t i = 0; i < indexes.size(); ++i) {
            if (const Status status = indexes[i]->keys_of(document, keys_); !status) {
                fault("index " + indexes[i]->name() + ": " + status.error().reason(), i);
                continue;
            }
            work_[i].expected += static_cast<std::int64_t>(keys_.keys.size());
            TRY_OK(check_multikey(i, id));
            for (const auto& key : keys_.keys) TRY_OK(check_entry(i, key, id, document));
        }
        return ok();
    }

    Status check_multikey(std::size_t at, bson::RecordId id) {
        const StoredIndex& index = *collection_.stored_indexes()[at];
        const query::MultikeyPaths known = index.multikey_paths();
        bool is_known = true;
        for (std::size_t i = 0; i < known.size() && i < keys_.multikey.size(); ++i)
            is_known = is_known && (keys_.multikey[i] & ~known[i]) == 0;
        if (is_known) return ok();
        if (!options_.repairs && !options_.fixes_multikey) {
            fault("index " + index.name() + " is not known to be multikey, but record " +
                      std::to_string(id.value) + " needs it",
                  at);
            return ok();
        }
        report_.is_repaired = true;
        work_[at].has_widened = true;
        return index.parts().multikey->add(engine_, keys_.multikey);
    }

    void note_missing(std::size_t at, bson::RecordId id, bson::View document) {
        ++work_[at].missing;
        if (report_.missing_entries.size() >= limits::validation_faults_max) return;
        report_.missing_entries.push_back({collection_.stored_indexes()[at]->name(), id,
                                           bson::make("_id", document["_id"])});
    }

    Status check_entry(std::size_t at,
                       const query::KeySet::Key& key,
                       bson::RecordId id,
                       bson::View document) {
        const StoredIndex& index = *collection_.stored_indexes()[at];
        const std::string entry = index.entry_key(key, id);
        const std::string right = index.entry_value(key, id);
        TRY(const auto value, transaction_.get(*index.info().table, entry));
        if (value && *value == right) return ok();
        note_missing(at, id, document);
        const bool is_taken = value && index.info().format == query::EntryFormat::id_in_value &&
                              query::IndexEntry::read(index.info().format, entry, *value).id != id;
        bool holds = false;
        if (is_taken) {
            TRY(holds, holds_key(index, entry, *value));
        }
        const bool is_id = index.info().format == query::EntryFormat::id_in_value;
        const bool is_duplicate =
            is_id ? holds : !index.check_duplicates(transaction_, keys_, id).has_value();
        if (!options_.repairs || is_duplicate) {
            fault((is_duplicate ? "duplicate key in index " : "missing entry in index ") +
                      index.name() + " for record " + std::to_string(id.value),
                  at);
            return ok();
        }
        ++work_[at].inserted;
        if (value) replaced_.emplace(at, entry);
        return change(*index.info().table, entry, right);
    }

    // Whether the entry's record has the entry's key.
    Result<bool> holds_key(const StoredIndex& index, std::string_view key, std::string_view value) {
        const auto entry = query::IndexEntry::read(index.info().format, key, value);
        const std::string record = bson::record_key(entry.id);
        TRY(const auto bytes, transaction_.get(*collection_.record_table(), record));
        if (!bytes || !bson::validate(*bytes)) return false;
        query::KeySet keys;
        if (!index.keys_of(bson::View(bytes->data()), keys)) return false;
        return std::ranges::any_of(keys.keys, [&](const auto& each) {
            return index.entry_key(each, entry.id) == key &&
                   index.entry_value(each, entry.id) == value;
        });
    }

    Status entries(std::size_t at) {
        const StoredIndex& index = *collection_.stored_indexes()[at];
        Work& work = work_[at];
        const std::int64_t present = work.expected - work.missing;
        TRY(std::int64_t count, count_entries(index));
        if (count > present) TRY_OK(look_for_extra(at));
        count += work.inserted - work.removed;
        report_.indexes[at].keys = count;
        if (count != work.expected && report_.indexes[at].is_valid)
            fault("index " + index.name() + " has " + std::to_string(count) +
                      " entries, but its documents have " + std::to_string(work.expected) +
                      " keys",
                  at);
        return ok();
    }

    Result<std::int64_t> count_entries(const StoredIndex& index) {
        std::int64_t count = 0;
        const auto cursor = transaction_.open_cursor(*index.info().table);
        while (true) {
            TRY(const bool is_there, cursor->next());
            if (!is_there) return count;
            ++count;
        }
    }

    Status look_for_extra(std::size_t at) {
        const StoredIndex& index = *collection_.stored_indexes()[at];
        const auto cursor = transaction_.open_cursor(*index.info().table);
        while (true) {
            TRY(const bool is_there, cursor->next());
            if (!is_there) return ok();
            const std::string key(cursor->key());
            const std::string value(cursor->value());
            TRY(const bool is_right, holds_key(index, key, value));
            if (is_right) continue;
            const auto entry = query::IndexEntry::read(index.info().format, key, value);
            if (report_.extra_entries.size() < limits::validation_faults_max)
                report_.extra_entries.push_back({index.name(), entry.id, {}});
            if (!options_.repairs) {
                fault("entry too many in index " + index.name() + " for record " +
                          std::to_string(entry.id.value),
                      at);
                continue;
            }
            // One that was replaced by the right one counts as inserted alone.
            ++work_[at].removed;
            if (!replaced_.contains({at, key}))
                TRY_OK(change(*index.info().table, key, std::nullopt));
        }
    }

    void tell_of_repairs() {
        const auto& indexes = collection_.stored_indexes();
        for (std::size_t i = 0; i < indexes.size(); ++i) {
            const Work& work = work_[i];
            const auto tell = [&](const std::string& what) {
                report_.warnings.push_back("index " + indexes[i]->name() + ": " + what);
            };
            if (work.inserted > 0)
                tell("inserted " + std::to_string(work.inserted) + " missing entries");
            if (work.removed > 0)
                tell("removed " + std::to_string(work.removed) + " entries too many");
            if (work.has_widened) tell("is now known to be multikey where it is");
        }
    }

    StoredCollection& collection_;
    storage::Engine& engine_;
    storage::Transaction& transaction_;
    const ValidationOptions options_;
    Validation report_;
    std::vector<Work> work_;
    std::vector<Change> changes_;
    std::set<std::pair<std::size_t, std::string>> replaced_;  // By index: entries overwritten.
    query::KeySet keys_;
    std::int64_t bytes_ = 0;
};

Validation check_metadata(const StoredCollection& collection) {
    Validation report;
    for (const auto& index : collection.stored_indexes()) {
        const auto checked = normalize_index_spec(collection.ns(), index->spec());
        const bool is_valid = checked.has_value() || index->info().is_id();
        report.indexes.push_back({index->name(), 0, is_valid});
        if (!is_valid)
            report.errors.push_back("index " + index->name() + ": " + checked.error().reason());
    }
    return report;
}

Status verify_files(StoredCollection& collection, storage::Engine& engine, Validation& report) {
    const auto verify = [&](storage::Table& table, const std::string& name, bool& is_valid) {
        const auto faults = engine.verify(table);
        if (!faults) {
            report.warnings.push_back(name + " could not be verified: " +
                                      faults.error().reason());
            return;
        }
        for (const std::string& each : *faults) report.errors.push_back(name + ": " + each);
        is_valid = is_valid && faults->empty();
    };
    bool are_records_valid = true;
    verify(*collection.record_table(), "the collection's table", are_records_valid);
    const auto& indexes = collection.stored_indexes();
    for (std::size_t i = 0; i < indexes.size(); ++i)
        verify(*indexes[i]->info().table, "the table of index " + indexes[i]->name(),
               report.indexes[i].is_valid);
    return ok();
}

}  // namespace

Result<Validation> validate_collection(Collection& base,
                                       storage::Engine& engine,
                                       const ValidationOptions& options) {
    auto& collection = static_cast<StoredCollection&>(base);
    if (options.only_metadata) return check_metadata(collection);
    const std::int64_t count_before = collection.count();
    std::optional<Validation> report;
    std::int64_t bytes = 0;
    {
        TRY(const auto transaction, engine.begin());
        Validator validator(collection, engine, *transaction, options);
        TRY(report, validator.run());
        bytes = validator.bytes();
    }
    // Counts drift after a crash; under the exclusive lock this is the truth.
    const auto& tally = collection.tally();
    if (report->records != count_before) {
        report->warnings.push_back("the count was " + std::to_string(count_before) +
                                   ", corrected to " + std::to_string(report->records));
        tally->count += report->records - count_before;
        tally->bytes = bytes;
        report->is_repaired |= options.repairs;
    }
    if (options.verifies_files) TRY_OK(verify_files(collection, engine, *report));
    return std::move(*report);
}

Result<ValidationReport> validate_collection(Collection& collection, storage::Engine& engine) {
    TRY(Validation validation, validate_collection(collection, engine, ValidationOptions()));
    ValidationReport report;
    report.records = validation.records;
    report.invalid_documents = validation.invalid_documents;
    for (const IndexValidation& index : validation.indexes)
        report.keys_per_index.emplace_back(index.name, index.keys);
    report.errors = std::move(validation.errors);
    report.warnings = std::move(validation.warnings);
    return report;
}

}  // namespace tessera::catalog
