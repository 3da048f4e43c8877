# The image of operator, helper and built-in cache: three static programs on nothing, no shell, no root.
#
#   docker build -t registry.example.com/regcache:0.1.0 --build-arg VERSION=0.1.0 .
#
# Programs built before (by `make image`, or by a CI job that has a cargo cache) go into the same image by
#
#   docker build --target from-binaries -t ... -f Dockerfile DIRECTORY_WITH_THE_PROGRAMS

ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm

FROM scratch AS base
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="regcache" \
      org.opencontainers.image.description="Regional pull-through caches for container images: operator, node helper and cache" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532

# Before the compiling stage, so that builders which run every stage up to the target need no compiler for it.
FROM base AS from-binaries
COPY regcache-operator regcache-node regcache-proxy /

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# The target is named, though it is the host's, so that the flags do not reach build scripts and procedural macros.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    target="$(rustc -vV | sed -n 's/^host: //p')" && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$target" --target-dir /target \
      -p regcache-operator -p regcache-node -p regcache-proxy && \
    mkdir /out && \
    for program in regcache-operator regcache-node regcache-proxy; do cp "/target/$target/release/$program" /out/; done

FROM base
COPY --from=build /out/ /
