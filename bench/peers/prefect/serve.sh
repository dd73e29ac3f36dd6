#!/usr/bin/env bash
# Prefect's server with its default database, and the process that has the flows.
set -euo pipefail
api=$((PORT + 1))
export PREFECT_HOME=$DATA PREFECT_API_URL=http://127.0.0.1:$api/api PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PREFECT_LOGGING_LEVEL=ERROR PREFECT_LOGGING_SERVER_LEVEL=ERROR
PYTHONPATH=../serving "$INSTALLED/bin/python" flows.py &
exec "$INSTALLED/bin/prefect" server start --host 127.0.0.1 --port "$api"
