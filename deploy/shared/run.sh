#!/usr/bin/env bash
# Three gateways that keep one ceiling together through a Redis, as plain processes on this machine: starts them with the
# sandbox that counts, offers all of them more than the ceiling for a while, and shows what arrived. Ctrl-C ends it all.
#
# Usage: deploy/shared/run.sh [SECONDS]         for how long calls are offered: 10 unless told
# Needs redis-server (6.2 or later, or a valkey-server that goes by that name) and curl.
# Environment: USERSIG_GATEWAY, the program: by default what cargo built, or else what is installed.
#              PORTS, eight of them: Redis, the sandbox, then gateway and admin listener of each gateway.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
seconds="${1:-10}"
api=live_engine_http_srv/get_room_info
ceiling=200
read -r redis sandbox a a_admin b b_admin c c_admin <<<"${PORTS:-16379 18080 8081 9911 8082 9912 8083 9913}"

main() {
    local program
    program=$(find_program)
    folder=$(mktemp -d)
    started=()
    trap end EXIT
    trap 'exit 0' INT TERM
    cp "$here/made-up.key" "$folder"
    sed -e "s/:18080/:$sandbox/" -e "s/:6379/:$redis/" "$here/gateway.toml" >"$folder/gateway.toml"

    start redis redis-server --port "$redis" --bind 127.0.0.1 --save "" --appendonly no --dir "$folder"
    start sandbox "$program" sandbox --listen "127.0.0.1:$sandbox" --app "20000001=$folder/made-up.key"
    serve "$program" gateway1 "$a" "$a_admin"
    serve "$program" gateway2 "$b" "$b_admin"
    serve "$program" gateway3 "$c" "$c_admin"
    for admin in "$a_admin" "$b_admin" "$c_admin"; do
        wait_for "http://127.0.0.1:$admin/status.json" '"mode": *"shared"'
    done
    tell
    offer
    echo
    echo "Ctrl-C ends it."
    # In the background, so that a signal is heard at once.
    sleep infinity &
    wait $!
}

find_program() {
    local found
    for found in "${USERSIG_GATEWAY:-}" "$here/../../target/release/usersig-gateway" \
        "$here/../../target/debug/usersig-gateway" "$(command -v usersig-gateway || true)"; do
        if [ -n "$found" ] && [ -x "$found" ]; then
            echo "$found"
            return
        fi
    done
    echo "no usersig-gateway: cargo build --release, or say where it is in USERSIG_GATEWAY" >&2
    return 1
}

# Starts a part, whose output goes to a file of its name.
start() {
    local name="$1"
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    started+=($!)
    printf '%-9s process %s, log %s\n' "$name" "$!" "$folder/$name.log"
}

serve() {
    local program="$1" name="$2" port="$3" admin="$4"
    start "$name" env "USERSIG_GATEWAY__LISTEN__GATEWAY=127.0.0.1:$port" "USERSIG_GATEWAY__LISTEN__ADMIN=127.0.0.1:$admin" \
        USERSIG_GATEWAY__DRAIN__ACCEPT_FOR=0s "$program" serve --config "$folder/gateway.toml"
}

wait_for() {
    for _ in $(seq 600); do
        if curl -s --max-time 2 "$1" | grep -q "$2"; then return; fi
        sleep 0.1
    done
    echo "$1 does not say $2 within a minute:" >&2
    tail -n 5 "$folder"/*.log >&2
    return 1
}

tell() {
    cat <<TEXT

Three gateways share the ceiling of $api, $ceiling calls a second. To try:
  curl -d '{}' http://127.0.0.1:$a/v4/$api             or port $b, $c
  curl http://127.0.0.1:$a_admin/status.json                  how it stands with Redis: "store"
  curl http://127.0.0.1:$sandbox/sandbox/report                 what arrived, of all three together
  kill -STOP ${started[0]}                                       Redis hangs; kill -CONT ${started[0]} wakes it

TEXT
}

# Many callers at each gateway, each of whom calls again once it is answered.
offer() {
    local callers=()
    echo "Each is offered more than all of it for $seconds s ..."
    for port in "$a" "$b" "$c"; do
        timeout "$seconds" curl -s -Z --parallel-max 120 -o /dev/null -d '{}' \
            "http://127.0.0.1:$port/v4/$api?n=[1-1000000]" 2>/dev/null &
        callers+=($!)
    done
    # Ended by their time.
    wait "${callers[@]}" || true
    local report arrived worst refused
    report=$(curl -s "http://127.0.0.1:$sandbox/sandbox/report" | tr -d ' \n' | sed 's/"calls":\[.*//')
    arrived=$(number arrived "$report")
    worst=$(number worst_second "$report")
    refused=$(number refused_for_rate "$report")
    echo "arrived at the sandbox: $arrived calls, at most $worst in any second (ceiling $ceiling); refused for their rate: $refused"
}

# The number of this name in the report of all of the app's APIs.
number() {
    sed -E "s/.*\"all\":\{[^}]*\"$1\":([0-9]+).*/\1/" <<<"$2"
}

end() {
    trap - EXIT INT TERM
    # The last first, so that gateways say goodbye to a Redis that is there.
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        stop "${started[i]}"
    done
    for rest in $(jobs -pr); do
        stop "$rest"
    done
    rm -rf "$folder"
}

# Ends a process, and says it again after a while: one that has only just been forked does not hear it.
stop() {
    while kill "$1" 2>/dev/null; do
        for _ in $(seq 20); do
            kill -0 "$1" 2>/dev/null || return 0
            sleep 0.1
        done
    done
}

main
