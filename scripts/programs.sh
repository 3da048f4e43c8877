#!/usr/bin/env bash
# programs.sh PROFILE [DIRECTORY] : builds the programs of the image, statically linked, into DIRECTORY (target/static).
#
# Profile `image` is that of tests and demo: it takes the misbehaving registry in as well, in the same call of cargo, so
# that the crates they share are compiled once, with one choice of features.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1
directory=${2:-target/static}
host=$(rustc -vV | sed -n 's/^host: //p')
packages=(-p regcache-operator -p regcache-node -p regcache-proxy)
bins=(--bin regcache-operator --bin regcache-node --bin regcache-proxy)
if [ "$profile" = image ]; then
  packages+=(-p regcache-tests --no-default-features)
  bins+=(--bin faulty-registry)
fi
# glibc's static form, since it comes with every Debian; the target is named so that build scripts are left alone.
RUSTFLAGS="-C target-feature=+crt-static" \
  cargo build --locked --profile "$profile" --target "$host" --target-dir "$directory" "${packages[@]}" "${bins[@]}"
