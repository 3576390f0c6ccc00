#!/usr/bin/env bash
# Checks that packages import one another as docs/architecture.md says. What is wrong is one of the two.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
go run ./hack/rooms
