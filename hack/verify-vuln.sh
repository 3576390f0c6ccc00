#!/usr/bin/env bash
# Lists known vulnerabilities whose code is linked into the binary, by the database that hack/tools/vuln/go.mod pins, so
# that the same commit always gets the same answer. They are a warning, since what is known grows by itself. The fix:
# raise the toolchain or the module in go.mod, and the database in hack/tools/vuln/go.mod.

set -euo pipefail
shopt -s inherit_errexit

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t tools < <(hack/build-tools.sh --print govulncheck vulndb)
make -s build
status=0
report=$("${tools[0]}" -db "file://${tools[1]}" -mode binary bin/meshfence) || status=$?
case $status in
0) echo "no known vulnerability is linked" ;;
3) # What it exits with where it has found some.
	awk '/^Vulnerability #/ { id = $3 } /Found in:/ { found = $3 } /Fixed in:/ { print "WARNING: " id ": " found ", fixed in " $3 }' <<<"$report"
	;;
*)
	echo "$report" >&2
	exit "$status"
	;;
esac
