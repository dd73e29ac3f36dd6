//! `windlass mcp`: the API's operations as tools, for programs that start their tools themselves.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use rmcp::{
    ServiceExt,
    service::{RequestContext, RoleServer},
};
use serde_json::Value;
use windlass_server::{
    auth::Far,
    features::Feature,
    mcp::{Api, Mcp, ToolAnswer, ToolRequest},
};

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
/// The server or the database cannot be reached, the tenant has no tools, or what comes in is not the protocol.
pub async fn run(context: &Context) -> Outcome {
    let client = Arc::new(context.client().await?);
    let served = match features(&client).await {
        Ok(features) => serve(Mcp::new(Arc::new(Through { client: Arc::clone(&client), features }))).await,
        Err(failure) => Err(failure),
    };
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

/// What the caller's tenant has.
///
/// # Errors
/// It has no tools; or the server refuses, or is not there.
async fn features(client: &Client) -> Result<Vec<String>, Failure> {
    let me: Value = client.send(Call::get("/me")).await?.read()?;
    let names = me["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let features: Vec<String> = names.map(str::to_owned).collect();
    if features.iter().any(|name| name == Feature::Mcp.name()) {
        return Ok(features);
    }
    let message = "the feature `mcp` is off for the tenant (the setting `feature_mcp`): whoever administers the \
                   installation switches it on, with `windlass settings set feature_mcp on --tenant SLUG`";
    Err(Failure::new(Exit::Denied, "feature_off", message))
}

/// The API by whatever way the command line names, with the rights of its token.
struct Through {
    client: Arc<Client>,
    /// What the tenant had when this began.
    features: Vec<String>,
}

impl Api for Through {
    fn send(
        &self,
        request: ToolRequest,
        _: &RequestContext<RoleServer>,
    ) -> BoxFuture<'static, Result<ToolAnswer, String>> {
        let client = Arc::clone(&self.client);
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
    fn may(&self, _: (&str, Far), _: &RequestContext<RoleServer>) -> bool {
        true
    }

    fn has(&self, feature: Feature, _: &RequestContext<RoleServer>) -> bool {
        self.features.iter().any(|name| name == feature.name())
    }
}
