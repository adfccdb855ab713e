#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian 12 packages the build needs, those that are missing and no others.
#
#   tools/setup/packages.sh          to build and run
#   tools/setup/packages.sh test     also to run every test, benchmark and lint
#   tools/setup/packages.sh --list   prints the names with their reasons
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cmake_min=3.25

build_packages="
g++                  the compiler
cmake                describes the build
ninja-build          runs it
ccache               makes a rebuild after a branch switch cheap
mold                 links in a second
pkg-config           finds the libraries below
python3              runs tools/ and tests/
python3-venv         private environments for what PyPI provides
python3-pip          fetches from PyPI
libboost1.81-dev     Asio and Beast: network, timers, coroutines
libsnappy-dev        compression on the wire and on disk
zlib1g-dev           compression on the wire and on disk
libzstd-dev          compression on the wire and on disk
libjemalloc-dev      malloc of the server: a fifth of a request's CPU less than glibc's
libbson-dev          text forms of BSON
libfmt-dev           formatting
libssl-dev           TLS, SCRAM, hashes
libpcre2-dev         \$regex
tzdata               time zones of date expressions
libyaml-cpp-dev      configuration files
libintelrdfpmath-dev Decimal128 arithmetic
libgtest-dev         unit tests
libgmock-dev         unit tests
"
test_packages="
libmongoc-dev        load generator of the benchmarks
libbenchmark-dev     micro-benchmarks
clang                fuzzers, a second opinion on the code
clang-tidy           lint
clang-format         make fmt
curl                 status endpoints in tests
procps               process tables in tests
git                  the Go tools' module fetch
"

names() { printf '%s\n' "$1" | awk 'NF {print $1}'; }

wanted="$(names "$build_packages")"
case "${1:-}" in
"") ;;
test) wanted="$wanted $(names "$test_packages")" ;;
--list)
    printf '%s\n' "# to build$build_packages" "# to test$test_packages"
    exit 0
    ;;
*) die "unknown argument '$1'" "tools/setup/packages.sh [test|--list]" ;;
esac

missing=()
for package in $wanted; do
    state="$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)"
    [ "$state" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
        die "these packages are missing and this is no Debian: ${missing[*]}" \
            "install their like by hand (docs/decisions says what each is for)"
    say "installing: ${missing[*]}"
    root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "packages are missing and neither root nor sudo is at hand" \
                "as root: apt-get install ${missing[*]}"
        root=(sudo)
    fi
    apt() {
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=300 "$@" </dev/null
    }
    apt install --no-install-recommends "${missing[@]}" >/tmp/tessera-apt.$$ 2>&1 || {
        apt update >/tmp/tessera-apt.$$ 2>&1 &&
            apt install --no-install-recommends "${missing[@]}" >/tmp/tessera-apt.$$ 2>&1
    } || {
        tail -n 20 /tmp/tessera-apt.$$ >&2
        die "apt-get could not install: ${missing[*]}" "read the lines above, then: make setup"
    }
    rm -f /tmp/tessera-apt.$$
fi

found="$(cmake --version 2>/dev/null | awk 'NR == 1 {print $3}')"
[ -n "$found" ] || die "cmake is not on PATH" "apt-get install cmake (3.25 or newer)"
[ "$(printf '%s\n' "$cmake_min" "$found" | sort -V | head -n 1)" = "$cmake_min" ] ||
    die "cmake $found ($(command -v cmake)) is too old: $cmake_min is needed" \
        "put Debian 12's /usr/bin/cmake first on PATH"
say "packages: all there (cmake $found)"
