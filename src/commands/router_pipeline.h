// SPDX-License-Identifier: Apache-2.0
//
// Pipelines on a router: their sources are cursors on shards, the part that cannot run there runs
// here, on a worker thread, and what stages need (other collections, writes) goes through the
// router again. A pipeline that one shard can run alone goes there as a whole.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "commands/router_aggregation.h"
#include "commands/router_cursor.h"
#include "query/expression/expression.h"
#include "query/pipeline/pipeline.h"
#include "query/pipeline/services.h"
#include "wire/request.h"

namespace tessera::commands {

/// What a pipeline keeps of the command that began it, for the calls it makes then and at getMore.
class PipelineCall {
public:
    /// Keeps the client's session, read concern, read preference and the like.
    static Result<std::unique_ptr<PipelineCall>> make(Invocation& invocation);

    Invocation& invocation() { return *invocation_; }
    const Request& request() const { return *request_; }
    /// A getMore brings its own operation.
    void set_operation(std::shared_ptr<Operation> operation) {
        invocation_->operation = std::move(operation);
    }

private:
    PipelineCall() = default;
    bson::Document body_;
    wire::Request message_;
    std::optional<Request> request_;
    bson::Builder scratch_;
    std::optional<Invocation> invocation_;
};

class RouterPipelineServices : public query::PipelineServices {
public:
    RouterPipelineServices(Router& router,
                           std::unique_ptr<PipelineCall> call,
                           query::ExpressionContext expressions)
        : router_(router), call_(std::move(call)), expressions_(std::move(expressions)) {}

    /// Opens a pipeline on whatever shards it concerns. `nesting` is 0 for a command's own.
    /// `writes` is set to whether it ends in $out or $merge: it must then be pulled to its end.
    Result<std::unique_ptr<query::DocumentCursor>> open_aggregation(RouterAggregation aggregation,
                                                                    const bson::Document& let,
                                                                    int nesting,
                                                                    bool& writes);

    Result<std::unique_ptr<query::DocumentCursor>> open(const query::PipelineNamespace& ns,
                                                        const std::vector<bson::Document>& stages,
                                                        bson::View let) override;
    Result<std::unique_ptr<query::DocumentCursor>> open_source(const query::PipelineNamespace& ns,
                                                               std::string_view stage,
                                                               const bson::Value& spec) override;
    Result<std::unique_ptr<query::OutputWriter>> open_out(
        const query::PipelineNamespace& target) override;
    Result<std::vector<std::int64_t>> merge(const query::PipelineNamespace& target,
                                            const std::vector<query::MergeWrite>& writes) override;
    Result<std::vector<std::string>> merge_key(const query::PipelineNamespace& target) override;
    Result<bool> has_unique_index(const query::PipelineNamespace& target,
                                  const std::vector<std::string>& fields) override;
    Status check_interrupt() override {
        return call_->invocation().operation->check(router_.clock);
    }

    PipelineCall& call() { return *call_; }
    Router& router() { return router_; }
    /// Blocks a worker for what is known of a namespace.
    Result<routing::RoutingInfo> routing_of(const Namespace& ns);
    /// Blocks for a command to one shard.
    Result<bson::Document> call_one(const routing::ShardName& shard,
                                    bson::Document command,
                                    bool is_retryable);

private:
    using Cursor = Result<std::unique_ptr<query::DocumentCursor>>;
    struct Plan;
    Result<bool> may_pass_whole(const query::Pipeline& pipeline,
                                const routing::RoutingInfo& info,
                                const routing::ShardTarget& target,
                                const Namespace& source);
    Result<bool> has_views(const std::vector<Namespace>& names, const routing::ShardName& shard);
    Cursor open_at(const RouterAggregation& aggregation,
                   const bson::Document& let,
                   int nesting,
                   const routing::RoutingInfo& info,
                   bool& writes);
    Cursor open_on_shard(const RouterAggregation& aggregation,
                         const bson::Document& let,
                         const routing::ShardTarget& target,
                         bool writes);
    Cursor open_split(const RouterAggregation& aggregation,
                      const bson::Document& let,
                      const query::Pipeline& pipeline,
                      query::PipelineContext context,
                      const std::vector<routing::ShardTarget>& targets);
    struct ShardPart {
        const Namespace& source;
        const std::vector<bson::Document>& stages;
        bool needs_merge = false;  // The router runs the rest.
        bool takes_hint = false;
    };
    bson::Document shard_command(const ShardPart& part,
                                 const bson::Document& let,
                                 const routing::ShardTarget& target);
    Result<std::vector<bson::Document>> documents_of(
        const Namespace& ns,
        std::string_view stage,
        const bson::Value& spec,
        const std::vector<routing::ShardTarget>& targets);
    Result<std::vector<bson::Document>> current_operations_of_cluster(const bson::Value& spec);
    Result<std::vector<bson::Document>> data_distribution();
    Result<std::vector<bson::Document>> cluster_catalog(const query::PipelineNamespace& ns);
    Result<std::vector<bson::Document>> find_config(std::string_view collection);
    Result<std::int64_t> write_once(const Namespace& ns, const query::MergeWrite& write);

    Router& router_;
    std::unique_ptr<PipelineCall> call_;
    const query::ExpressionContext expressions_;
};

}  // namespace tessera::commands
