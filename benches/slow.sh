#!/usr/bin/env bash
# Holds many slow connections open with Debian's slowhttptest (slow heads, slow bodies, slow readers) and measures the p99
# of other callers before and during, in five alternating rounds; fails when the median round more than doubles it. The
# tool keeps a core busy by itself, so it has core 1 and everything else has core 0. The machine must be quiet.
#
# Usage: benches/slow.sh [CONNECTIONS]        2000 unless told
set -euo pipefail
cd "$(dirname "$0")/.."
command -v slowhttptest >/dev/null || { echo "slowhttptest is missing: apt-get install slowhttptest" >&2; exit 1; }
[ "$(nproc)" -ge 2 ] || { echo "two cores are needed: slowhttptest keeps one busy by itself" >&2; exit 1; }
export USERSIG_GATEWAY_SLOW_CONNECTIONS="${1:-2000}" USERSIG_GATEWAY_SLOW_CORE=1
# Each connection has an end here, too.
ulimit -n "$(ulimit -Hn)"
cargo test --profile bench --locked --test it --no-run
exec taskset -c 0 cargo test --profile bench --locked --test it -- slow_connections:: --nocapture
