#!/usr/bin/env bash
# test.sh STEP... : runs `make STEP` for each, all of them whatever fails, and ends with one count over all.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
log=$(mktemp)
trap 'rm -f "$log"' EXIT
total=(0 0 0) # passed, failed, ignored
status=0

counts() { # the sums over a step's "test result:" lines
  awk '{ gsub(/\033\[[0-9;]*m/, "") }
       /^test result: / { for (i = 1; i < NF; i++) { n = $(i + 1); sub(/;$/, "", n); sum[n] += $i } }
       END { print sum["passed"] + 0, sum["failed"] + 0, sum["ignored"] + 0 }' "$log"
}

for step in "$@"; do
  start=$SECONDS
  make --no-print-directory "$step" 2>&1 | tee "$log"
  result=${PIPESTATUS[0]}
  read -r passed failed ignored < <(counts)
  if [ "$result" != 0 ]; then
    status=1
    # A step that ended without a failed test of its own (lint, a build that breaks) is one failure.
    [ "$failed" != 0 ] || failed=1
  fi
  printf '\n==> %s: %s after %s s\n' "$step" "$([ "$result" = 0 ] && echo passed || echo FAILED)" $((SECONDS - start))
  total=($((total[0] + passed)) $((total[1] + failed)) $((total[2] + ignored)))
done

printf '\n%s passed, %s failed' "${total[0]}" "${total[1]}"
[ "${total[2]}" = 0 ] || printf ', %s skipped' "${total[2]}"
printf '\n'
exit $status
