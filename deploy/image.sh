#!/usr/bin/env bash
# Builds the image around a program that this machine's own Rust builds, so that no base image is pulled, and fails if it is
# larger than promised. Needs cargo, glibc's static library (Debian: libc6-dev) and buildah; as root, or as a user with
# subordinate ids.
#
# Usage: deploy/image.sh [NAME]        usersig-gateway:VERSION unless told
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name="${1:-usersig-gateway:$version}"
largest=$((15 * 1000 * 1000))

cargo rustc --release --locked --bin usersig-gateway -- -C target-feature=+crt-static
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
cp "${CARGO_TARGET_DIR:-target}/release/usersig-gateway" "$built/"

buildah build-using-dockerfile --isolation chroot --format docker --file deploy/Dockerfile --tag "$name" \
    --build-arg "VERSION=$version" --build-context "build=$built" .
size=$(buildah images --json "$name" | sed -n 's/.*"size": "\(.*\)".*/\1/p')
bytes=$(stat --format %s "$built/usersig-gateway")
echo "$name: $size; the program: $bytes bytes"
if [ "$bytes" -gt "$largest" ]; then
    echo "more than $largest bytes" >&2
    exit 1
fi
