# Everything that one does with this repository. `make` alone lists it.

export REGCACHE_TESTBED_DIR ?= /var/tmp/regcache-testbed

# The image's name, and the cargo profile of its programs: `release`, or `image` (builds faster; tests and demo use it).
IMAGE ?= registry.test/regcache:dev
PROFILE ?= release
ARCHIVE := target/regcache-image.tar
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
PROGRAMS := target/static/$(HOST)/$(PROFILE)

# Without -p: one choice of features for the whole workspace, so that nothing is compiled twice.
TESTBED := cargo run --quiet --locked --bin testbed --
# The tests that need root; their packages say `test = false` of them, so that nothing else runs them.
ROOT_TESTS := bed clients e2e

say = @printf '\n==> %s\n' "$(1)"

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: root tools image-fast ## A two-region cluster on this machine, regcache on it, pods pulled through it (root)
	$(call say,the demo)
	@$(TESTBED) demo

.PHONY: test
test: ## Everything: lint, unit, dockerfile, e2e; ends with the count
	@scripts/test.sh lint unit dockerfile e2e

.PHONY: lint
lint: ## Format, clippy, dependencies, charts, shell scripts
	@scripts/lint.sh

.PHONY: unit
unit: ## Tests that need neither root nor a cluster
	@scripts/deps.sh cc
	$(call say,unit: every test that needs neither root nor a cluster)
	@cargo test --locked --workspace --no-fail-fast --tests
	@cargo test --locked --workspace --no-fail-fast --doc

.PHONY: e2e
ifeq ($(shell id -u),0)
e2e: tools image-fast ## Pulls by real kubelets and other real clients (root)
	@scripts/deps.sh containerd skopeo umoci buildah curl
	$(call say,e2e: real clusters on this machine)
	@cargo test --locked --no-fail-fast $(ROOT_TESTS:%=--test %)
else
e2e:
	@scripts/deps.sh cc
	$(call say,e2e)
	@printf '%s\n' '!!' '!! SKIPPED: the end-to-end tests start real clusters in namespaces and need root. They do NOT run.' '!!'
	@cargo test --locked --no-fail-fast $(ROOT_TESTS:%=--test %)
endif

.PHONY: dockerfile
dockerfile: image-fast ## The Dockerfile's image of those programs, built with buildah (root)
	@scripts/dockerfile.sh target/static/$(HOST)/image

.PHONY: bench
bench: PROFILE = image
bench: tools ## The engine beside distribution and nginx, ten minutes: ARGS="--only hits --json FILE" PROFILE=image|release
	@scripts/deps.sh nginx
	$(call say,static programs (profile $(PROFILE)))
	@scripts/programs.sh $(PROFILE)
	$(call say,the benchmark)
	@cargo run --quiet --locked --profile $(PROFILE) -p regcache-bench -- \
	  --regcache target/static/$(HOST)/$(PROFILE)/regcache-proxy $(ARGS)

.PHONY: image
image: testbed ## The image as an OCI archive, without docker: IMAGE=name:tag PROFILE=release|image
	$(call say,static programs (profile $(PROFILE)))
	@scripts/programs.sh $(PROFILE)
	$(call say,$(ARCHIVE): $(IMAGE))
	@$(TESTBED) image --out $(ARCHIVE) --name $(IMAGE) \
	  --program $(PROGRAMS)/regcache-operator --program $(PROGRAMS)/regcache-node \
	  --program $(PROGRAMS)/regcache-proxy

.PHONY: image-fast
image-fast:
	@$(MAKE) --no-print-directory image PROFILE=image IMAGE=registry.test/regcache:dev

.PHONY: fuzz
fuzz: ## Fuzzes every parser that reads what strangers send, a minute each: SECONDS=60
	@scripts/fuzz.sh $(or $(SECONDS),60)

.PHONY: testbed
testbed:
	@scripts/deps.sh cc
	$(call say,the test bed itself)
	@cargo build --locked --bin testbed

.PHONY: tools
tools: testbed ## What the test bed runs (Kubernetes, containerd, ...), built once; about ten minutes
	$(call say,the test bed's programs in $$REGCACHE_TESTBED_DIR)
	@$(TESTBED) tools

.PHONY: cluster
cluster: root tools image-fast ## A cluster of four nodes in two regions to play with, the image loaded (root)
	$(call say,a cluster)
	@$(TESTBED) up --image $(ARCHIVE)
	@printf '%s\n' "  install        $(TESTBED) helm -- install regcache-crds charts/regcache-crds" \
	  "                 $(TESTBED) helm -- install regcache charts/regcache --namespace regcache-system --create-namespace" \
	  "                   --set image.repository=registry.test/regcache --set image.tag=dev" \
	  "                   --set-file upstreamCA=$$REGCACHE_TESTBED_DIR/ca/ca.crt"

.PHONY: cluster-down
cluster-down: root testbed ## Removes that cluster (root)
	$(call say,the cluster goes)
	@$(TESTBED) down

.PHONY: clean-testbed
clean-testbed: root testbed ## Removes every cluster, and all that the test bed has built and cached (root)
	@$(TESTBED) down --all
	$(call say,removing $$REGCACHE_TESTBED_DIR)
	@[ ! -d "$$REGCACHE_TESTBED_DIR/bin" ] || rm -rf "$$REGCACHE_TESTBED_DIR"

.PHONY: crds
crds: ## Writes the API (crds/, which is the chart regcache-crds too) from the code
	@scripts/deps.sh cc
	$(call say,the API from the code)
	@cargo run --locked --bin regcache-operator -- crds --write charts/regcache-crds/templates

.PHONY: fmt
fmt: ## Formats the code
	cargo fmt --all

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: it makes namespaces, mounts and networks of its own" >&2; exit 1; }
