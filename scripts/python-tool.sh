#!/usr/bin/env bash
# python-tool.sh FOLDER PROGRAM: installs what FOLDER/requirements.txt names, at its versions, into target/, once for each list of versions, and prints
# where PROGRAM is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
requirements="$1/requirements.txt"
target=$(mkdir -p "$here/../target" && cd "$here/../target" && pwd)
place="$target/$2-$(sha256sum "$requirements" | cut -c1-12)"
# Several may begin at the same time: one of them installs.
exec 9>"$target/$2.lock"
flock 9
if [ ! -e "$place/complete" ]; then
  rm -rf "$place"
  python3 -m venv "$place" >&2
  "$place/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$requirements" >&2
  touch "$place/complete"
fi
echo "$place/bin/$2"
