#!/usr/bin/env bash
# Waits until the last of the workflows answers, which is some time after n8n calls itself ready.
set -euo pipefail
exec node activated.mjs
