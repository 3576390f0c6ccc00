#!/usr/bin/env bash
# Provides the source of the release before this tree, from which the tests upgrade, in a folder of the cache.
#
#   hack/previous.sh             prints the folder of the newest tag before HEAD, or else of the commit that
#                                test/testbed/testdata/previous/revision names
#   hack/previous.sh --build     the same, with the program in it, as bin/meshfence
#   hack/previous.sh --update    writes the manifests and the values of the chart beside that file, which stand for the release where a clone is too
#                                shallow to have it; with REVISION=<tag> those of another one from now on
#
# Where the clone does not have the release, it says so and ends with 3.

set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MESHFENCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshfence}
kept=$root/test/testbed/testdata/previous

main() {
	cd "$root"
	local revision tree
	if [[ ${1:-} == --update ]]; then
		update "${REVISION:-$(<"$kept/revision")}"
		return
	fi
	revision=$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null) || revision=$(<"$kept/revision")
	if ! git rev-parse --quiet --verify "$revision^{commit}" >/dev/null; then
		echo "previous: this clone does not have $revision, the release before this tree" >&2
		return 3
	fi
	tree=$(unpack "$revision")
	if [[ ${1:-} == --build && ! -x $tree/bin/meshfence ]]; then
		echo "previous: building meshfence as of $revision" >&2
		make -s -C "$tree" build >&2
	fi
	printf '%s\n' "$tree"
}

# update REVISION keeps the manifests of a revision.
update() {
	local tree kubectl overlay
	tree=$(unpack "$1")
	kubectl=$(hack/build-tools.sh --print kubectl)
	for overlay in self-signed cert-manager; do
		"$kubectl" kustomize "$tree/manifests/overlays/$overlay" >"$kept/$overlay.yaml"
	done
	cp "$tree/charts/meshfence/values.yaml" "$kept/values.yaml"
	printf '%s\n' "$1" >"$kept/revision"
}

# unpack REVISION prints the folder with the source tree of a revision.
unpack() {
	local commit tree
	commit=$(git rev-parse "$1^{commit}")
	tree=$cache/previous/$commit
	mkdir -p "$cache/previous"
	(
		flock 9
		if [[ ! -d $tree ]]; then
			rm -rf "$tree.new"
			mkdir "$tree.new"
			git archive "$commit" | tar -x -C "$tree.new"
			printf '%s\n' "$1" >"$tree.new/REVISION"
			mv "$tree.new" "$tree"
		fi
	) 9>"$cache/previous/lock"
	printf '%s\n' "$tree"
}

main "$@"
