// SPDX-License-Identifier: Apache-2.0
//
// A command as a client sent it, with the arguments every command may have already taken apart.
// Views into the message's bytes, which live as long as the command runs.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/name_table.h"
#include "base/namespace.h"
#include "base/result.h"
#include "bson/view.h"
#include "replication/oplog_entry.h"
#include "replication/read_write_concern.h"
#include "replication/replication.h"
#include "wire/request.h"

namespace tessera::commands {

/// Where reads may go ($readPreference).
struct ReadPreference {
    enum class Mode { primary, primary_preferred, secondary, secondary_preferred, nearest };
    Mode mode = Mode::primary;
    std::vector<bson::View> tag_sets;
    Duration staleness_max{0};
    static Result<ReadPreference> parse(bson::View document);
    bool allows_secondary() const { return mode != Mode::primary; }
};

/// lsid, txnNumber and what goes with them.
struct SessionArguments {
    replication::SessionId id;
    std::optional<std::int64_t> txn_number;
    bool is_transaction = false;  // autocommit: false.
    bool starts_transaction = false;
};

class Request {
public:
    /// Takes the generic arguments apart. Fails with the protocol's codes: 40571 without $db,
    /// InvalidNamespace, TypeMismatch, ... `message` must outlive the request.
    static Result<Request> parse(const wire::Request& message);

    std::string_view name;                 // The command's: the first field.
    bson::View body;
    std::string_view db;
    const std::vector<wire::Sequence>* sequences = nullptr;

    std::optional<replication::WriteConcern> write_concern;
    std::optional<replication::ReadConcern> read_concern;
    std::optional<SessionArguments> session;
    ReadPreference read_preference;
    Duration time_max{0};                  // maxTimeMS; 0: none.
    Timestamp cluster_time;                // $clusterTime.clusterTime; null: none.
    bson::View shard_version;              // Empty: none given.
    bson::View database_version;           // Empty: none given.
    std::string_view comment_text;
    bool is_internal = false;              // From a member of the cluster; set by the dispatcher.

    /// The collection the command's first field names. Fails with BadValue ("collection name has
    /// invalid type int") or InvalidNamespace.
    Result<Namespace> collection() const;
    /// The documents of the sequence of that name, or else of the body's array. Fails with 40414
    /// when neither is there, TypeMismatch when it is no array of objects.
    Result<std::vector<bson::View>> documents(std::string_view argument) const;
    /// Fails with 40415 for a field that is neither generic nor in `known`: nothing is ignored.
    /// `struct_name` is what the message calls the command ("FindCommandRequest").
    Status check_known_fields(std::string_view struct_name,
                              std::initializer_list<std::string_view> known) const;
};
/// The same for one field that the command itself does not know.
Status check_generic_field(std::string_view struct_name, std::string_view name);

/// A field of a command's body and where its value goes.
template <class Fields>
struct Argument {
    std::string_view name;
    bson::Value Fields::*value;
};

/// For commands with many arguments, most of them missing.
template <class Fields, std::size_t count>
class ArgumentTable {
public:
    constexpr explicit ArgumentTable(const Argument<Fields> (&arguments)[count])
        : arguments_(std::to_array(arguments)), names_(names_of(arguments_)) {}

    /// check_known_fields() and every value in one walk of the body. No field is there twice
    /// (wire::parse_command_line).
    Result<Fields> read(const Request& request, std::string_view struct_name) const {
        Fields fields;
        auto element = request.body.begin();  // It names the command.
        for (++element; element != request.body.end(); ++element) {
            const std::size_t at = names_.find(element->name);
            if (at == names_.none)
                TRY_OK(check_generic_field(struct_name, element->name));
            else
                fields.*(arguments_[at].value) = element->value;
        }
        return fields;
    }

private:
    static constexpr std::array<std::string_view, count> names_of(
        const std::array<Argument<Fields>, count>& arguments) {
        std::array<std::string_view, count> names;
        std::transform(arguments.begin(), arguments.end(), names.begin(), [](const auto& argument) {
            return argument.name;
        });
        return names;
    }

    std::array<Argument<Fields>, count> arguments_;
    NameTable<count> names_;
};

/// Typed access to an argument's value, with the protocol's errors; the default when it is absent.
/// "BSON field 'find.limit' is the wrong type 'string', expected types '[long, int, ...]'" (14).
Result<std::int64_t> integer_value(const bson::Value& value, std::string_view name,
                                   std::int64_t otherwise, std::string_view struct_name);
/// As above and >= 0: "BSON field 'limit' value must be >= 0, actual value '-1'" (51024).
Result<std::int64_t> count_value(const bson::Value& value, std::string_view name,
                                 std::int64_t otherwise, std::string_view struct_name);
Result<bool> bool_value(const bson::Value& value, std::string_view name, bool otherwise,
                        std::string_view struct_name);
Result<bson::View> object_value(const bson::Value& value, std::string_view name,
                                std::string_view struct_name);
Result<std::string_view> string_value(const bson::Value& value, std::string_view name,
                                      std::string_view otherwise, std::string_view struct_name);

// The same by name.
inline Result<std::int64_t> integer_argument(bson::View body,
                                             std::string_view name,
                                             std::int64_t otherwise,
                                             std::string_view struct_name) {
    return integer_value(body[name], name, otherwise, struct_name);
}
inline Result<std::int64_t> count_argument(bson::View body,
                                           std::string_view name,
                                           std::int64_t otherwise,
                                           std::string_view struct_name) {
    return count_value(body[name], name, otherwise, struct_name);
}
inline Result<bool> bool_argument(bson::View body,
                                  std::string_view name,
                                  bool otherwise,
                                  std::string_view struct_name) {
    return bool_value(body[name], name, otherwise, struct_name);
}
inline Result<bson::View> object_argument(bson::View body,
                                          std::string_view name,
                                          std::string_view struct_name) {
    return object_value(body[name], name, struct_name);
}
inline Result<std::string_view> string_argument(bson::View body,
                                                std::string_view name,
                                                std::string_view otherwise,
                                                std::string_view struct_name) {
    return string_value(body[name], name, otherwise, struct_name);
}

}  // namespace tessera::commands
