#!/usr/bin/env bash
# Looks for a second that sees more calls than a ceiling, and for turns that are lost or uneven, in many more random
# schedules than the ordinary tests do.
#
# Usage: benches/exactness.sh [SCHEDULES]        100000 unless told
set -euo pipefail
cd "$(dirname "$0")/.."
export USERSIG_GATEWAY_SCHEDULES="${1:-100000}"
tests=(exact levels even)
exec cargo test --profile bench --locked --lib -- "${tests[@]/#/gateway::admission::tests::}"
