#!/usr/bin/env bash
# Builds the release program twice, in folders and with a Cargo home of different names, and fails unless both are the
# same bytes. Whoever builds the same commit with the same rustc, C compiler and linker should get these bytes too, and can so
# tell that a published program comes from its source.
#
# Usage: deploy/reproducible.sh [FOLDER]     by default target/reproducible
#
# FOLDER then holds the program, its SHA-256, and its bill of materials (sbom.sh), which was compared with the
# packages that the compiler was really given. What is built is the last commit; changes since are not in it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

main() {
    local out=${1:-target/reproducible}
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    work=$(mktemp -d "$out/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    commit=$(git rev-parse HEAD)
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
    export SOURCE_DATE_EPOCH

    local home=${CARGO_HOME:-$HOME/.cargo}
    build "$work/first" "$home"
    copy_home "$home" "$work/second-and-longer/home"
    build "$work/second-and-longer" "$work/second-and-longer/home"

    local name=usersig-gateway first second
    first=$(hash_of "$work/first/$name")
    second=$(hash_of "$work/second-and-longer/$name")
    printf 'first   %s\nsecond  %s\n' "$first" "$second"
    if [ "$first" != "$second" ]; then
        cp "$work/first/$name" "$out/first"
        cp "$work/second-and-longer/$name" "$out/second"
        echo "NOT REPRODUCIBLE: compare $out/first with $out/second (diffoscope tells what differs)"
        exit 1
    fi
    (cd "$work/first/source" && deploy/sbom.sh) >"$work/$name.cdx.json"
    compare_with_sbom "$work/$name.cdx.json" "$work/first/messages.json"
    mv "$work/first/$name" "$work/$name.cdx.json" "$out/"
    (cd "$out" && sha256sum "$name" "$name.cdx.json" | tee SHA256SUMS)
    echo "reproducible: $(rustc --version), $(cc --version | head -n 1)"
}

# Builds the commit in a folder of its own. A path is in a program wherever it can panic, so the places at which
# source, Cargo's home and the compiler's own library lie are given the same names everywhere.
build() {
    local folder=$1 home=$2
    mkdir -p "$folder/source"
    git archive "$commit" | tar -x -C "$folder/source"
    local flags=(
        "--remap-path-prefix=$folder/source=/usersig-gateway"
        "--remap-path-prefix=$home=/cargo"
        "--remap-path-prefix=$(rustc --print sysroot)=/rust"
    )
    local encoded
    encoded=$(printf '%s\x1f' "${flags[@]}")
    (cd "$folder/source" &&
        CARGO_HOME=$home CARGO_TARGET_DIR="$folder/target" CARGO_ENCODED_RUSTFLAGS=${encoded%$'\x1f'} \
            cargo build --release --locked --bin usersig-gateway --message-format=json) >"$folder/messages.json"
    mv "$folder/target/release/usersig-gateway" "$folder/usersig-gateway"
    rm -rf "$folder/target"
}

# The downloaded packages under another name: a build must not depend on where they lie.
copy_home() {
    mkdir -p "$2"
    cp -al "$1/registry" "$2/" 2>/dev/null || cp -a "$1/registry" "$2/"
    for file in "$1"/config "$1"/config.toml; do
        [ ! -e "$file" ] || cp "$file" "$2/"
    done
}

hash_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}

# Every package that cargo built is in the bill of materials, and no other.
compare_with_sbom() {
    python3 - "$@" <<'PYTHON'
import json, sys

sbom, messages = sys.argv[1:]
with open(sbom) as file:
    bom = json.load(file)
told = {(part["name"], part["version"]) for part in [bom["metadata"]["component"], *bom["components"]]}
built = set()
with open(messages) as file:
    for message in map(json.loads, file):
        if message["reason"] == "compiler-artifact":
            # registry+https://…#name@version, or path+file:///…/folder#name@version
            name, _, version = message["package_id"].rpartition("#")[2].rpartition("@")
            built.add((name or bom["metadata"]["component"]["name"], version))
if built != told:
    sys.exit(f"built and not in the bill of materials: {sorted(built - told)}; the other way round: {sorted(told - built)}")
print(f"the bill of materials holds the {len(built)} packages that were built")
PYTHON
}

main "$@"
