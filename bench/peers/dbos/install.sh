#!/usr/bin/env bash
# Installs the versions of requirements.txt into a virtual environment at $INSTALLED.
set -euo pipefail
python3 -m venv "$INSTALLED"
"$INSTALLED/bin/pip" install --quiet --no-deps --requirement requirements.txt
