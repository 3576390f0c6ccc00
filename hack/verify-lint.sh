#!/usr/bin/env bash
# Runs the linters of .golangci.yaml. What has a mechanical fix: golangci-lint run --fix.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
lint=$(hack/build-tools.sh --print golangci-lint)
"$lint" run ./...
