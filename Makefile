# The two commands of the README, and what they are made of.
.PHONY: demo test bench check reproduce

CARGO ?= cargo

demo: ## Install what is missing, build polpo, run the main job
	scripts/install demo
	$(CARGO) build --release --locked -p polpo
	scripts/demo

test: ## Install what the tests need and run them all
	scripts/install test
	$(CARGO) test --workspace --locked

bench: ## Measure what polpo costs, as whole processes and inside
	scripts/install demo
	$(CARGO) build --release --locked -p polpo
	scripts/bench

reproduce: ## Build a package of every build system twice and compare
	scripts/install demo
	$(CARGO) build --release --locked -p polpo
	scripts/reproduce

check: ## What CI checks besides the tests
	scripts/install check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --locked
	$(CARGO) run -q --locked -p xtask -- layers
	target/tools/bin/cargo-deny check bans licenses sources
