#!/usr/bin/env bash
# Checks that what is generated is up to date. The fix: make generate.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
go run ./hack/generate -check
