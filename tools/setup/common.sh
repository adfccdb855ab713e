# SPDX-License-Identifier: Apache-2.0
# What every script in tools/setup shares: where the cache is, how a directory appears in it all at
# once or not at all, and how a message looks.  Sourced, never run.

cache="${TESSERA_CACHE:-$HOME/.cache/tessera}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
jobs="${TESSERA_JOBS:-$(nproc)}"

say() { printf '== %s\n' "$*"; }

# die MESSAGE NEXT_STEP
die() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    [ $# -lt 2 ] || printf '  next step: %s\n' "$2" >&2
    exit 1
}

# stamp FILE...: sixteen digits that change when one of the files does.
stamp() { cat "$@" | sha256sum | cut -c 1-16; }

# run_logged LOG COMMAND...: runs quietly; on failure shows the end of the log.
run_logged() {
    local log="$1"
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        return 1
    fi
}

# build_once NAME FUNCTION: makes $cache/NAME by running FUNCTION DIR TARGET on a fresh directory
# DIR beside it and renaming that to TARGET when it is complete.  Two at once: one waits.
build_once() {
    local target="$cache/$1" function="$2"
    mkdir -p "$cache"
    exec 9>"$cache/.$1.lock"
    flock 9
    if [ ! -d "$target" ]; then
        work="$(mktemp -d "$cache/.$1.XXXXXX")"
        trap 'rm -rf "$work"' EXIT
        "$function" "$work" "$target"
        chmod 755 "$work"
        mv -T "$work" "$target"
        trap - EXIT
    fi
    exec 9>&-
    rm -f "$cache/.$1.lock"
}

# fresh_python DIR: a virtual environment at DIR made by the system's own python3.
fresh_python() {
    local python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" -m venv "$1" || die "python3 cannot make a virtual environment" \
        "make setup (it installs python3-venv)"
}
