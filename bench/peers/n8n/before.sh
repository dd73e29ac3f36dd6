#!/usr/bin/env bash
# Makes the database and puts the workflows into it.
set -euo pipefail
source ./environment.sh
node workflows.mjs > "$DATA/workflows.json"
"${n8n[@]}" import:workflow --input="$DATA/workflows.json"
for id in $(node workflows.mjs ids); do "${n8n[@]}" publish:workflow --id="$id"; done
