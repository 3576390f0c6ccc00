# What `make image` builds without an engine, for those who have one: the same flags, user and labels, which a test holds
# equal. The base is pinned by version: pin the digest, too, where what you build on must not change.
# The compiler runs on the builder's own platform and builds for the target's, so that no platform is emulated.
FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26.10 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=unknown REVISION=unknown
# Without Go plugins in kustomize the linker leaves out what is never called.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags=kustomize_disable_go_plugin_support,grpcnotrace -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$VERSION -X main.revision=$REVISION" -o /meshfence ./cmd/meshfence

# The binary is static and needs no files of a base.
FROM scratch
ARG VERSION=unknown REVISION=unknown
LABEL org.opencontainers.image.title="meshfence" \
      org.opencontainers.image.description="Keeps the traffic of chosen Services inside their own cluster, in a multi-cluster Istio mesh" \
      org.opencontainers.image.source="https://github.com/meshfence/meshfence" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /meshfence /meshfence
# By number, since runAsNonRoot does not resolve names.
USER 65532:65532
ENTRYPOINT ["/meshfence"]
