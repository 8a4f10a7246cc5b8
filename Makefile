# Everything that people and machines run: `make help` lists it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# rustup's cargo and the administrator's tools are not on everybody's PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
LAB = $(SUDO) $(BIN)/dmsc-lab
# The lab makes network namespaces and needs root.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SETUP := conf/install/setup.sh
CARGO := cargo
PROGRAMS := dmsc-dataplane dmsc-controlplane dmsc-pod dmsc-edge dmscctl dmsc-lab dmsc-greeter

# Names for `make names`; another file of one name a line may be given.
DEFAULT_FILE := ../shared/data/names/googleapis-grpc.txt
FILE := $(DEFAULT_FILE)
# A topology for `make lab`, networkx node-link JSON.
TOPOLOGY := ../shared/data/topologies/sndlib_abilene.json
SEED := 1
# Seconds per fuzz target, and of the torture run, in `make deep`.
FUZZ_SECONDS := 600
TORTURE_SECONDS := 600

# Recipes of parts are quiet about themselves, not about what they do.
.PHONY: help setup restore build demo names test deep fmt clean \
	lab run-lab perf-http fmt-check clippy doc unit loom fuzz fuzz-long dissector stamp deny examples run-demo run-names run-perf-http perf-static perf-stations cycles cycles-baseline torture differential valgrind miri sanitize docker package unit-long

help: ## what can be made
	@echo "DMSC service router. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: ## build, run the demo (seven minutes), clean up; KEEP=1 leaves the lab up and says how to explore it
	@$(SETUP) demo
	@trap 'exit 130' INT; trap 'exit 143' TERM; $(if $(KEEP),,trap '$(SETUP) --restore' EXIT;) \
	$(MAKE) --no-print-directory build run-demo KEEP=$(KEEP)

test: ## everything that every change must pass (17 minutes, and up to an hour for what must be built anew)
	@.ci/run

deep: ## what is too long for every change: real minutes, long fuzzing, torture, valgrind, Miri, sanitizers (FUZZ_SECONDS, TORTURE_SECONDS)
	@.ci/run deep

names: ## announce every name of a file and make 10,000 calls among them: FILE=…, one name a line
	@$(SETUP) demo
	@trap 'exit 130' INT; trap 'exit 143' TERM; trap '$(SETUP) --restore' EXIT; \
	$(MAKE) --no-print-directory build run-names FILE='$(FILE)'

lab: ## run anybody's topology of at most 50 nodes: all pairs, shortest paths, failing links: TOPOLOGY=FILE, SEED=n
	@$(SETUP) demo
	@trap 'exit 130' INT; trap 'exit 143' TERM; trap '$(SETUP) --restore' EXIT; \
	$(MAKE) --no-print-directory build run-lab TOPOLOGY='$(TOPOLOGY)' SEED='$(SEED)'

perf-http: ## what a call over HTTP costs beside Envoy and haproxy (most of an hour): ARGS='--quick' and others, see dmsc-perf http --help
	@$(SETUP) perf
	@trap 'exit 130' INT; trap 'exit 143' TERM; trap '$(SETUP) --restore' EXIT; \
	$(MAKE) --no-print-directory build run-perf-http ARGS='$(ARGS)'

setup: ## install what is missing for building and testing, reserve huge pages
	@$(SETUP) test

restore: ## give the huge pages back (after KEEP=1 or setup)
	@$(SETUP) --restore

build: ## the programs, and an example that the demo calls, optimised, into target/release
	@$(CARGO) build --release --locked $(addprefix -p ,$(PROGRAMS))

fmt: ## format all sources
	@$(CARGO) fmt --all

deny: ## check licences and sources of all dependencies; installs cargo-deny into target/tools once
	@.ci/deny --install

clean: ## remove everything that was built
	@$(CARGO) clean
	@rm -rf target/tools target/fuzz target/loom demo.json perf-http.json

# --- parts of test and deep, each runnable alone --------------------------------------------------

fmt-check:
	@$(CARGO) fmt --all --check

clippy:
	@$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings

doc:
	@RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked --quiet

unit:
	@$(CARGO) test --workspace --locked --quiet

