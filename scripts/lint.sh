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

# The one copy lies in the chart, and crds/ holds links to it: Helm prints a line for each link that it finds in a chart.
crds_are_current() {
  local fresh file status
  fresh=$(mktemp -d) || return
  cargo run --quiet --locked --bin regcache-operator -- crds --write "$fresh"
  status=$?
  for file in "$fresh"/*.yaml crds/*.yaml; do
    file=$(basename "$file")
    if [ ! -L "crds/$file" ] || ! diff -u "crds/$file" "$fresh/$file"; then status=1; fi
  done
  rm -rf "$fresh"
  [ $status = 0 ] || echo "crds/ is not what the code says: run \`make crds\` and commit"
  return $status
}

dependencies() {
  local checks=(bans licenses sources)
  # The advisory database is fetched from a host that not every network reaches.
  [ "${REGCACHE_ADVISORIES:-}" = 1 ] && checks+=(advisories)
  cargo deny --locked --workspace check --hide-inclusion-graph --allow duplicate "${checks[@]}"
}

scripts/deps.sh cc shellcheck helm cargo-deny || exit
check "cargo fmt" cargo fmt --all --check
check "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
check "dependencies (cargo deny)" dependencies
check "crds/ is current" crds_are_current
check "charts" scripts/charts.sh
check "shell scripts" shellcheck .ci/run scripts/*.sh

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nlint failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
printf '\nlint: all is well\n'
