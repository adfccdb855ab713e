// SPDX-License-Identifier: Apache-2.0
//
// "db.collection": the name of a collection or view.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera {

/// The longest namespace, in bytes (features of 4.4 and later).
inline constexpr std::size_t namespace_bytes_max = 255;
inline constexpr std::size_t database_name_bytes_max = 63;

struct Namespace {
    std::string db;
    std::string collection;

    auto operator<=>(const Namespace&) const = default;
    std::string to_string() const { return db + "." + collection; }
    /// "db.$cmd", which oplog entries of commands carry.
    std::string command_namespace() const { return db + ".$cmd"; }

    bool is_system() const { return collection.starts_with("system."); }
    bool is_oplog() const { return db == "local" && collection == "oplog.rs"; }
    /// Whether writes to it are kept out of the oplog: everything in `local`, and the profile.
    bool is_replicated() const { return db != "local" && collection != "system.profile"; }

    /// Splits at the first dot; the collection may be empty. Checks nothing.
    static Namespace split(std::string_view text) {
        const auto dot = text.find('.');
        if (dot == std::string_view::npos) return {std::string(text), {}};
        return {std::string(text.substr(0, dot)), std::string(text.substr(dot + 1))};
    }
};

/// Checks a database's name. Fails with InvalidNamespace.
Status check_database_name(std::string_view name);
/// Checks a whole namespace as a client may name it. Fails with InvalidNamespace.
Status check_namespace(const Namespace& name);

}  // namespace tessera
