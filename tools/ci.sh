#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The long check, in parts: tools/ci.sh [PART...], all of them without a word.
#   format   what clang-format would change: told, not demanded
#   debug    unit tests, and every header by itself
#   asan     AddressSanitizer and UBSan: unit tests, then real processes
#   tsan     ThreadSanitizer: unit tests of what has threads, then real processes
#   fuzz     FUZZ_SECONDS (60) of each fuzzer, or of those FUZZERS="text wire" names
#   release  make test
#   tidy     clang-tidy over everything, or over the modules TIDY="bson wire" names
# It stops at the first failure and says how to go on from there; what a part has built stays, and
# tidy does not read a file again that was clean and has not changed.  CONTRIBUTING.md says how
# long each takes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup/common.sh
parts=(format debug asan tsan fuzz release tidy)
fuzz_seconds="${FUZZ_SECONDS:-60}"

# unit PRESET [CTEST ARGUMENT...]
unit() {
    ctest --test-dir "build/$1" -j "$jobs" --output-on-failure "${@:2}"
}

# end_to_end PRESET FILE...: tests of real processes of a preset, six times as patient.  A process
# writes what its sanitizer finds to build/PRESET/reports; any file there is a failure.
end_to_end() {
    local preset="$1" bin="$PWD/build/$1/bin" python reports
    shift
    make setup-test
    python="$(tools/setup/clients.sh --where python)/bin/python"
    reports="$PWD/build/$preset/reports"
    rm -rf "$reports"
    mkdir -p "$reports"
    (cd tests && TESSERA_BIN="$bin" TESSERA_SLOWNESS=6 \
        TSAN_OPTIONS="${TSAN_OPTIONS:-} halt_on_error=0 exitcode=0 log_path=$reports/tsan" \
        ASAN_OPTIONS="log_path=$reports/asan" UBSAN_OPTIONS="print_stacktrace=1" \
        LSAN_OPTIONS="suppressions=$PWD/../tools/sanitizers/lsan.supp print_suppressions=0" \
        nice -n 10 "$python" -m pytest -q -o timeout=1200 "$@")
    [ -z "$(ls -A "$reports")" ] || die "a sanitizer found something in $reports" "mend it"
}

format() {
    git ls-files '*.cc' '*.h' | xargs -r clang-format --dry-run 2>&1 |
        grep -a 'warning: code should' | cut -d: -f1 | sort -u |
        sed 's/^/not as .clang-format says: /' || true
}

debug() {
    tools/build.sh debug
    tools/build.sh debug all_verify_interface_header_sets
    unit debug
}

asan() {
    tools/build.sh asan
    unit asan
    end_to_end asan test_standalone.py test_replica_set.py test_sharding.py test_drivers.py
}

tsan() {
    tools/build.sh tsan tessera async_test net_test storage_test server_test replication_test \
        catalog_test sharding_test commands_test
    export TSAN_OPTIONS="suppressions=$PWD/tools/sanitizers/tsan.supp"
    unit tsan -R '^(async|net|server|storage|replication|catalog|sharding|commands)\.'
    end_to_end tsan test_standalone.py test_replica_set.py test_replication.py test_sharding.py \
        test_sharding_chunks.py test_index_builds.py test_operations.py
}

# What a fuzzer learns goes to build/fuzz/corpus, what it finds to build/fuzz/found.
fuzz() {
    local name names corpus learned found
    read -ra names <<<"${FUZZERS:-$(cd fuzz && printf '%s ' *_fuzz.cc)}"
    names=("${names[@]%.cc}")
    names=("${names[@]%_fuzz}")
    tools/build.sh fuzz "${names[@]/%/_fuzz}"
    for name in "${names[@]}"; do
        corpus="$PWD/fuzz/corpus/$name" learned="$PWD/build/fuzz/corpus/$name"
        found="$PWD/build/fuzz/found/$name"
        mkdir -p "$learned" "$found"
        (cd "$found" && nice -n 10 "../../bin/${name}_fuzz" -max_total_time="$fuzz_seconds" \
            -rss_limit_mb=2048 -print_final_stats=1 "$learned" "$corpus") ||
            die "${name}_fuzz found something in $found" "add it to $corpus with the fix"
    done
}

release() {
    make test
}

tidy() {
    local targets=()
    read -ra targets <<<"${TIDY:-all}"
    tools/build.sh tidy "${targets[@]}"
}

left=("${@:-${parts[@]}}")
for part in "${left[@]}"; do
    [[ " ${parts[*]} " = *" $part "* ]] || die "$part is no part" "one of: ${parts[*]}"
done
trap '[ ${#left[@]} -eq 0 ] || echo "next step: mend it, then: tools/ci.sh ${left[*]}" >&2' EXIT
while [ ${#left[@]} -gt 0 ]; do
    say "${left[0]}"
    started=$SECONDS
    "${left[0]}"
    say "${left[0]}: clean, in $((SECONDS - started)) s"
    left=("${left[@]:1}")
done
