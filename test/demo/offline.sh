#!/usr/bin/env bash
# The part of the demo that needs no cluster: meshfence itself shows what admission does with manifests. It fails where
# something differs from the story.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
meshfence=$1

# run CODE ARGUMENT... prints a command as a user would type it, and runs it; it must end with that exit code.
run() {
	local want=$1 got=0
	shift
	printf '$ meshfence %s\n' "$*"
	"$meshfence" "$@" || got=$?
	if ((got != want)); then
		echo "demo: exit code $got, want $want" >&2
		exit 1
	fi
}

printf 'Without a cluster: a Service says that it is strict, and admission does the rest\n'
run 0 render --diff --config offline/fenceconfig.yaml -f offline/reviews.yaml
printf '\nWithout a cluster: another object that would send its traffic out\n'
run 1 check --config offline/fenceconfig.yaml -f offline/reviews.yaml -f reviews-leak.yaml
printf '\nThe same on two clusters, under real calls (the first time their programs are built, which takes minutes):\n'
