// SPDX-License-Identifier: Apache-2.0
//
// What aggregate does alike on a member and on a router: what its arguments must be, and how a
// pipeline's documents become a cursor's batches.
#pragma once

#include <vector>

#include "commands/cursor_commands.h"
#include "query/pipeline/pipeline.h"

namespace tessera::commands {

struct AggregateArguments {
    Namespace ns;  // As the client named it; "$cmd.aggregate" for a whole database.
    bool is_of_database = false;
    std::vector<bson::Document> stages;
    FirstBatch first;
    bool is_explain = false;
};
/// Checks everything but the names of the fields.
Result<AggregateArguments> parse_aggregate_arguments(const Request& request);

/// Hands the documents of query::Batches on to cursor batches.
class DocumentBatches {
public:
    /// As CursorSource::fill(); `next` gives the next query::Batch. Suspends nowhere.
    template <class Next>
    Result<bool> fill(BatchWriter& batch, const Operation& operation, async::Clock& clock,
                      Next&& next) {
        while (true) {
            while (next_ < current_.size()) {
                const bson::View document = current_[next_];
                if (!batch.has_room(document.size())) return false;
                batch.append(document);
                ++next_;
            }
            if (current_.is_last) return true;
            if (batch.is_full()) return false;
            TRY_OK(operation.check(clock));
            TRY(current_, next());
            next_ = 0;
        }
    }

private:
    query::Batch current_;
    std::size_t next_ = 0;
};

}  // namespace tessera::commands
