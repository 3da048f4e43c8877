#!/usr/bin/env bash
# deps.sh NEED... : sees to it that the tools named are there, and says what it installs. Silent when all is.
#
# Debian packages are installed as root only. cargo-deny, cargo-fuzz and helm are built once, into $REGCACHE_TESTBED_DIR/bin.
set -euo pipefail
bed=${REGCACHE_TESTBED_DIR:-/var/tmp/regcache-testbed}
PATH="$bed/bin:$PATH"

has() { command -v "$1" >/dev/null 2>&1; }

apt() { # apt PACKAGE... : for the sake of which the caller runs
  if [ "$(id -u)" != 0 ] || ! has apt-get; then
    echo "missing: $* (Debian's names). Install them, or run this as root on Debian or Ubuntu" >&2
    exit 1
  fi
  echo "==> installing $* (apt-get)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
}

need() {
  case $1 in
  cc) # build scripts and the C parts of ring
    if ! has cc || [ ! -e /usr/include/stdlib.h ]; then apt gcc libc6-dev; fi ;;
  c++) # libFuzzer
    has c++ || apt g++ ;;
  shellcheck | buildah | skopeo | umoci | curl)
    has "$1" || apt "$1" ;;
  containerd) # Debian's own, which is older than the test bed's
    [ -x /usr/bin/containerd ] || apt containerd ;;
  nginx) # what `make bench` compares with; outside a user's PATH on Debian
    has nginx || [ -x /usr/sbin/nginx ] || apt nginx ;;
  cargo-deny)
    has cargo-deny && return
    echo "==> building cargo-deny into $bed/bin (once; some minutes)"
    cargo install --quiet --locked --version 0.20.2 --root "$bed" --target-dir "$bed/build/cargo-deny" cargo-deny
    rm -rf "$bed/build/cargo-deny" ;;
  cargo-fuzz)
    has cargo-fuzz && return
    echo "==> building cargo-fuzz into $bed/bin (once)"
    cargo install --quiet --locked --version 0.13.2 --root "$bed" --target-dir "$bed/build/cargo-fuzz" cargo-fuzz
    rm -rf "$bed/build/cargo-fuzz" ;;
  helm)
    has helm && return
    has go || { echo "missing: helm, and go to build it" >&2; exit 1; }
    echo "==> building helm into $bed/bin (once; about two minutes)"
    CGO_ENABLED=0 GOBIN="$bed/bin" GOFLAGS=-mod=mod go install helm.sh/helm/v4/cmd/helm@v4.3.1 ;;
  *)
    echo "deps.sh knows no \"$1\"" >&2
    exit 2 ;;
  esac
}

for name in "$@"; do need "$name"; done
