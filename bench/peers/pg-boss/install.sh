#!/usr/bin/env bash
# Installs the versions of package-lock.json into $INSTALLED.
set -euo pipefail
cp package.json package-lock.json ./*.mjs ../serving/serving.mjs "$INSTALLED"
cd "$INSTALLED"
npm ci --no-audit --no-fund
