#!/usr/bin/env bash
set -euo pipefail
PYTHONPATH=../serving exec "$INSTALLED/bin/python" app.py
