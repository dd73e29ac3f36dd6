#!/usr/bin/env bash
# Installs moto, a server that speaks the protocol of S3, at the versions of requirements.txt into target/, once for each list of versions, and prints
# where its program is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(mkdir -p "$here/../../target" && cd "$here/../../target" && pwd)
place="$target/moto-$(sha256sum "$here/requirements.txt" | cut -c1-12)"
# Several tests may begin at the same time: one of them installs.
exec 9>"$target/moto.lock"
flock 9
if [ ! -e "$place/complete" ]; then
  rm -rf "$place"
  python3 -m venv "$place" >&2
  "$place/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt" >&2
  touch "$place/complete"
fi
echo "$place/bin/moto_server"
