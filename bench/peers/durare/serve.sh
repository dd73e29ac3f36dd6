#!/usr/bin/env bash
set -euo pipefail
exec "$INSTALLED/app"
