#!/usr/bin/env bash
# Checks that pages link to, and comments cite, only pages that exist.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
go run ./hack/links
