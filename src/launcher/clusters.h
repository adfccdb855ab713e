// SPDX-License-Identifier: Apache-2.0
//
// Which cluster a command line means: --dir, else a name in the clusters' home, else the only one.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "launcher/arguments.h"
#include "launcher/topology.h"

namespace tessera::launcher {

struct Place {
    std::string name;
    std::string directory;
};

inline constexpr std::string_view default_name = "local";

/// Where `up` is to make, or finds, its cluster. Fails with BadValue for a name that cannot be a
/// folder's, and when the name belongs to a cluster elsewhere.
Result<Place> place_for_up(const Arguments& arguments);
/// Lets a cluster with a name of its own in a folder of its own be found by its name.
Status register_name(const Place& place);
/// Forgets it, where `place` is what it stands for.
void unregister_name(const Place& place);

/// The cluster the other verbs mean; a first word that is its name is taken from `arguments`. Fails
/// with NoSuchKey, listing what there is.
Result<Topology> find_cluster(Arguments& arguments);
std::vector<Place> known_clusters();

}  // namespace tessera::launcher
