#!/usr/bin/env bash
set -euo pipefail
source ./environment.sh
exec "${n8n[@]}" start
