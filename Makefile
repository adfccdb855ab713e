# SPDX-License-Identifier: Apache-2.0
# The commands a person types.  Each may be repeated at any time; what is done already costs nothing.
# The work is CMake's (CMakePresets.json) and that of tools/; this file only puts it in order.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test build up down status destroy test unit e2e bench peer fmt lint ci clean
.NOTPARALLEL:

PRESET ?= release
BUILD := build/$(PRESET)
TESSERA := $(BUILD)/bin/tessera
# Arguments for `tessera up`, for pytest, for the benchmarks: make up UP="--shards 1"
UP ?=
PYTEST ?=
BENCH ?=

define need
	@test -x $(TESSERA) || { echo "$(TESSERA) is not there. Next step: make build" >&2; exit 1; }
endef

help: ## Shows this
	@echo "make up starts the cluster, make test proves it works. All of it:"
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | \
	    awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: ## Installs missing Debian packages, builds WiredTiger into the cache (once)
	@tools/setup/packages.sh
	@tools/setup/wiredtiger.sh

setup-test: setup ## Also what tests need: real clients, Python packages (once)
	@tools/setup/packages.sh test
	@tools/setup/clients.sh

build: setup ## Builds build/release/bin/tessera (PRESET=debug|asan|tsan|... for others)
	@tools/build.sh $(PRESET)

up: build ## Starts 2 routers (27040, 27041), 3 shards of 3 members, 3 config servers
	@$(TESSERA) up $(UP)

down: ## Stops the cluster; data and ports are kept
	$(need)
	@$(TESSERA) down

status: ## Shows the cluster
	$(need)
	@$(TESSERA) status

destroy: ## Stops the cluster and deletes its data
	$(need)
	@$(TESSERA) destroy --yes

test: setup-test build ## Runs every test; the last line is: N passed, N failed
	@python3 tools/test.py --build $(BUILD) $(PYTEST)

unit: build ## Runs the unit tests alone
	@python3 tools/test.py --build $(BUILD) --unit

e2e: setup-test build ## Runs the end-to-end tests alone: make e2e PYTEST="-k failover"
	@python3 tools/test.py --build $(BUILD) --e2e $(PYTEST)

bench: setup-test peer build ## Runs the benchmarks (MONGOD=/path names the peer to compare with)
	@tools/build.sh $(PRESET) load forward
	@tools/bench.sh $(BUILD) $(BENCH)

peer: ## Fetches a mongod 6.0.5 to measure against (benchmarks only)
	@if [ -n "$${MONGOD:-}" ] || command -v mongod >/dev/null; then \
	    echo "== peer: $${MONGOD:-$$(command -v mongod)}"; else tools/setup/clients.sh peer; fi

fmt: ## Formats the C++ sources
	@git ls-files '*.cc' '*.h' | xargs -r -P "$$(nproc)" -n 20 clang-format -i

lint: ## Checks the house style (also a part of make test)
	@python3 tools/tidy.py

ci: ## Everything CI checks: all presets, sanitizers, lint, fuzzers
	@tools/ci.sh

clean: ## Deletes what was built; clusters and the cache stay
	@rm -rf build
