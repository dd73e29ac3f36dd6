# The two commands of the README are `make run` and `make test`; both install what is missing first, and say so.

CARGO ?= cargo
# Where PostgreSQL's server programs are, for the tests; found by them when empty.
export WINDLASS_POSTGRES_BIN ?=
# What `make bench` and `make bench-peers` are told.
BENCH ?=
# Whom `make bench-peers` measures: all who are not in the file of results yet, when empty.
PEERS ?=

.PHONY: run sim test setup bench bench-peers check fmt clippy tidy units docs

## Builds, starts a server and the demo shop, deploys the examples, runs the order saga and shows it.
run:
	@scripts/setup.sh build
	$(CARGO) build --package windlass-cli
	target/debug/windlass demo run

## All checks and all tests, on both databases.
test: setup check units sim

setup:
	@scripts/setup.sh test

check: fmt clippy tidy

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --quiet --workspace --all-targets -- --deny warnings

tidy:
	$(CARGO) xtask tidy

units:
	@if command -v cargo-nextest >/dev/null 2>&1; then \
		$(CARGO) test --quiet --workspace --doc && $(CARGO) nextest run --workspace --no-fail-fast; \
	else \
		$(CARGO) test --workspace --no-fail-fast; \
	fi

## Plays 20,000 simulated seeds, and finds every planted bug: docs/proof.md.
sim:
	$(CARGO) xtask sim
	$(CARGO) xtask sim-mutants --seeds 10000

## Measures the server on both databases beside the machine's limits; docs/performance.md says how to read it.
## Options: make bench BENCH="--seconds 5 --only steps-10,alone --database sqlite"
bench: setup
	$(CARGO) build --profile dist --package windlass-cli --package windlass-bench
	target/dist/windlass-bench $(BENCH)

## Measures other engines and ourselves at the same work; docs/peers.md says how. Needs Node.js and Python for most of them.
## Options: make bench-peers PEERS="restate,dbos-sqlite" BENCH="--seconds 5 --clients 64"
bench-peers: setup
	$(CARGO) build --profile dist --package windlass-cli --package windlass-bench
	target/dist/windlass-bench peers $(if $(PEERS),--only $(PEERS)) $(BENCH)

## Writes the generated pages and examples anew.
docs:
	UPDATE_EXPECT=1 $(CARGO) test --quiet --package windlass-steps --test it reference
	UPDATE_EXPECT=1 $(CARGO) test --quiet --package windlass-resource --test it
	UPDATE_EXPECT=1 $(CARGO) test --quiet --package windlass-server --test it pinned
	UPDATE_EXPECT=1 $(CARGO) test --quiet --package windlass-server --test it the_page_shows
	UPDATE_EXPECT=1 $(CARGO) test --quiet --package windlass-cli --test command_line reference
	UPDATE_EXPECT=1 $(CARGO) test --quiet --package windlass-cli --test schema
	$(CARGO) xtask wfinstances
