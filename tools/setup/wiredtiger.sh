#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds WiredTiger 11.3.1, static, into the cache, from its source distribution on PyPI.
#
#   tools/setup/wiredtiger.sh          builds when it is not there yet
#   tools/setup/wiredtiger.sh --where  prints the directory of include/ and lib/
#
# One edit is made to the source (docs/decisions/0001): at start-up the library measures its clock
# with 3 x 100 million empty loops, 0.6 s of CPU in each process; a hundredth of them is enough.
# A copy of the source distribution already at hand is taken from $TESSERA_WIREDTIGER_SOURCE.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=11.3.1
sha256=95052d1b6fc06921dd617aafa1ba2a773d8dbbbf2eb74f77147290a630e598d0
archive="wiredtiger-$version.tar.gz"

fetch() {
    local work="$1"
    if [ -n "${TESSERA_WIREDTIGER_SOURCE:-}" ]; then
        cp "$TESSERA_WIREDTIGER_SOURCE" "$work/$archive"
    else
        fresh_python "$work/venv"
        run_logged "$work/pip.log" "$work/venv/bin/pip" --disable-pip-version-check download \
            --no-deps --no-binary :all: --dest "$work" "wiredtiger==$version" ||
            die "the source distribution of wiredtiger $version could not be fetched from PyPI" \
                "check the network, then: make setup; or set TESSERA_WIREDTIGER_SOURCE=<$archive>"
    fi
    echo "$sha256  $work/$archive" | sha256sum --check --status ||
        die "$archive has not the checksum it should have: $(sha256sum <"$work/$archive")" \
            "remove it and run: make setup"
}

# The edit, checked: exactly one line changes.
shorten_clock_calibration() {
    local file="$1/src/support/global.c" loop='for (i = 0; i < 100 \* WT_MILLION; i++)'
    [ "$(grep -c "$loop" "$file")" = 1 ] ||
        die "src/support/global.c is not what it was: nothing to edit" "see docs/decisions/0001"
    sed -i "s/$loop/for (i = 0; i < WT_MILLION; i++)/" "$file"
}

build() {
    local work="$1" source="$1/source" out="$1/build"
    fetch "$work"
    mkdir "$source"
    tar -xzf "$work/$archive" -C "$source" --strip-components=1
    shorten_clock_calibration "$source"
    run_logged "$work/configure.log" cmake -S "$source" -B "$out" -G Ninja \
        -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++ \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -g1" \
        -DCC_OPTIMIZE_LEVEL=-O2 -DHAVE_DIAGNOSTIC=OFF -DENABLE_DEBUG_INFO=OFF \
        -DENABLE_STATIC=ON -DENABLE_SHARED=OFF -DWITH_PIC=ON -DENABLE_STRICT=OFF \
        -DENABLE_PYTHON=OFF -DENABLE_CPPSUITE=OFF -DENABLE_MODEL=OFF -DENABLE_TCMALLOC=OFF \
        -DENABLE_COLORIZE_OUTPUT=OFF -DENABLE_LZ4=OFF \
        -DENABLE_ZLIB=OFF -DENABLE_SNAPPY=OFF -DENABLE_ZSTD=OFF \
        -DHAVE_BUILTIN_EXTENSION_ZLIB=1 -DHAVE_BUILTIN_EXTENSION_SNAPPY=1 \
        -DHAVE_BUILTIN_EXTENSION_ZSTD=1 ||
        die "WiredTiger could not be configured" "make setup (it installs what is missing)"
    run_logged "$work/build.log" cmake --build "$out" --target wiredtiger_static -j "$jobs" ||
        die "WiredTiger could not be built" "read the lines above"
    mkdir "$work/include" "$work/lib"
    cp "$out/include/wiredtiger.h" "$source/src/include/wiredtiger_ext.h" "$work/include/"
    cp "$(find "$out" -name libwiredtiger.a)" "$work/lib/"
    cp "$source/LICENSE" "$work/LICENSE"
    rm -rf "$source" "$out" "$work/venv" "$work/$archive" "$work"/*.log
}

# What decides the result names it.
name="wiredtiger-$version-$(
    printf '%s' "$sha256$(declare -f shorten_clock_calibration build)" | stamp -
)"
if [ "${1:-}" = --where ]; then
    echo "$cache/$name"
    exit 0
fi
if [ ! -d "$cache/$name" ]; then
    say "WiredTiger $version: building (once, about two minutes)"
    build_once "$name" build
fi
say "WiredTiger $version: $cache/$name"
