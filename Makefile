# What people type. Every target does its own set-up, can be repeated, and is quiet when there is nothing to do.
# `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo build test bench check fmt coverage hooks deny clean-data setup-build setup-check setup-bench setup-test

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 — /p' $(MAKEFILE_LIST) | column -t -s '—' 2>/dev/null || sed -n 's/^\([a-z-]*\):.*## /  make \1  /p' $(MAKEFILE_LIST)

demo: setup-build ## run the main job: agents, a durable orchestrator, a report
	@scripts/demo.sh

build: setup-build ## build the one binary and the example agents (dev profile)
	@cargo build -p orchestra -p orchestra-example-agents

# End-to-end tests start the programs; built here, they do not wait for the compiler inside of a test.
test: setup-test build ## every test, those against real PostgreSQL and Redis included
	@cargo test --workspace --no-fail-fast

# What to run: BENCH='--works w1,w10 --backends embedded --runs 1'; `orchestra-bench run --help` lists all.
# BENCH_PROFILE=dev builds faster, to try the harness itself: its figures mean nothing.
BENCH_PROFILE ?= release
bench: setup-bench ## measure this machine: every work on SQLite and on PostgreSQL + Redis; table, JSON and plots in target/bench
	@cargo build --profile $(BENCH_PROFILE) -p orchestra -p orchestra-bench -p orchestra-example-agents --bin orchestra --bin orchestra-bench --bin developer-agent
	@$${CARGO_TARGET_DIR:-target}/$(if $(filter dev,$(BENCH_PROFILE)),debug,$(BENCH_PROFILE))/orchestra-bench run $(BENCH)

check: setup-check ## format, lints, documentation and the instruction budget, as CI checks them
	@scripts/check.sh

fmt: ## format code and definitions
	@cargo fmt --all
	@scripts/definitions.sh fmt

coverage: setup-build ## line coverage of the pure crates
	@scripts/coverage.sh

deny: ## licences, sources and banned crates (needs cargo-deny)
	@cargo deny check bans licenses sources

hooks: ## check every commit before it is made
	@git config core.hooksPath scripts/hooks && echo "git runs scripts/hooks/pre-commit before each commit"

clean-data: ## remove what `orchestra dev` stored in ./orchestra-data
	@rm -rf orchestra-data && echo "orchestra-data is gone"

setup-build:
	@scripts/setup.sh build

setup-check:
	@scripts/setup.sh check

setup-bench:
	@scripts/setup.sh bench

setup-test:
	@scripts/setup.sh test
