#!/usr/bin/env bash
# Tells the server where the service is; again after a restart, which it takes as no change.
set -euo pipefail
exec node "$INSTALLED/register.mjs"
