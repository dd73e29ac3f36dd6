//! `windlass serve`: what the server is told.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args,
    builder::{BoolishValueParser, TypedValueParser},
};

use windlass_server::settings::Chosen;
use windlass_steps::egress::address::PrivateNetwork;

/// What `windlass serve` takes, beside `--data-dir` or `--database-url`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen; 127.0.0.1:7400 unless a setting says otherwise
    #[arg(long, env = "WINDLASS_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The address by which others reach this server, such as `https://windlass.example.org`: how it calls itself towards
    /// applications of third parties (docs/oauth.md)
    #[arg(long, env = "WINDLASS_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// An API key that may do everything, at least 16 characters; without one, a link that signs the administrator in is
    /// printed until somebody has come in
    #[arg(long, env = "WINDLASS_BOOTSTRAP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub bootstrap_token: Option<String>,
    /// Let steps reach addresses that are not public, such as services on this machine: all of them, or those that are
    /// named (`127.0.0.1,10.1.0.0/16`)
    #[arg(long, env = "WINDLASS_ALLOW_PRIVATE_NETWORK", num_args = 0..=1, value_name = "BOOL|NETWORKS")]
    #[arg(default_missing_value = "true")]
    pub allow_private_network: Option<PrivateNetwork>,
    /// Let `exec` steps run programs on this machine
    #[arg(long, env = "WINDLASS_ALLOW_EXEC", value_parser = switch(), num_args = 0..=1)]
    #[arg(default_missing_value = "true", value_name = "BOOL")]
    pub allow_exec: Option<bool>,
    /// A file with the key that outgoing webhooks are signed with: `whsec_` and base64; two, with a space between them,
    /// while one replaces the other. Without it, `WINDLASS_WEBHOOK_SIGNING_KEY` may hold the key itself
    #[arg(long, env = "WINDLASS_WEBHOOK_SIGNING_KEY_FILE", value_name = "FILE")]
    pub webhook_signing_key_file: Option<PathBuf>,
    /// Seconds that open requests and running steps have when the server stops; 30 unless a setting says otherwise
    #[arg(long, env = "WINDLASS_GRACE_SECONDS", value_name = "SECONDS")]
    pub grace_seconds: Option<u64>,
    /// A setting of this server, such as `runs_active_max=5000`; may be given more than once, and counts before an
    /// option of its own (docs/settings.md)
    #[arg(long = "set", env = "WINDLASS_SET", value_delimiter = ',', value_name = "NAME=VALUE")]
    pub settings: Vec<Chosen>,
    /// A file of settings, `NAME=VALUE` a line (docs/settings.md)
    #[arg(long, env = "WINDLASS_SETTINGS_FILE", value_name = "FILE")]
    pub settings_file: Option<PathBuf>,
    /// How the log is written: `text` for people, or `json`, one object a line
    #[arg(long, env = "WINDLASS_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged: a level, or filters such as `info,windlass_runtime=debug`; `info` unless a setting says otherwise
    #[arg(long, env = "WINDLASS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// Reads what an environment variable may say for yes and no: `1`, `true`, `yes`, `on`, and their opposites.
pub fn switch() -> impl TypedValueParser<Value = bool> {
    BoolishValueParser::new()
}
