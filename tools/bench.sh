#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the benchmarks of bench/ on a build: tools/bench.sh BUILD [arguments of bench/run.py].
# The peer is $MONGOD, else a mongod on PATH, else the one `make peer` fetched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build="${1:?tools/bench.sh BUILD [ARGUMENTS]}"
shift
peer="${MONGOD:-$(command -v mongod || true)}"
if [ -z "$peer" ]; then
    peer="$(tools/setup/clients.sh --where peer)/bin/mongod"
fi
export TESSERA_BIN="$PWD/$build/bin" PYTHONDONTWRITEBYTECODE=1
python="$(tools/setup/clients.sh --where python)/bin/python"
exec "$python" bench/run.py --peer "$peer" "$@" </dev/null
