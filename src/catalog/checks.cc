// SPDX-License-Identifier: Apache-2.0
//
// Looking at all of a collection: dbHash. Validation has a file of its own.
#include <openssl/evp.h>

#include "catalog/catalog.h"
#include "catalog/index.h"
#include "query/plan/collection_source.h"

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
        if (collection->ns().collection == "system.profile") continue;  // Each member's own.
        TRY(auto md5, hash_collection(*collection, *transaction));
        all.add(md5);
        result.collections.emplace_back(collection->ns().collection, std::move(md5));
    }
    result.md5 = all.hex();
    return result;
}

}  // namespace tessera::catalog
