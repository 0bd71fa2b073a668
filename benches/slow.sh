#!/usr/bin/env bash
# Holds many slow connections open with Debian's slowhttptest (slow heads, slow bodies, slow readers), measures the p99
# of other callers meanwhile, and fails when it more than doubles against the same connections to somebody else: the tool
# itself keeps a core busy. The machine must be quiet.
#
# Usage: benches/slow.sh [CONNECTIONS]        2000 unless told
set -euo pipefail
cd "$(dirname "$0")/.."
command -v slowhttptest >/dev/null || { echo "slowhttptest is missing: apt-get install slowhttptest" >&2; exit 1; }
export USERSIG_GATEWAY_SLOW_CONNECTIONS="${1:-2000}"
# Each connection has an end here, too.
ulimit -n "$(ulimit -Hn)"
exec cargo test --profile bench --locked --test it -- slow_connections:: --nocapture
