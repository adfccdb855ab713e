// SPDX-License-Identifier: Apache-2.0
//
// The load of the benchmarks: libmongoc over several connections at once, so that what is measured
// is the server's work a request, and little of it the kernel's putting an idle machine to sleep
// and waking it between any two requests of one slow client.
//
//     load URI OPERATION REQUESTS CONNECTIONS SEED
//
// Prints nothing and returns 0 when every request was answered rightly; bench/operations.py counts
// the server's CPU meanwhile. The collection is bench.documents, filled by bench/operations.py.
#include <mongoc/mongoc.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::int32_t documents = 10'000;  // As bench/operations.py fills them in.
constexpr std::size_t text_bytes = 964;
constexpr std::size_t bulk_documents = 1000;
constexpr std::int32_t range = 100;

struct Connection {
    mongoc_client_t* client;
    mongoc_collection_t* collection;
    std::mt19937 random;
    std::string text = std::string(text_bytes, 'x');

    std::int32_t pick(std::int32_t end) {
        return std::uniform_int_distribution<std::int32_t>(0, end - 1)(random);
    }
};

using Operation = bool (*)(Connection&);

bool complain(const bson_error_t& error) {
    std::fprintf(stderr, "load: %s\n", error.message);
    return false;
}

/// Reads a query to its end; whether it gave `expected` documents.
bool read_all(Connection& connection, const bson_t& filter, const bson_t* options,
              std::int32_t expected) {
    mongoc_cursor_t* const cursor =
        mongoc_collection_find_with_opts(connection.collection, &filter, options, nullptr);
    const bson_t* document = nullptr;
    std::int32_t count = 0;
    while (mongoc_cursor_next(cursor, &document)) ++count;
    bson_error_t error{};
    const bool has_failed = mongoc_cursor_error(cursor, &error);
    mongoc_cursor_destroy(cursor);
    if (has_failed) return complain(error);
    return count == expected;
}

bool find_by_id(Connection& connection) {
    bson_t* const filter = BCON_NEW("_id", BCON_INT32(connection.pick(documents)));
    bson_t* const options = BCON_NEW("limit", BCON_INT64(1), "singleBatch", BCON_BOOL(true));
    const bool is_right = read_all(connection, *filter, options, 1);
    bson_destroy(filter);
    bson_destroy(options);
    return is_right;
}

bool find_range(Connection& connection) {
    const std::int32_t low = connection.pick(documents - range);
    bson_t* const filter = BCON_NEW("n", "{", "$gte", BCON_INT32(low), "$lt",
                                    BCON_INT32(low + range), "}");
    const bool is_right = read_all(connection, *filter, nullptr, range);
    bson_destroy(filter);
    return is_right;
}

bool insert_one(Connection& connection) {
    bson_t* const document = BCON_NEW("n", BCON_INT32(connection.pick(documents)), "text",
                                      BCON_UTF8(connection.text.c_str()));
    bson_error_t error{};
    mongoc_collection_t* const into =
        mongoc_client_get_collection(connection.client, "bench", "inserted");
    const bool is_done = mongoc_collection_insert_one(into, document, nullptr, nullptr, &error);
    mongoc_collection_destroy(into);
    bson_destroy(document);
    return is_done || complain(error);
}

bool update_by_id(Connection& connection) {
    bson_t* const filter = BCON_NEW("_id", BCON_INT32(connection.pick(documents)));
    bson_t* const change = BCON_NEW("$inc", "{", "count", BCON_INT32(1), "}");
    bson_error_t error{};
    const bool is_done = mongoc_collection_update_one(connection.collection, filter, change,
                                                      nullptr, nullptr, &error);
    bson_destroy(filter);
    bson_destroy(change);
    return is_done || complain(error);
}

bool insert_bulk(Connection& connection) {
    bson_t* const document = BCON_NEW("n", BCON_INT32(connection.pick(documents)), "text",
                                      BCON_UTF8(connection.text.c_str()));
    const bson_t* all[bulk_documents];
    std::fill(std::begin(all), std::end(all), document);
    bson_error_t error{};
    mongoc_collection_t* const into =
        mongoc_client_get_collection(connection.client, "bench", "bulk");
    const bool is_done =
        mongoc_collection_insert_many(into, all, bulk_documents, nullptr, nullptr, &error);
    mongoc_collection_destroy(into);
    bson_destroy(document);
    return is_done || complain(error);
}

bool scan(Connection& connection) {
    bson_t* const filter = BCON_NEW("text", BCON_UTF8("no such text"));
    const bool is_right = read_all(connection, *filter, nullptr, 0);
    bson_destroy(filter);
    return is_right;
}

struct Named {
    std::string_view name;
    Operation run;
};
constexpr Named operations[] = {{"find_by_id", find_by_id},     {"find_range", find_range},
                                {"insert_one", insert_one},     {"update_by_id", update_by_id},
                                {"insert_bulk", insert_bulk},   {"scan", scan}};

int number(std::string_view text) {
    int result = 0;
    std::from_chars(text.data(), text.data() + text.size(), result);
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "load URI OPERATION REQUESTS CONNECTIONS SEED\n");
        return 2;
    }
    const auto* const named = std::find_if(std::begin(operations), std::end(operations),
                                           [&](const Named& each) { return each.name == argv[2]; });
    if (named == std::end(operations)) {
        std::fprintf(stderr, "load: no operation '%s'\n", argv[2]);
        return 2;
    }
    mongoc_init();
    std::atomic<int> left = number(argv[3]);
    std::atomic<bool> is_right = true;
    const int connections = number(argv[4]);
    std::vector<std::thread> threads;
    for (int i = 0; i < connections; ++i) {
        threads.emplace_back([&, i] {
            Connection connection{mongoc_client_new(argv[1]), nullptr, {}};
            connection.random.seed(static_cast<unsigned>(number(argv[5]) * 1000 + i));
            connection.collection =
                mongoc_client_get_collection(connection.client, "bench", "documents");
            while (is_right && left.fetch_sub(1) > 0) {
                if (!named->run(connection)) is_right = false;
            }
            mongoc_collection_destroy(connection.collection);
            mongoc_client_destroy(connection.client);
        });
    }
    for (std::thread& thread : threads) thread.join();
    mongoc_cleanup();
    return is_right ? 0 : 1;
}
