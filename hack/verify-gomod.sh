#!/usr/bin/env bash
# Checks that every go.mod and go.sum is what its module needs. The fix for the modules of
# the first loop is `go mod tidy`.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOFLAGS=-mod=readonly

for module in . hack/tools hack/tools/cert-manager hack/tools/image; do
	go -C "$module" mod tidy -diff
done
# `go mod tidy` wants the tests of every dependency, which some of these modules do not have on the proxy. That every
# tool's packages are there, with their sums, is what a build needs.
for module in kubernetes etcd istio node vuln helm sbom gatekeeper kyverno; do
	go -C "hack/tools/$module" list -deps tool >/dev/null
done
go -C hack/tools/prometheus list -deps -tags remove_all_sd tool >/dev/null
go -C hack/tools/flagger list -deps . >/dev/null
go -C test/neighbours list -deps -test . >/dev/null
if [[ $(go -C hack/tools/node list -m k8s.io/kubernetes) != $(go -C hack/tools/kubernetes list -m k8s.io/kubernetes) ]]; then
	echo "verify-gomod: hack/tools/node uses another version of Kubernetes than hack/tools/kubernetes" >&2
	exit 1
fi
go -C hack/tools/knative mod download knative.dev/serving # of which nothing is built
# The search is compiled with istiod's packages, whose versions must be those that istiod itself is built with.
proxies=$(go env GOPROXY)
export CGO_ENABLED=0 GOWORK=off GOPROXY=${proxies%%[,|]*}
used='{{with .Module}}{{.Path}} {{with .Replace}}{{.Path}}@{{.Version}}{{else}}{{.Path}}@{{.Version}}{{end}}{{end}}'
istiod=$(go -C hack/tools/istio list -deps -f "$used" tool | sort -u)
search=$(go -C test/search list -deps -test -f "$used" . | sort -u)
different=$(join <(printf '%s\n' "$istiod") <(printf '%s\n' "$search") | awk '$2 != $3')
if [[ -n $different ]]; then
	printf 'verify-gomod: test/search uses another version than hack/tools/istio (module, istio, search):\n%s\n' "$different" >&2
	exit 1
fi
