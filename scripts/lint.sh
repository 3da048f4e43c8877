#!/usr/bin/env bash
# lint.sh : every check that needs no test run. Goes on after a failure, so that one run shows all of them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH="${REGCACHE_TESTBED_DIR:-/var/tmp/regcache-testbed}/bin:$PATH"
failed=()

check() { # check NAME COMMAND...
  printf '\n==> lint: %s\n' "$1"
  local name=$1
  shift
  "$@" || { failed+=("$name"); echo "!! $name"; }
}

dependencies() {
  local checks=(bans licenses sources)
  # The advisory database is fetched from a host that not every network reaches.
  [ "${REGCACHE_ADVISORIES:-}" = 1 ] && checks+=(advisories)
  cargo deny --locked --workspace check --hide-inclusion-graph --allow duplicate "${checks[@]}"
}

scripts/deps.sh cc shellcheck helm cargo-deny || exit
check "cargo fmt" cargo fmt --all -- --check -l
check "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
# Not among all targets, since a plain `cargo test` must not run them.
check "clippy, tests of real clusters" cargo clippy --locked --workspace --test e2e --test bed --test clients -- -D warnings
check "dependencies (cargo deny)" dependencies
check "charts" scripts/charts.sh
check "shell scripts" shellcheck .ci/run scripts/*.sh

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nlint failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
printf '\nlint: all is well\n'
