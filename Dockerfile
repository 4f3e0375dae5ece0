# syntax-free on purpose: every engine since 18.09 builds it, with BuildKit or without. `just image` does.

FROM rust:1-slim-bookworm AS build
WORKDIR /src
# dependencies first: they are built again only when the manifest or the lock file changes. Tests and benches are no part
# of the image, so their entries go, and a change of theirs builds nothing.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[\(test\|bench\)\]\]/,/^$/d' Cargo.toml \
 && mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
 && cargo build --release --locked --bin branchline \
 && rm -r src
COPY templates templates
COPY schema schema
COPY sample-repo sample-repo
COPY src src
# what was just copied may be older than what was built from the stand-ins
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin branchline

FROM debian:bookworm-slim
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates tzdata \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1001 branchline && useradd --uid 1001 --gid 1001 --no-create-home --home-dir /data branchline \
 && mkdir /data && chown 1001:1001 /data
COPY --from=build /src/target/release/branchline /usr/local/bin/branchline
USER 1001:1001
# the one place that is written to: the root may be read-only
VOLUME /data
ENV BRANCHLINE_DATA_DIR=/data BRANCHLINE_LISTEN=0.0.0.0:7070
EXPOSE 7070
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/local/bin/branchline", "health"]
ENTRYPOINT ["/usr/local/bin/branchline"]
CMD ["serve"]
# last, because they differ with every build
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Branchline" \
      org.opencontainers.image.description="GitOps for a team on GitHub: push, see it build, click the preview" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
