#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The long check: every preset, sanitizers, lint, header sets, a minute of each fuzzer.
# It stops at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup/common.sh
fuzz_seconds="${FUZZ_SECONDS:-60}"

make setup-test

say "format"
git ls-files '*.cc' '*.h' | xargs -r clang-format --dry-run --Werror

say "debug: unit tests, and every header by itself"
tools/build.sh debug
tools/build.sh debug all_verify_interface_header_sets
ctest --test-dir build/debug -j "$jobs" --output-on-failure

say "asan: unit tests"
tools/build.sh asan
ctest --test-dir build/asan -j "$jobs" --output-on-failure

say "tsan: unit tests of what has threads"
tools/build.sh tsan
ctest --test-dir build/tsan -j "$jobs" --output-on-failure -R '^(async|net|server|storage)\.'

say "tidy"
tools/build.sh tidy

say "fuzz"
tools/build.sh fuzz
for target in build/fuzz/bin/*_fuzz; do
    [ -x "$target" ] || continue
    corpus="${target##*/}"
    corpus="fuzz/corpus/${corpus%_fuzz}"
    found="build/fuzz/found/${target##*/}"
    mkdir -p "$found"
    [ -d "$corpus" ] || corpus=
    (cd "$found" && "../../../../$target" -max_total_time="$fuzz_seconds" -rss_limit_mb=2048 \
        -artifact_prefix="$PWD/" "$found" ${corpus:+"../../../../$corpus"}) ||
        die "$target found something in $found" "add it to $corpus with the fix"
done

say "release: everything"
make test
