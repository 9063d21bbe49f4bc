# syntax=docker/dockerfile:1
# docker build -t rollbook . ; deploy/compose/ and deploy/kubernetes/ run what it makes. With spans: --build-arg FEATURES=otlp
FROM rust:1.95-slim-bookworm AS build
# librdkafka is built from its bundled source, against the system's OpenSSL and zlib.
# hadolint ignore=DL3008 # Debian keeps one version of a package, and mends it: a pinned one is soon not there any more.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential libssl-dev pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
ARG FEATURES=
WORKDIR /src
COPY . .
# Without the lines of its source a binary is a quarter as large; a panic still names its own.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin rollbook --features "$FEATURES" \
 && strip --strip-debug -o /usr/bin/rollbook target/release/rollbook

FROM debian:bookworm-slim
# hadolint ignore=DL3008 # As above.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -m 0700 -o 65532 -g 65532 /var/lib/rollbook
COPY --from=build /usr/bin/rollbook /usr/bin/rollbook
# A number, because Kubernetes cannot tell of a name that it is not root.
USER 65532:65532
# For the embedded log. Nothing else is ever written: the root may be read-only.
WORKDIR /var/lib/rollbook
# From outside of the container, where probes and Prometheus are. Publish 8080 alone.
ENV ROLLBOOK_ADMIN_ADDR=0.0.0.0:9090 \
    ROLLBOOK_LOG_FORMAT=json
EXPOSE 8080 9090
# Whether it makes progress: a restart mends that, and no outage of Postgres or Kafka.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["rollbook", "health"]
ENTRYPOINT ["rollbook"]
CMD ["serve"]
