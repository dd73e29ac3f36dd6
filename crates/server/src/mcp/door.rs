//! The protocol over HTTP: `/mcp`, without sessions, an answer to each request.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderValue, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::BoxFuture};
use http_body_util::BodyExt;
use rmcp::{
    service::{RequestContext, RoleServer},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};

use super::{Api, Mcp, ToolAnswer, ToolRequest};
use crate::{
    app::App,
    auth::{Far, Identity, bearer, let_by},
    features::{Feature, Features},
    problem::Problem,
    routes::{API, Service},
};

/// Bytes of a call.
const CALL_BYTES_MAX: usize = 4 << 20;
/// Bytes of an answer that a model is given.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The route of the protocol, over the API as it is served.
pub fn router(app: &App, api: Service) -> Router {
    let mcp = Mcp::new(Arc::new(Inside { api }));
    // Whoever has a token may come from anywhere, and nobody else gets any further: hosts and sessions say nothing more.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(CALL_BYTES_MAX)
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let service = StreamableHttpService::new(move || Ok(mcp.clone()), Arc::new(NeverSessionManager::default()), config);
    Router::new().route_service("/mcp", service).layer(middleware::from_fn_with_state(app.clone(), identified))
}

/// Lets nobody by without a token, and writes down who it is.
async fn identified(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match who(&app, &parts).await {
        Ok((identity, features)) => {
            parts.extensions.insert(identity);
            parts.extensions.insert(features);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who asks, and what its tenant has.
async fn who(app: &App, parts: &Parts) -> Result<(Identity, Features), Problem> {
    let identity = let_by(app, parts, bearer(parts)?).await?;
    let features = app.bounds(identity.tenant).await?.features;
    Ok((identity, features))
}

/// The API in this process.
struct Inside {
    api: Service,
}

impl Api for Inside {
    fn send(
        &self,
        request: ToolRequest,
        context: &RequestContext<RoleServer>,
    ) -> BoxFuture<'static, Result<ToolAnswer, String>> {
        let outside = context.extensions.get::<Parts>();
        let inner = outside.ok_or_else(|| "nobody asks".to_owned()).and_then(|outside| inner(request, outside));
        let api = self.api.clone();
        async move {
            let response = api.answer(inner?).await;
            let status = response.status();
            let too_large = || format!("the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for less");
            let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(ToolAnswer { status, body: body.map_err(|_| too_large())?.to_bytes() })
        }
        .boxed()
    }

    fn may(&self, (permission, far): (&str, Far), context: &RequestContext<RoleServer>) -> bool {
        let identity = context.extensions.get::<Parts>().and_then(|it| it.extensions.get::<Identity>());
        identity.is_some_and(|identity| identity.goes(permission, far))
    }

    fn has(&self, feature: Feature, context: &RequestContext<RoleServer>) -> bool {
        let features = context.extensions.get::<Parts>().and_then(|it| it.extensions.get::<Features>());
        features.is_some_and(|features| features.has(feature))
    }
}

/// The request that a tool stands for, of the same caller.
fn inner(request: ToolRequest, outside: &Parts) -> Result<Request, String> {
    let body: Bytes = match &request.body {
        Some(body) => serde_json::to_vec(body).map_err(|error| error.to_string())?.into(),
        None => Bytes::new(),
    };
    let mut inner = Request::new(Body::from(body));
    *inner.uri_mut() = format!("{API}{}", request.path).parse().map_err(|_| "the path is too long".to_owned())?;
    *inner.method_mut() = request.method;
    *inner.headers_mut() = request.headers;
    for name in [header::AUTHORIZATION, header::USER_AGENT, header::HeaderName::from_static("x-request-id")] {
        if let Some(value) = outside.headers.get(&name) {
            inner.headers_mut().insert(name, value.clone());
        }
    }
    if request.body.is_some() {
        inner.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(peer) = outside.extensions.get::<crate::auth::Peer>() {
        inner.extensions_mut().insert(peer.clone());
    }
    Ok(inner)
}
