// SPDX-License-Identifier: Apache-2.0
#include "launcher/clusters.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include "launcher/files.h"
#include "launcher/tags.h"

namespace tessera::launcher {
namespace {

bool is_good_name(std::string_view name) {
    if (name.empty() || name.size() > 60 || name.front() == '-' || name.front() == '.')
        return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    });
}

bool has_cluster(const std::string& directory) {
    return ::access((directory + "/cluster.json").c_str(), F_OK) == 0;
}

// The folder itself, where `path` is a link to it.
std::string resolved(const std::string& path) {
    std::error_code failure;
    const auto real = std::filesystem::weakly_canonical(path, failure);
    return failure ? path : real.string();
}

Error nothing_there(const std::string& where) {
    std::string text = fmt::format("there is no cluster {}. Next step: tessera up", where);
    const auto known = known_clusters();
    if (!known.empty()) {
        text += "; there are:";
        for (const Place& place : known)
            text += fmt::format(" {} ({})", place.name, short_path(place.directory));
    }
    return {ErrorCode::no_such_key, std::move(text)};
}

}  // namespace

Result<Place> place_for_up(const Arguments& arguments) {
    Place place;
    const bool has_word = !arguments.words.empty();
    if (arguments.words.size() > 1 || (has_word && !arguments.name.empty()))
        return Error(ErrorCode::bad_value,
                     fmt::format("one name is enough: '{}'", arguments.words.back()));
    const std::string given = has_word ? arguments.words[0] : arguments.name;
    if (!given.empty() && !is_good_name(given))
        return Error(
            ErrorCode::bad_value,
            fmt::format("'{}' cannot be a cluster's name: letters, digits, - and _", given));
    place.name = given.empty() ? std::string(default_name) : given;
    const std::string home = clusters_home() + "/" + place.name;
    if (arguments.directory.empty()) {
        place.directory = resolved(home);
        return place;
    }
    place.directory = resolved(arguments.directory);
    if (!given.empty() && has_cluster(home) && resolved(home) != place.directory)
        return Error(ErrorCode::no_such_key,
                     fmt::format("a cluster named {} is already in {}. Next step: choose another "
                                 "name, or tessera destroy {}",
                                 given,
                                 short_path(resolved(home)),
                                 given));
    return place;
}

Status register_name(const Place& place) {
    const std::string home = clusters_home();
    const std::string link = home + "/" + place.name;
    if (link == place.directory || resolved(link) == place.directory) return ok();
    TRY_OK(make_directories(home));
    if (::unlink(link.c_str()) != 0 && errno != ENOENT && errno != EISDIR)
        return Error(ErrorCode::internal_error,
                     fmt::format("cannot replace {}: {}", link, std::strerror(errno)));
    if (::symlink(place.directory.c_str(), link.c_str()) != 0)
        return Error(ErrorCode::internal_error,
                     fmt::format("cannot make {}: {}", link, std::strerror(errno)));
    return ok();
}

void unregister_name(const Place& place) {
    const std::string link = clusters_home() + "/" + place.name;
    std::error_code failure;
    if (!std::filesystem::is_symlink(link, failure)) return;
    if (std::filesystem::read_symlink(link, failure) == place.directory) ::unlink(link.c_str());
}

std::vector<Place> known_clusters() {
    std::vector<Place> places;
    const std::string home = clusters_home();
    DIR* const directory = ::opendir(home.c_str());
    if (directory == nullptr) return places;
    while (const dirent* const entry = ::readdir(directory)) {
        const std::string path = home + "/" + entry->d_name;
        if (entry->d_name[0] != '.' && has_cluster(path))
            places.push_back({entry->d_name, resolved(path)});
    }
    ::closedir(directory);
    std::sort(places.begin(), places.end(), [](const Place& one, const Place& two) {
        return one.name < two.name;
    });
    return places;
}

Result<Topology> find_cluster(Arguments& arguments) {
    if (!arguments.directory.empty()) {
        const std::string directory = resolved(arguments.directory);
        if (!has_cluster(directory)) return nothing_there("in " + short_path(directory));
        TRY(auto topology, load_topology(directory));
        if (!arguments.words.empty() && arguments.words[0] == topology.name &&
            !is_tag(topology, topology.name))
            arguments.words.erase(arguments.words.begin());
        return topology;
    }
    const auto known = known_clusters();
    const auto by_name = [&](std::string_view name) {
        return std::find_if(
            known.begin(), known.end(), [&](const Place& place) { return place.name == name; });
    };
    if (!arguments.name.empty()) {
        const auto found = by_name(arguments.name);
        if (found == known.end()) return nothing_there("named " + arguments.name);
        return load_topology(found->directory);
    }
    if (!arguments.words.empty()) {
        const auto found = by_name(arguments.words[0]);
        if (found != known.end()) {
            arguments.words.erase(arguments.words.begin());
            return load_topology(found->directory);
        }
    }
    auto found = by_name(default_name);
    if (found == known.end() && known.size() == 1) found = known.begin();
    if (found != known.end()) return load_topology(found->directory);
    if (known.empty()) return nothing_there("yet");
    return nothing_there(fmt::format("named {}", default_name));
}

}  // namespace tessera::launcher
