# What n8n is told, by its own variables; read by the two scripts beside it.
export N8N_USER_FOLDER=$DATA N8N_PORT=$PORT N8N_LISTEN_ADDRESS=127.0.0.1 N8N_RUNNERS_BROKER_PORT=$((PORT + 1))
export N8N_DIAGNOSTICS_ENABLED=false N8N_VERSION_NOTIFICATIONS_ENABLED=false N8N_TEMPLATES_ENABLED=false
export N8N_PERSONALIZATION_ENABLED=false N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS=false N8N_LOG_LEVEL=warn NODE_ENV=production
# The results of a node are saved before the next node begins.
export EXECUTIONS_DATA_SAVE_ON_PROGRESS=true
n8n=("node" "$INSTALLED/node_modules/n8n/bin/n8n")
