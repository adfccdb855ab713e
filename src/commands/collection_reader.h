// SPDX-License-Identifier: Apache-2.0
//
// Reads one collection of this member in slices: a slice holds the collection's lock and a storage
// transaction and never suspends; between slices both are let go and the plan's position is kept.
#pragma once

#include <memory>
#include <optional>

#include "commands/node.h"
#include "commands/placement.h"
#include "query/plan/executor.h"

namespace tessera::commands {

/// Asks the operation whether to go on.
class OperationInterrupt : public query::InterruptCheck {
public:
    explicit OperationInterrupt(const async::Clock& clock) : clock_(clock) {}
    /// Null: nothing to ask (between requests).
    void set_operation(Operation* operation) { operation_ = operation; }
    Operation* operation() const { return operation_; }
    Status check() override {
        return operation_ != nullptr ? operation_->check(clock_) : Status();
    }

private:
    const async::Clock& clock_;
    Operation* operation_ = nullptr;
};

class CollectionReader {
public:
    /// A namespace without a collection reads as empty. `read_at`: null for the latest data.
    CollectionReader(Member& member, Namespace ns, query::ReadRequest request, Placement placement,
                     Timestamp read_at);

    /// Runs `body(executor)` within a slice; its Result is passed on. Fails with QueryPlanKilled
    /// when the collection was dropped, renamed or changed by DDL since the slice before.
    template <class Body>
    auto slice(const Body& body) -> decltype(body(std::declval<query::Executor&>())) {
        catalog::CollectionLock lock;
        std::unique_ptr<storage::Transaction> transaction;
        TRY_OK(begin(lock, transaction));
        auto result = body(*executor_);
        note_work();
        executor_->save_state();
        return result;
    }

    /// Whether the next slice may take long: a scan or a sort of more than a few documents.
    bool is_long() const;
    bool has_collection() const { return collection_ != nullptr; }
    const catalog::Collection* collection() const { return collection_.get(); }
    const query::ReadRequest& request() const { return executor_->request(); }
    /// Whose interruption ends a slice, and whose stats a slice's work is added to.
    void set_operation(Operation* operation) { interrupt_.set_operation(operation); }
    std::string plan_summary() const {
        return is_started_ ? executor_->plan_summary() : std::string();
    }

private:
    Status begin(catalog::CollectionLock& lock, std::unique_ptr<storage::Transaction>& transaction);
    void note_work();

    Member& member_;
    const Namespace ns_;
    const Placement placement_;
    const Timestamp read_at_;
    OperationInterrupt interrupt_;
    std::shared_ptr<catalog::Collection> collection_;  // Also owned by the catalog until DDL.
    std::unique_ptr<query::Executor> executor_;
    bool is_started_ = false;
    std::uint64_t keys_noted_ = 0;
    std::uint64_t docs_noted_ = 0;
};

}  // namespace tessera::commands
