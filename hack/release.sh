#!/usr/bin/env bash
# Packs what `make release` has built into a folder: an archive of the binary for each platform, the image, the chart, an
# SBOM, the manifest for krew, and the checksums of them all. The same commit gives the same files.
#
#   hack/release.sh VERSION FOLDER IMAGE PLATFORM...
#
# SOURCE_DATE_EPOCH is the time of the commit.

set -euo pipefail
shopt -s inherit_errexit

cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$1 out=$2 image=$3
shift 3
download=https://github.com/meshfence/meshfence/releases/download/$version
if [[ ! $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+ || $version == *-dirty ]]; then
	echo "release: $version is no tag such as v1.2.3 with nothing changed since" >&2
	exit 1
fi

# archive NAME FOLDER ENTRY... packs without owners and times of its own.
archive() {
	local name=$1 folder=$2
	shift 2
	tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=go=u-w --mtime="@$SOURCE_DATE_EPOCH" --directory "$folder" "$@" | case $name in
	*.gz) gzip --no-name ;;
	*) cat ;;
	esac >"$out/$name"
}

# krew describes the plugin `kubectl meshfence`, with the archives that are in the folder.
krew() {
	cat <<-END
		apiVersion: krew.googlecontainertools.github.com/v1alpha2
		kind: Plugin
		metadata:
		  name: meshfence
		spec:
		  version: $version
		  homepage: https://github.com/meshfence/meshfence
		  shortDescription: Keeps the traffic of Services inside their cluster
		  description: |
		    Says what keeps the traffic of a Service inside its own cluster in a multi-cluster Istio mesh, what leaks, and
		    what admission would do with manifests.
		  platforms:
	END
	local platform name
	for platform in "$@"; do
		name=meshfence-$version-$platform.tar.gz
		cat <<-END
			    - selector:
			        matchLabels:
			          os: ${platform%-*}
			          arch: ${platform#*-}
			      uri: $download/$name
			      sha256: $(sha256sum "$out/$name" | cut -d' ' -f1)
			      bin: meshfence
		END
	done
}

mapfile -t tools < <(hack/build-tools.sh --print helm sbom)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
rm -rf "$out"
mkdir -p "$out"
for platform in "$@"; do
	mkdir "$scratch/$platform"
	cp LICENSE hack/release/kubectl_complete-meshfence "bin/$platform/meshfence" "$scratch/$platform"
	archive "meshfence-$version-$platform.tar.gz" "$scratch/$platform" LICENSE kubectl_complete-meshfence meshfence
done
archive "meshfence-$version-image.tar" "$image" .
cp -r charts/meshfence "$scratch/chart"
find "$scratch/chart" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
"${tools[0]}" package "$scratch/chart" --version "${version#v}" --app-version "$version" --destination "$out" >/dev/null
"${tools[1]}" bin -json -noserial -notimestamp -std -version "$version" -output "$out/meshfence-$version.cdx.json" "bin/$1/meshfence"
krew "$@" >"$out/krew.yaml"
(cd "$out" && sha256sum -- * >"$scratch/sums" && mv "$scratch/sums" SHA256SUMS)