loom:
	@RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$(TARGET)/loom $(CARGO) test -p dmsc-fib --release --locked --quiet --test loom

fuzz:
	@.ci/fuzz 10

fuzz-long:
	@.ci/fuzz $(FUZZ_SECONDS)

# The second decoder, on the vectors, and on packets that the lab carried.
dissector: build
	@$(CARGO) test -p dmsc-wire --locked --quiet --test wireshark
	@$(SUDO) .ci/dissect $(BIN)

# Round trips as somebody else measures them (STAMP, RFC 8762), on a link of the lab.
stamp: build
	@$(SUDO) .ci/stamp --install $(BIN)

# The annotated examples must be accepted by the programs they are for.
examples: build
	@$(BIN)/dmsc-dataplane --check --config conf/dataplane.toml
	@$(BIN)/dmsc-controlplane static --check --routes conf/routes.toml
	@$(BIN)/dmsc-controlplane sg --check --config conf/sg.toml
	@$(BIN)/dmsc-controlplane sr --check --config conf/sr.toml
	@$(BIN)/dmsc-controlplane spa --check --config conf/spa.toml
	@$(BIN)/dmsc-controlplane scsc --check --config conf/scsc.toml
	@$(BIN)/dmsc-edge --check --config conf/edge.toml

run-demo: build
	@$(LAB) demo --json demo.json $(if $(KEEP),--keep)

run-names: build
	@if [ -r '$(FILE)' ]; then $(LAB) names --file '$(FILE)'; \
	elif [ '$(FILE)' = '$(DEFAULT_FILE)' ]; then echo 'names: skipped: $(FILE) is not here; give FILE=… with one name a line'; \
	else echo 'names: cannot read $(FILE)' >&2; exit 2; fi

run-lab: build
	@$(LAB) topology '$(TOPOLOGY)' --seed '$(SEED)'

run-perf-http:
	@$(CARGO) build --release --locked -p dmsc-perf
	@$(SUDO) $(BIN)/dmsc-perf http --json perf-http.json $(ARGS)

package: build ## install the .deb over a throw-away layer, verify its units and examples, remove it
	@$(SUDO) conf/package-check.sh $(BIN)

unit-long: ## the tests that take a minute each: a neighbour stopped for a minute, a lease that runs out; unit has the first for five seconds
	@$(CARGO) test --workspace --locked --quiet --test instances --test pressure -- --ignored

docker: build ## build the images and run the compose file of Figure 2 in podman; needs root
	@$(SUDO) docker/check.sh $(BIN)

# Instructions per packet, the same on every machine: more than 3 % above what is committed is a failure.
cycles:
	@$(CARGO) build --release --locked -p dmsc-perf
	@$(BIN)/dmsc-perf cycles --gate perf/baseline.json

cycles-baseline: ## take perf/baseline.json anew: when the path got faster, or slower for a reason that the commit gives
	@$(CARGO) build --release --locked -p dmsc-perf
	@$(BIN)/dmsc-perf cycles --baseline perf/baseline.json

perf-static: ## dmsc-perf-static, with DPDK linked statically, for `dmsc-perf forward --static-build target/release/dmsc-perf-static`
	@$(CARGO) build --release --locked -p dmsc-perf --features static
	@mv $(BIN)/dmsc-perf $(BIN)/dmsc-perf-static
	@$(CARGO) build --release --locked -p dmsc-perf

perf-stations: ## dmsc-perf-stations, which counts cycles by station, for `dmsc-perf cycles --stations-build target/release/dmsc-perf-stations`
	@$(CARGO) build --release --locked -p dmsc-perf --features cycles
	@mv $(BIN)/dmsc-perf $(BIN)/dmsc-perf-stations
	@$(CARGO) build --release --locked -p dmsc-perf

torture: build
	@$(CARGO) build --release --locked -p dmsc-perf
	@$(SUDO) $(BIN)/dmsc-perf torture --seconds $(TORTURE_SECONDS)

differential:
	@$(CARGO) test -p dmsc-fib --locked --release --test differential -- --ignored

valgrind:
	@.ci/valgrind

miri:
	@.ci/miri

sanitize:
	@.ci/sanitize
