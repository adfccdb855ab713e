// SPDX-License-Identifier: Apache-2.0
//
// Read and write concern as commands state them.
#pragma once

#include <optional>
#include <string>

#include "base/optime.h"
#include "base/result.h"
#include "base/time.h"
#include "bson/builder.h"
#include "bson/view.h"
#include "consensus/write_concern.h"

namespace tessera::replication {

enum class Provenance { client_supplied, implicit_default, custom_default };

struct WriteConcern {
    consensus::WriteConcern concern;  // w and j.
    /// 0: no limit.
    Duration timeout{0};
    Provenance provenance = Provenance::implicit_default;

    bool is_unacknowledged() const {
        const auto* number = std::get_if<int>(&concern.w);
        return number != nullptr && *number == 0;
    }
    /// {w, j?, wtimeout, provenance}: what errInfo.writeConcern shows.
    bson::Document to_bson() const;
    /// Parses a command's writeConcern object. Fails with FailedToParse, BadValue or TypeMismatch.
    static Result<WriteConcern> parse(bson::View document);
};

enum class ReadLevel { local, available, majority, linearizable, snapshot };

struct ReadConcern {
    ReadLevel level = ReadLevel::local;
    Timestamp after_cluster_time;             // Null: none.
    std::optional<OpTime> after_optime;       // Internal: config servers' readers.
    Timestamp at_cluster_time;                // Null: none; snapshot only.
    Provenance provenance = Provenance::implicit_default;

    /// Fails with FailedToParse ("readConcern.level must be either ...") or InvalidOptions.
    static Result<ReadConcern> parse(bson::View document);
};
std::string_view to_string(ReadLevel level);

}  // namespace tessera::replication
