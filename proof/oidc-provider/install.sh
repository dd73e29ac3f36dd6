#!/usr/bin/env bash
# Installs the identity provider of package-lock.json into target/, once for each such file, and prints the program that
# serves it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(mkdir -p "$here/../../target" && cd "$here/../../target" && pwd)
place="$target/oidc-provider-$(cat "$here/package-lock.json" "$here/provider.mjs" | sha256sum | cut -c1-12)"
# Several tests may begin at the same time: one of them installs.
exec 9>"$target/oidc-provider.lock"
flock 9
if [ ! -e "$place/complete" ]; then
  rm -rf "$place"
  mkdir -p "$place"
  cp "$here/package.json" "$here/package-lock.json" "$here/provider.mjs" "$place"
  (cd "$place" && npm ci --no-audit --no-fund --ignore-scripts >&2)
  touch "$place/complete"
fi
echo "$place/provider.mjs"
