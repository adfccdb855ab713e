// SPDX-License-Identifier: Apache-2.0
#include "base/namespace.h"

namespace tessera {

Status check_database_name(std::string_view name) {
    if (name.empty() || name.size() > database_name_bytes_max ||
        name.find_first_of(std::string_view("/\\. \"$\0", 7)) != std::string_view::npos)
        return Error(ErrorCode::invalid_namespace,
                     "Invalid database name: '" + std::string(name) + "'");
    return {};
}

Status check_namespace(const Namespace& name) {
    if (!check_database_name(name.db))
        return Error(ErrorCode::invalid_namespace,
                     "Invalid target namespace: " + name.to_string());
    const std::string& collection = name.collection;
    const bool has_dollar =
        collection.find('$') != std::string::npos && !collection.starts_with("$cmd");
    if (collection.empty() || collection.front() == '.' || has_dollar ||
        collection.find('\0') != std::string::npos)
        return Error(ErrorCode::invalid_namespace,
                     "Invalid namespace specified '" + name.to_string() + "'");
    if (name.db.size() + 1 + collection.size() > namespace_bytes_max)
        return Error(ErrorCode::invalid_namespace,
                     "Fully qualified namespace is too long. Namespace: " + name.to_string() +
                         " Max: " + std::to_string(namespace_bytes_max));
    return {};
}

}  // namespace tessera
