#!/usr/bin/env bash
# Shared ceilings in the long form: three gateways and a real Redis through every fault (20 s of load), the scripts
# against their model, and simulations of up to 100 replicas and 10,000 apps.
#
# Usage: benches/shared.sh [SIMULATIONS] [SCHEDULES]        200 and 20000 unless told
set -euo pipefail
cd "$(dirname "$0")/.."
export USERSIG_GATEWAY_SHARED_LONG=1 USERSIG_GATEWAY_SIMULATIONS="${1:-200}" USERSIG_GATEWAY_SCHEDULES="${2:-20000}"
cargo test --profile bench --locked --lib -- --nocapture --test-threads 1 \
    gateway::admission::shared::tests gateway::admission::tests::replicas
cargo test --profile bench --locked --test it -- --test-threads 1 shared_ceiling
