# The default target builds one image for two services, the proxy and the simulator
# (docker-compose.yml). `--target simulator` runs both in one container, for CI services that
# cannot set a command (docs/testing.md).
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --bin vbc-proxy && install -D target/dist/vbc-proxy /out/vbc-proxy

FROM debian:bookworm-slim AS program
# A dedicated user, which owns the directory of the token store.
RUN useradd --system --uid 10001 --home-dir /var/lib/vbc-proxy vbc-proxy \
    && install -d -m 0700 -o vbc-proxy -g vbc-proxy /var/lib/vbc-proxy
COPY --from=build /out/vbc-proxy /usr/local/bin/vbc-proxy
USER vbc-proxy
WORKDIR /var/lib/vbc-proxy
# By default the proxy listens only on the container's loopback. Every client that reaches the
# proxy uses the credential, so the operator must open other addresses (docker-compose.yml shows
# how). In this image the admin listener stays on loopback.
ENV VBC_PROXY_STORE_PATH=/var/lib/vbc-proxy/tokens
VOLUME /var/lib/vbc-proxy
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["vbc-proxy", "status"]
ENTRYPOINT ["vbc-proxy"]

FROM program AS simulator
# This image contains no secret, so it may listen on all addresses.
ENV VBC_PROXY_LISTEN_ADDRESS=0.0.0.0:8080 \
    VBC_PROXY_LISTEN_ALLOW_ANONYMOUS=true \
    VBC_PROXY_SIMULATOR_ADDRESS=0.0.0.0:8090 \
    VBC_PROXY_SIMULATOR_CONTROL=0.0.0.0:8091
EXPOSE 8090 8091
CMD ["serve", "--simulate"]

FROM program
CMD ["serve"]
