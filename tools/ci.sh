#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The long check: every preset, sanitizers, lint, header sets, a minute of each fuzzer.
# It stops at the first failure; what is not yet clean everywhere (tidy) comes last.
#
# Minutes on two cores (m: measured, with neighbours, so at most; e: estimated from CPU time):
# debug 15 e; asan 15 e, and 8 e of real processes; tsan 8 m to build, 1 m of unit tests, 7 m
# of processes; fuzz 15 e to build, 8 to run; release with `make test` 25 e; tidy 60 to 90 e, 10 to
# 20 s of CPU a file.  A warm compiler cache halves all but tidy, which has none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup/common.sh
fuzz_seconds="${FUZZ_SECONDS:-60}"

# end_to_end PRESET FILE...: tests of real processes of a preset, six times as patient.  A process
# writes what its sanitizer finds to build/PRESET/reports; any file there is a failure.
end_to_end() {
    local preset="$1" bin="$PWD/build/$1/bin" python reports
    shift
    python="$(tools/setup/clients.sh --where python)/bin/python"
    reports="$PWD/build/$preset/reports"
    rm -rf "$reports"
    mkdir -p "$reports"
    (cd tests && TESSERA_BIN="$bin" TESSERA_SLOWNESS=6 \
        TSAN_OPTIONS="${TSAN_OPTIONS:-} halt_on_error=0 exitcode=0 log_path=$reports/tsan" \
        ASAN_OPTIONS="log_path=$reports/asan" UBSAN_OPTIONS="print_stacktrace=1" \
        nice -n 10 "$python" -m pytest -q -o timeout=1200 "$@")
    [ -z "$(ls -A "$reports")" ] || die "a sanitizer found something in $reports" "mend it"
}

make setup-test

say "format (told, not demanded)"
git ls-files '*.cc' '*.h' | xargs -r clang-format --dry-run 2>&1 |
    grep -a 'warning: code should' | cut -d: -f1 | sort -u |
    sed 's/^/not as .clang-format says: /' || true

say "debug: unit tests, and every header by itself"
tools/build.sh debug
tools/build.sh debug all_verify_interface_header_sets
ctest --test-dir build/debug -j "$jobs" --output-on-failure

say "asan: unit tests, then real processes"
tools/build.sh asan
ctest --test-dir build/asan -j "$jobs" --output-on-failure
end_to_end asan test_standalone.py test_replica_set.py test_sharding.py test_drivers.py

say "tsan: unit tests of what has threads, then real processes"
tools/build.sh tsan tessera async_test net_test storage_test server_test replication_test
export TSAN_OPTIONS="suppressions=$PWD/tools/sanitizers/tsan.supp"
ctest --test-dir build/tsan -j "$jobs" --output-on-failure \
    -R '^(async|net|server|storage|replication)\.'
end_to_end tsan test_standalone.py test_replica_set.py test_replication.py test_sharding.py \
    test_sharding_chunks.py test_index_builds.py test_operations.py

say "fuzz"
mapfile -t fuzzers < <(cd fuzz && printf '%s\n' *_fuzz.cc)
tools/build.sh fuzz "${fuzzers[@]%.cc}"
for target in build/fuzz/bin/*_fuzz; do
    [ -x "$target" ] || continue
    corpus="${target##*/}"
    corpus="fuzz/corpus/${corpus%_fuzz}"
    found="build/fuzz/found/${target##*/}"
    mkdir -p "$found"
    [ -d "$corpus" ] || corpus=
    (cd "$found" && "../../../../$target" -max_total_time="$fuzz_seconds" -rss_limit_mb=2048 \
        -artifact_prefix="$PWD/" . ${corpus:+"../../../../$corpus"}) ||
        die "$target found something in $found" "add it to $corpus with the fix"
done

say "release: everything"
make test

say "tidy"
tools/build.sh tidy
