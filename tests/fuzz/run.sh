#!/usr/bin/env bash
# Fuzzes: gives each target inputs that lead to ever new places in the code, until one breaks a promise.
#
# Usage: tests/fuzz/run.sh SECONDS [TARGET…]     each of these targets, else all, for so many seconds
#        tests/fuzz/run.sh minimise [TARGET…]    reduces what was found so far to what covers as much
#
# Stable Rust will do. No sanitizer is asked for, which would need a nightly one: the gateway has no `unsafe`, and what is
# looked for is panics, differences, and time or memory without end. What leads to new places is kept under
# target/fuzz/corpus, what breaks a promise under target/fuzz/artifacts; the script then exits 1. To mend such a
# finding, put its file into tests/fuzz/corpus/TARGET, which `cargo test` runs, and see that test fail first.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

main() {
    local task=${1:?"usage: tests/fuzz/run.sh SECONDS|minimise [TARGET…]"}
    shift
    [ $# -gt 0 ] || set -- $(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' tests/fuzz/Cargo.toml)
    cargo fuzz --version || CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-fuzz --debug --locked --version '^0.13'
    local target failed=0
    for target in "$@"; do
        if [ "$task" = minimise ]; then minimise "$target"; else fuzz "$target" "$task" || failed=1; fi
    done
    return $failed
}

fuzz() {
    local target=$1 seconds=$2
    printf '\n==== %s for %s s\n' "$target" "$seconds"
    mkdir -p "target/fuzz/corpus/$target" "target/fuzz/artifacts/$target"
    libfuzzer "$target" "target/fuzz/corpus/$target" "tests/fuzz/corpus/$target" \
        -- -max_total_time="$seconds" -artifact_prefix="target/fuzz/artifacts/$target/" \
        -timeout=5 -rss_limit_mb=1024 -max_len="$(longest "$target")" -print_final_stats=1
}

# Into target/fuzz/minimised, from where a person takes what is worth keeping.
minimise() {
    local target=$1
    rm -rf "target/fuzz/minimised/$target"
    mkdir -p "target/fuzz/minimised/$target"
    libfuzzer "$target" "target/fuzz/minimised/$target" "tests/fuzz/corpus/$target" "target/fuzz/corpus/$target" \
        -- -set_cover_merge=1
}

# What a target reads has bounds of its own; a little beyond them is enough.
longest() {
    case $1 in
        call_target) echo 1024 ;;
        caller_headers) echo 512 ;;
        *) echo 4096 ;;
    esac
}

libfuzzer() {
    cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none --release --debug-assertions "$@"
}

main "$@"
