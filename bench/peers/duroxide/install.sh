#!/usr/bin/env bash
# Builds the programs of all peers in Rust, together, with the versions of ../Cargo.lock. One that does not build stops
# no other.
set -euo pipefail
built=$(realpath "$INSTALLED/..")/rust
cargo build --release --locked --workspace --keep-going --manifest-path ../Cargo.toml --target-dir "$built" || true
cp "$built/release/bench-$(basename "$PWD")" "$INSTALLED/app"
