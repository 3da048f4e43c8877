#!/usr/bin/env bash
# dockerfile.sh DIRECTORY : builds the Dockerfile's image from the static programs in DIRECTORY with buildah, and looks
# at what came out. The stage that compiles needs a base image from a registry: it is not built here, only parsed.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$1
if [ "$(id -u)" != 0 ]; then
  printf '\n!! SKIPPED: building the Dockerfile needs root here. It was NOT built.\n'
  exit 0
fi
scripts/deps.sh buildah
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
b() { buildah --storage-driver vfs --root "$tmp/root" --runroot "$tmp/run" "$@"; }

printf '\n==> Dockerfile: the image from %s\n' "$programs"
mkdir "$tmp/context"
cp "$programs"/regcache-{operator,node,proxy} "$tmp/context"
b build --isolation chroot --target from-binaries --build-arg VERSION=test --quiet \
  --file Dockerfile --tag localhost/regcache:test "$tmp/context" >/dev/null 2>"$tmp/err" || { cat "$tmp/err"; exit 1; }

config=$(b inspect --type image --format '{{.OCIv1.Config.User}} {{index .OCIv1.Config.Labels "org.opencontainers.image.version"}}' localhost/regcache:test)
[ "$config" = "65532:65532 test" ] || { echo "!! user and version are: $config"; exit 1; }
container=$(b from localhost/regcache:test)
for program in regcache-operator regcache-node regcache-proxy; do
  b run --isolation chroot "$container" -- "/$program" --version
done
