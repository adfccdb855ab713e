// SPDX-License-Identifier: Apache-2.0
#include "commands/operation.h"

#include <algorithm>

namespace tessera::commands {

void ClientInfo::set_metadata(bson::View metadata, std::string_view app_name) {
    const std::lock_guard lock(mutex_);
    if (!metadata_.is_empty()) return;
    metadata_ = bson::Document(metadata);
    app_name_ = app_name;
}

bson::Document ClientInfo::metadata() const {
    const std::lock_guard lock(mutex_);
    return metadata_;
}

std::string ClientInfo::app_name() const {
    const std::lock_guard lock(mutex_);
    return app_name_;
}

void Operation::kill(ErrorCode code) {
    std::int32_t none = 0;
    kill_code_.compare_exchange_strong(none, static_cast<std::int32_t>(code));
    cancellation.cancel();
}

Status Operation::check(const async::Clock& clock) const {
    if (const std::int32_t code = kill_code_.load(std::memory_order_relaxed); code != 0)
        return Error(static_cast<ErrorCode>(code), "operation was interrupted");
    if (deadline != Instant::max() && clock.now() >= deadline)
        return Error(ErrorCode::max_time_ms_expired, "operation exceeded time limit");
    return {};
}

WallTime Operation::started_wall(const async::Clock& clock) const {
    const auto ago = std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - started);
    return WallTime{clock.wall_now().milliseconds - ago.count()};
}

Operation::Description Operation::describe() const {
    Description result = subject_->describe();
    result.plan_summary = plan_summary_;
    result.progress = progress_;
    return result;
}

std::shared_ptr<Operation> OperationRegistry::begin(std::shared_ptr<ClientInfo> client,
                                                    const Operation::Subject& subject) {
    const std::int64_t id = next_id_.fetch_add(1, std::memory_order_relaxed);
    auto operation = std::make_shared<Operation>(id, std::move(client), clock_.now());
    operation->subject_ = &subject;
    const std::lock_guard lock(mutex_);
    operation->place_ = operations_.insert(operations_.end(), operation);
    if (operation->client->has_gone) operation->kill(ErrorCode::client_disconnect);
    return operation;
}

void OperationRegistry::kill_of(ClientInfo& client) {
    const std::lock_guard lock(mutex_);
    client.has_gone = true;
    for (const auto& each : operations_)
        if (each->client.get() == &client) each->kill(ErrorCode::client_disconnect);
}

void OperationRegistry::end(const Operation& operation) {
    const std::lock_guard lock(mutex_);
    operations_.erase(operation.place_);
}

void OperationRegistry::set_plan_summary(Operation& operation, std::string summary) {
    const std::lock_guard lock(mutex_);
    operation.plan_summary_ = std::move(summary);
}

std::string OperationRegistry::plan_summary(const Operation& operation) const {
    const std::lock_guard lock(mutex_);
    return operation.plan_summary_;
}

void OperationRegistry::set_progress(Operation& operation, Operation::Progress progress) {
    const std::lock_guard lock(mutex_);
    operation.progress_ = std::move(progress);
}

void OperationRegistry::add_client(const std::shared_ptr<ClientInfo>& client) {
    constexpr std::size_t slack = 64;
    const std::lock_guard lock(mutex_);
    if (clients_.size() >= 2 * clients_swept_ + slack) {
        std::erase_if(clients_, [](const auto& each) { return each.expired(); });
        clients_swept_ = clients_.size();
    }
    clients_.push_back(client);
}

std::vector<std::shared_ptr<ClientInfo>> OperationRegistry::clients() const {
    std::vector<std::shared_ptr<ClientInfo>> open;
    const std::lock_guard lock(mutex_);
    for (const auto& each : clients_)
        if (auto client = each.lock()) open.push_back(std::move(client));
    return open;
}

bool OperationRegistry::kill(std::int64_t id, ErrorCode code) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(operations_.begin(), operations_.end(),
                                    [&](const auto& each) { return each->id == id; });
    if (found == operations_.end()) return false;
    (*found)->kill(code);
    return true;
}

void OperationRegistry::kill_all(
    ErrorCode code,
    const std::function<bool(const Operation&, const Operation::Description&)>& choose) {
    const std::lock_guard lock(mutex_);
    for (const auto& each : operations_)
        if (choose(*each, each->describe())) each->kill(code);
}

void OperationRegistry::for_each(
    const std::function<void(const Operation&, const Operation::Description&)>& visit) const {
    const std::lock_guard lock(mutex_);
    for (const auto& each : operations_) visit(*each, each->describe());
}

}  // namespace tessera::commands
