#!/usr/bin/env bash
# Installs the versions of package-lock.json into $INSTALLED. `npm ci` would refuse the lock file: packages for other
# systems, which nobody needs here, are not all in it.
set -euo pipefail
cp package.json package-lock.json ./*.mjs "$INSTALLED"
cd "$INSTALLED"
npm install --legacy-peer-deps --no-audit --no-fund
