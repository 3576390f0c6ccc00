#!/usr/bin/env bash
# Checks that every go.mod and go.sum is what its module needs. The fix for the modules of
# the first loop is `go mod tidy`.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOFLAGS=-mod=readonly

for module in . hack/tools hack/tools/cert-manager; do
	go -C "$module" mod tidy -diff
done
# `go mod tidy` wants the tests of every dependency, which some of these modules do not have on the proxy. That every
# tool's packages are there, with their sums, is what a build needs.
for module in kubernetes etcd istio; do
	go -C "hack/tools/$module" list -deps tool >/dev/null
done
