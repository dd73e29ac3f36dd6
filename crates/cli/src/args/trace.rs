//! The trace that a run joins.

use clap::Args;
use windlass_engine::trace::Trace;

/// The trace that a run joins, as W3C Trace Context has it.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The trace that the run joins, as a W3C `traceparent`; one that cannot be read is as good as none
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT")]
    pub traceparent: Option<String>,
    /// The `tracestate` that belongs to it
    #[arg(long, env = "TRACESTATE", value_name = "TRACESTATE")]
    pub tracestate: Option<String>,
}

impl TraceArgs {
    /// The trace, if there is one.
    pub fn read(&self) -> Option<Trace> {
        Trace::of_headers(self.traceparent.as_deref()?, self.tracestate.as_deref().unwrap_or_default())
    }
}
