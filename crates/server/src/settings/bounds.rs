//! All that settings bound, as the program uses it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use windlass_runtime::Settings;
use windlass_steps::egress::address::PrivateNetwork;
use windlass_store::{Location, StoreOptions};

use crate::{Limits, features::Features};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// All that settings bound.
#[derive(Clone)]
pub struct Bounds {
    /// What the runtime does at once.
    pub runtime: Settings,
    /// How the store shares the database.
    pub store: StoreOptions,
    /// How many requests come in.
    pub requests: Limits,
    /// How people come in.
    pub people: People,
    /// What a tenant has of the program.
    pub features: Features,
    /// What the process is to the machine it runs on.
    pub process: Process,
}

/// How people come in, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// How long a session lasts.
    pub session: Duration,
    /// Whether a password signs in.
    pub password_sign_in: bool,
    /// Characters that a new password has at least.
    pub password_chars_min: usize,
    /// Whether members need a second factor.
    pub second_factor_required: bool,
    /// How long an invitation works when nobody says.
    pub invitation: Duration,
    /// How long a link works that signs in whoever lost the password.
    pub sign_in_link: Duration,
    /// How long somebody acts in another's name at most.
    pub impersonation: Duration,
}

impl Default for People {
    fn default() -> People {
        People {
            session: HOUR * 12,
            password_sign_in: true,
            password_chars_min: 12,
            second_factor_required: false,
            invitation: DAY * 7,
            sign_in_link: HOUR,
            impersonation: HOUR * 8,
        }
    }
}

/// What a process is to the machine it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Where it listens.
    pub listen: SocketAddr,
    /// By which address others reach the installation: scheme, host and port.
    pub public_url: Option<String>,
    /// What people call the installation.
    pub installation_name: String,
    /// How long open requests and running steps have when it stops.
    pub grace: Duration,
    /// Which addresses steps may reach that are not public.
    pub private_networks: PrivateNetwork,
    /// The file of the authorities that are trusted beside the well-known ones.
    pub trusted_authorities: Option<PathBuf>,
    /// Whether steps may run programs.
    pub exec_steps: bool,
    /// What is logged.
    pub log: String,
    /// How that is written.
    pub log_format: LogFormat,
}

impl Default for Process {
    fn default() -> Process {
        Process {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            public_url: None,
            installation_name: "Windlass".to_owned(),
            grace: MINUTE / 2,
            private_networks: PrivateNetwork::Refuse,
            trusted_authorities: None,
            exec_steps: false,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl Bounds {
    /// The usual ones, around that store.
    pub fn new(store: StoreOptions) -> Bounds {
        let mut runtime = Settings::default();
        if let Location::Sqlite { data_dir } = &store.location {
            runtime.audit_archive = Some(data_dir.join("archive"));
        }
        Bounds {
            runtime,
            store,
            requests: Limits::default(),
            people: People::default(),
            features: Features::default(),
            process: Process::default(),
        }
    }
}
