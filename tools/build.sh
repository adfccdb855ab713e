#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures and builds a preset: tools/build.sh [PRESET [TARGET...]].  Without a terminal, or with
# CI=true, progress is a line every 20 seconds instead of a line a file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:-release}"
[ $# -eq 0 ] || shift
build="build/$preset"
log="$build/configure.log"
mkdir -p "$build"

failed() {
    printf 'make: %s\n  next step: %s\n' "$1" "$2" >&2
    exit 1
}

# A directory somebody else's cmake or compiler configured is started again.
if ! cmake --preset "$preset" >"$log" 2>&1 </dev/null; then
    rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"
    cmake --preset "$preset" >"$log" 2>&1 </dev/null || {
        tail -n 30 "$log" >&2
        failed "the build could not be configured" "read the lines above; make setup mends most"
    }
fi

targets=()
[ $# -eq 0 ] || targets=(--target "$@")
parallel=()
[ -z "${TESSERA_JOBS:-}" ] || parallel=(-j "$TESSERA_JOBS")
started=$SECONDS
echo "== building $preset (the first time takes minutes)"
if [ -t 1 ] && [ "${CI:-}" != true ]; then
    cmake --build "$build" "${parallel[@]}" "${targets[@]}" ||
        failed "the build failed" "mend what the lines above name, then: make build"
else
    # `last` is the newest progress line; everything ninja says goes to build.log.
    ( cmake --build "$build" "${parallel[@]}" "${targets[@]}" >"$build/build.log" 2>&1 ) &
    builder=$!
    trap 'kill "$builder" 2>/dev/null || true' INT TERM
    next=$((SECONDS + 20))
    while kill -0 "$builder" 2>/dev/null; do
        sleep 0.2
        if [ "$SECONDS" -ge "$next" ]; then
            grep -aoE '^\[[0-9]+/[0-9]+\] .*' "$build/build.log" | tail -n 1 | cut -c 1-100 || true
            next=$((SECONDS + 20))
        fi
    done
    wait "$builder" || {
        grep -aE -A 25 'FAILED:|error:' "$build/build.log" | head -n 120 >&2
        failed "the build failed (all of it: $build/build.log)" \
            "mend what the lines above name, then: make build"
    }
fi
echo "== built $preset in $((SECONDS - started)) s"
