#!/usr/bin/env bash
# Restate's server with its default configuration on a single node, and the service that has the workflows.
set -euo pipefail
export DO_NOT_TRACK=1 RESTATE_DISABLE_TELEMETRY=true NODE_ENV=production RESTATE_LOGGING=ERROR
export RESTATE_BASE_DIR=$DATA RESTATE_LISTEN_MODE=tcp
export RESTATE_INGRESS__BIND_ADDRESS=127.0.0.1:$PORT
export RESTATE_ADMIN__BIND_ADDRESS=127.0.0.1:$((PORT + 1))
export RESTATE_BIND_ADDRESS=127.0.0.1:$((PORT + 2))
export RESTATE_ADVERTISED_ADDRESS=http://127.0.0.1:$((PORT + 2))/
node "$INSTALLED/service.mjs" &
exec "$INSTALLED"/node_modules/@restatedev/restate-server-linux-*/bin/restate-server
