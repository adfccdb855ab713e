// SPDX-License-Identifier: Apache-2.0
#include "commands/profiler.h"

#include <algorithm>

#include "bson/json.h"

namespace tessera::commands {

Result<std::shared_ptr<const ProfileFilter>> ProfileFilter::parse(bson::View expression) {
    auto filter = std::make_shared<ProfileFilter>();
    filter->expression = bson::Document(expression);
    filter->expressions = std::make_unique<query::AggregationCompiler>(query::ExpressionContext());
    query::FilterOptions options;
    options.expressions = filter->expressions.get();
    TRY(filter->compiled, query::Filter::parse(filter->expression.view(), options));
    return std::shared_ptr<const ProfileFilter>(std::move(filter));
}

Status Profiler::set_defaults(const ProfileDefaults& defaults) {
    slow_ms = defaults.slow_ms;
    sample_rate = defaults.sample_rate;
    ProfileSettings settings;
    settings.level = defaults.level;
    if (!defaults.filter.empty()) {
        const auto refuse = [](const Error& error) {
            return Error(ErrorCode::bad_value,
                         "operationProfiling.filter is no match expression: " + error.reason());
        };
        const auto document = bson::from_json(defaults.filter);
        if (!document) return refuse(document.error());
        auto filter = ProfileFilter::parse(*document);
        if (!filter) return refuse(filter.error());
        settings.filter = std::move(*filter);
    }
    const std::lock_guard lock(mutex_);
    defaults_ = std::move(settings);
    look_again();
    return {};
}

ProfileSettings Profiler::settings(std::string_view db) const {
    const std::lock_guard lock(mutex_);
    const auto found = databases_.find(db);
    return found == databases_.end() ? defaults_ : found->second;
}

void Profiler::set(std::string_view db, ProfileSettings settings) {
    const std::lock_guard lock(mutex_);
    databases_.insert_or_assign(std::string(db), std::move(settings));
    look_again();
}

void Profiler::forget(std::string_view db) {
    const std::lock_guard lock(mutex_);
    if (const auto found = databases_.find(db); found != databases_.end()) databases_.erase(found);
    look_again();
}

void Profiler::look_again() {
    const auto watches = [](const ProfileSettings& settings) {
        return settings.level > 0 || settings.filter != nullptr;
    };
    is_watching_ = watches(defaults_) ||
                   std::any_of(databases_.begin(), databases_.end(), [&](const auto& each) {
                       return watches(each.second);
                   });
}

Profiler::Verdict Profiler::verdict(std::string_view db,
                                    Duration taken,
                                    double draw,
                                    const std::function<bson::View()>& document) const {
    const ProfileSettings settings = this->settings(db);
    bool is_chosen = is_slow(taken) && draw < sample_rate.load(std::memory_order_relaxed);
    if (settings.filter) {
        query::MatchContext context;
        const auto matches = settings.filter->compiled.matches(document(), context);
        is_chosen = matches && *matches;
    }
    return {settings.level == 2 || (settings.level == 1 && is_chosen), is_chosen};
}

}  // namespace tessera::commands
