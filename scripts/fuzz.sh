#!/usr/bin/env bash
# fuzz.sh [SECONDS] : runs every fuzz target of fuzz/ for that long (default 60), on the stable toolchain.
#
# What a target finds is kept in fuzz/artifacts, and the run fails. Inputs that reached new code are kept over runs in
# $REGCACHE_TESTBED_DIR/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
scripts/deps.sh cc c++ cargo-fuzz
bed=${REGCACHE_TESTBED_DIR:-/var/tmp/regcache-testbed}
PATH="$bed/bin:$PATH"
# The sanitizers need a nightly compiler; without unsafe code of our own there is little for them to find.
fuzz() { cargo fuzz "$1" --fuzz-dir fuzz --target-dir target/fuzz --sanitizer none "${@:2}"; }

printf '==> building the fuzz targets (some minutes the first time)\n'
fuzz build
status=0
for file in fuzz/targets/*.rs; do
  target=$(basename "$file" .rs)
  corpus=$bed/fuzz/$target
  mkdir -p "$corpus"
  printf '==> %s, %s s\n' "$target" "$seconds"
  log=$(mktemp)
  if fuzz run "$target" "$corpus" -- -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=512 >"$log" 2>&1; then
    grep -E '^Done ' "$log"
  else
    status=1
    tail -n 30 "$log"
    printf '!! %s failed; the input is in fuzz/artifacts/%s\n' "$target" "$target"
  fi
  rm -f "$log"
done
exit $status
