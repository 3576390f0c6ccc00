# The compiler runs on the builder's own platform and builds for the target's, so that no platform is emulated.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
# Without Go plugins in kustomize the linker leaves out what is never called.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags=kustomize_disable_go_plugin_support,grpcnotrace -trimpath -ldflags='-s -w' -o /meshfence ./cmd/meshfence

FROM gcr.io/distroless/static:nonroot
COPY --from=build /meshfence /meshfence
# By number, since runAsNonRoot does not resolve names.
USER 65532:65532
ENTRYPOINT ["/meshfence"]
