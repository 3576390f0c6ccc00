#!/usr/bin/env bash
# Fuzzes every Fuzz function, one after the other, for FUZZTIME each.

set -euo pipefail
shopt -s inherit_errexit

cd "$(dirname "${BASH_SOURCE[0]}")/.."
fuzztime=${FUZZTIME:-1m}

# test/ is left out: to list the tests of a package that uses the test bed starts one.
packages=$(go list ./... | grep -v /test/)
for package in $packages; do
	# The last line of the list is the verdict on the package.
	targets=$(go test -list '^Fuzz' "$package" | sed -n '/^Fuzz/p')
	for target in $targets; do
		echo "== $package $target, $fuzztime"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package"
	done
done
