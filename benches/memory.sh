#!/usr/bin/env bash
# Makes many calls with random faults, and fails when the gateway's memory grows by more than a fifth after the first
# twentieth of them.
#
# Usage: benches/memory.sh [CALLS]        1000000 unless told
set -euo pipefail
cd "$(dirname "$0")/.."
export USERSIG_GATEWAY_CALLS="${1:-1000000}"
exec cargo test --profile bench --locked --test it -- memory:: --nocapture
