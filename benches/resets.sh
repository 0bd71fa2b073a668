#!/usr/bin/env bash
# Resets one connection in a hundred before the request is read and one after, over HTTP/1.1 and over HTTP/2, and holds
# what every caller is told against what the sandbox executed.
#
# Usage: benches/resets.sh [SECONDS]        60 unless told
set -euo pipefail
cd "$(dirname "$0")/.."
export USERSIG_GATEWAY_SECONDS="${1:-60}"
exec cargo test --profile bench --locked --test it -- resets:: --nocapture
