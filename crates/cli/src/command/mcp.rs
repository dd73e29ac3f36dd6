//! `windlass mcp`: the API's operations as tools, for programs that start their tools themselves.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use rmcp::{
    ServiceExt,
    service::{RequestContext, RoleServer},
};
use windlass_server::mcp::{Api, Mcp, ToolAnswer, ToolRequest};

use super::Context;
use crate::{
    client::{Call, Client},
    exit::{Exit, Failure, Outcome},
};

/// Headers that a tool may set.
const HEADERS: [&str; 2] = ["if-match", "idempotency-key"];

/// Serves until standard input ends.
///
/// # Errors
/// The server or the database cannot be reached, or what comes in is not the protocol.
pub async fn run(context: &Context) -> Outcome {
    let client = Arc::new(context.client().await?);
    let served = serve(Mcp::new(Arc::new(Through(Arc::clone(&client))))).await;
    if let Ok(client) = Arc::try_unwrap(client) {
        client.close().await;
    }
    served.map(|()| Exit::Done)
}

async fn serve(mcp: Mcp) -> Result<(), Failure> {
    let refused = |error: String| Failure::refused(format!("what came in is not the protocol: {error}"));
    let service = mcp.serve(rmcp::transport::stdio()).await.map_err(|error| refused(error.to_string()))?;
    service.waiting().await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(())
}

/// The API by whatever way the command line names, with the rights of its token.
struct Through(Arc<Client>);

impl Api for Through {
    fn send(
        &self,
        request: ToolRequest,
        _: &RequestContext<RoleServer>,
    ) -> BoxFuture<'static, Result<ToolAnswer, String>> {
        let client = Arc::clone(&self.0);
        async move {
            let mut call = Call { method: request.method, ..Call::get(request.path) };
            if let Some(body) = &request.body {
                call = call.json(body);
            }
            for name in HEADERS {
                if let Some(value) = request.headers.get(name).and_then(|value| value.to_str().ok()) {
                    call = call.header(name, value);
                }
            }
            let answer = client.try_send(call).await.map_err(|failure| failure.message)?;
            Ok(ToolAnswer { status: answer.status, body: answer.body })
        }
        .boxed()
    }

    /// Only the server knows what a token may do.
    fn may(&self, _: &str, _: &RequestContext<RoleServer>) -> bool {
        true
    }
}
