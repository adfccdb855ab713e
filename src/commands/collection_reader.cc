// SPDX-License-Identifier: Apache-2.0
#include "commands/collection_reader.h"

namespace tessera::commands {
namespace {
// A scan or sort of a collection larger than this does not start on a network thread.
constexpr std::int64_t inline_scan_max = 256;
}  // namespace

CollectionReader::CollectionReader(Member& member,
                                   Namespace ns,
                                   query::ReadRequest request,
                                   Placement placement,
                                   Timestamp read_at)
    : member_(member),
      ns_(std::move(ns)),
      placement_(std::move(placement)),
      read_at_(read_at),
      interrupt_(member.clock),
      collection_(member.catalog->find(ns_)) {
    request.ownership = placement_.filter.get();
    request.read_at = read_at;
    executor_ = collection_ ? std::make_unique<query::Executor>(collection_->source(),
                                                                std::move(request), &interrupt_)
                            : std::make_unique<query::Executor>(ns_, std::move(request));
}

Status CollectionReader::begin(catalog::CollectionLock& lock,
                               std::unique_ptr<storage::Transaction>& transaction) {
    lock = member_.catalog->lock_shared(ns_);
    if (collection_ && (!lock || !collection_->may_be_read_beside(*lock))) {
        const bool is_same = lock && lock->uuid() == collection_->uuid();
        return Error(ErrorCode::query_plan_killed,
                     is_same ? "the collection's indexes changed while the query was running"
                             : "collection dropped or renamed while the query was running");
    }
    storage::TransactionOptions options;
    options.read_at = read_at_;
    TRY(transaction, member_.engine->begin(options));
    if (placement_.fence) TRY_OK(placement_.fence->check(*transaction, is_started_));
    if (is_started_) return executor_->restore_state(*transaction);
    TRY_OK(executor_->start(*transaction));
    is_started_ = true;
    return {};
}

void CollectionReader::note_work() {
    const std::uint64_t keys = executor_->keys_examined();
    const std::uint64_t docs = executor_->docs_examined();
    if (Operation* const operation = interrupt_.operation(); operation != nullptr) {
        operation->stats.examined(keys - keys_noted_, docs - docs_noted_);
        operation->stats.has_sort_stage |= executor_->has_sort_stage();
    }
    keys_noted_ = keys;
    docs_noted_ = docs;
}

bool CollectionReader::is_long() const {
    if (!collection_ || is_started_ || collection_->count() <= inline_scan_max) return false;
    const query::ReadRequest& request = executor_->request();
    if (request.filter.exact_id()) return false;
    const bool may_use_index = !request.filter.is_empty() && collection_->indexes().size() > 1;
    return !may_use_index || !request.sort.is_empty();
}

}  // namespace tessera::commands
