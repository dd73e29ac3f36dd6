//! Every step type of this crate, as the server's settings allow.

use std::sync::Arc;

use windlass_runtime::step::{Catalogue, Step};

use crate::{
    bench::Bench,
    credentials::Ready,
    egress::{Egress, EgressError, EgressOptions},
    emit::{Emit, SigningKeys},
    exec::{Exec, ExecOptions},
    http::Http,
    jq::{Jq, JqOptions},
    state::SharedState,
};

/// What the server's settings say about its step types.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What requests may do.
    pub egress: EgressOptions,
    /// What `exec` may do; without this there is no such step type.
    pub exec: Option<ExecOptions>,
    /// What outgoing webhooks are signed with; without a key none is sent.
    pub webhook_keys: SigningKeys,
    /// How `jq` programs are run.
    pub jq: JqOptions,
}

/// The step types that a server with these settings has.
///
/// # Errors
/// The HTTP client cannot be set up.
pub fn catalogue(options: Options) -> Result<Catalogue, EgressError> {
    let egress = Egress::new(options.egress)?;
    let mut steps: Vec<Arc<dyn Step>> = vec![
        Arc::new(Bench),
        Arc::new(Emit::new(egress.clone(), options.webhook_keys)),
        Arc::new(Http::new(egress.clone())),
        Arc::new(Jq::new(options.jq)),
        Arc::new(SharedState),
    ];
    if let Some(exec) = options.exec {
        steps.push(Arc::new(Exec::new(exec)));
    }
    Ok(Catalogue::new(steps).with_credentials(Arc::new(Ready::new(egress))))
}
