// SPDX-License-Identifier: Apache-2.0
//
// profile: reads and sets the profiler's level and filter for a database, slowms and sampleRate for
// the process. A router keeps no profile: there the settings decide what is in its log.
#include "base/log.h"
#include "bson/json.h"
#include "commands/profile.h"
#include "commands/router.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

constexpr std::string_view filter_note =
    "When a filter expression is set, slowms and sampleRate are not used for profiling and "
    "slow-query log lines.";

struct Arguments {
    int level = -1;  // -1: as it was.
    std::optional<std::int64_t> slow_ms;
    std::optional<double> sample_rate;
    bool removes_filter = false;
    std::shared_ptr<const ProfileFilter> filter;  // Null: as it was.
};

Error wrong_type(const bson::Element& field, std::string_view wanted) {
    return {ErrorCode::type_mismatch,
            "BSON field 'profile." + std::string(field.name) + "' is the wrong type '" +
                std::string(bson::type_name(field.value.type())) + "', expected " +
                std::string(wanted)};
}

Status parse_option(const bson::Element& field, Arguments& args) {
    if (field.name == "slowms") {
        if (!field.value.is_number()) return wrong_type(field, "a number");
        args.slow_ms = field.value.to_int64();
    } else if (field.name == "sampleRate") {
        if (!field.value.is_number()) return wrong_type(field, "a number");
        args.sample_rate = field.value.to_double();
        if (!(*args.sample_rate >= 0.0 && *args.sample_rate <= 1.0))
            return Error(ErrorCode::bad_value,
                         "'sampleRate' must be between 0.0 and 1.0 inclusive");
    } else if (field.name == "filter") {
        const bool is_unset = field.value.is_string() && field.value.as_string() == "unset";
        if (!is_unset && !field.value.is_object())
            return wrong_type(field, "an object or the string \"unset\"");
        args.removes_filter = is_unset;
        if (is_unset) return {};
        TRY(args.filter, ProfileFilter::parse(field.value.as_view()));
    }
    return {};
}

Result<Arguments> parse(const Request& request) {
    TRY_OK(request.check_known_fields("profile", {"slowms", "sampleRate", "filter"}));
    Arguments args;
    const bson::Value level = request.body.front().value;
    if (!level.is_number()) return wrong_type(request.body.front(), "a number");
    if (!level.is_integral() || level.to_int64() < -1 || level.to_int64() > 2)
        return Error(ErrorCode::bad_value,
                     "the profile level is 0, 1 or 2, or -1 to read it, not " +
                         std::to_string(level.to_int64()));
    args.level = static_cast<int>(level.to_int64());
    bool is_first = true;
    for (const bson::Element& field : request.body)
        if (!std::exchange(is_first, false)) TRY_OK(parse_option(field, args));
    return args;
}

void append_settings(const Profiler& profiler, const ProfileSettings& settings,
                     std::string_view level, bson::Builder& out) {
    out.append(level, settings.level);
    append_count(out, "slowms", profiler.slow_ms.load());
    out.append("sampleRate", profiler.sample_rate.load());
    if (settings.filter) out.append("filter", settings.filter->expression);
}

bson::Document describe(const Profiler& profiler, std::string_view db) {
    bson::Builder out;
    append_settings(profiler, profiler.settings(db), "level", out);
    return std::move(out).finish();
}

void apply(Profiler& profiler, std::string_view db, const Arguments& args) {
    const bson::Document before = describe(profiler, db);
    ProfileSettings settings = profiler.settings(db);
    if (args.level >= 0) settings.level = args.level;
    if (args.removes_filter) settings.filter = nullptr;
    if (args.filter) settings.filter = args.filter;
    if (args.slow_ms) profiler.slow_ms = *args.slow_ms;
    if (args.sample_rate) profiler.sample_rate = *args.sample_rate;
    profiler.set(db, std::move(settings));
    const bson::Document after = describe(profiler, db);
    if (before.view() == after.view()) return;
    log::info(log::Component::command,
              48742,
              "Profiler settings changed",
              {{"from", log::Json{bson::to_json(before)}},
               {"to", log::Json{bson::to_json(after)}},
               {"db", db}});
}

Status run(Node& node, Member* member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY(const Arguments args, parse(request));
    TRY_OK(check_database_name(request.db));
    if (args.level > 0 && member == nullptr)
        return Error(ErrorCode::bad_value,
                     "a router has no profile: level 0 sets slowms, sampleRate and filter for its "
                     "log, -1 shows them; set other levels on the shards' members");
    const bool reads_only = args.level < 0 && !args.slow_ms && !args.sample_rate && !args.filter &&
                            !args.removes_filter;
    if (args.level > 0) TRY_OK(ensure_profile(*member, request.db));
    const ProfileSettings before = node.profiler.settings(request.db);
    append_settings(node.profiler, before, "was", invocation.reply);
    if (before.filter) invocation.reply.append("note", filter_note);
    if (!reads_only) apply(node.profiler, request.db, args);
    return {};
}

async::Task<Status> profile_on_member(Member& member, Invocation& invocation) {
    co_return run(member, &member, invocation);
}
async::Task<Status> profile_on_router(Router& router, Invocation& invocation) {
    co_return run(router, nullptr, invocation);
}

}  // namespace

const Command profile_command = {"profile",
                                 flags::any_state,
                                 profile_on_member,
                                 profile_on_router,
                                 Counted::command,
                                 "Reads and sets the profiler's level."};

}  // namespace tessera::commands
