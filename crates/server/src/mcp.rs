//! The Model Context Protocol: every operation of the API as a tool, over HTTP at `/mcp` and over standard input and output.
//!
//! Invariant: a tool is a request to the API with the caller's own token, through the same door. There is no second place
//! where tenants, permissions, bounds or the audit are looked after.

mod door;
mod tools;

use std::sync::{Arc, LazyLock};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, StatusCode},
};
use futures::future::BoxFuture;
use rmcp::{
    ErrorData, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::{RequestContext, RoleServer},
};
use serde_json::Value;

pub use self::door::router;
use self::tools::Tools;
use crate::{auth::Far, features::Feature};

/// What a client is told before it uses any tool.
const INSTRUCTIONS: &str = "Windlass runs durable workflows. Find workflows with `list_workflows`, start one with \
                            `start_run`, follow it with `get_run` and `list_steps`, and decide what waits for people with \
                            `list_approvals`, `approve` and `reject`. Lists are pages: ask again with `after` = `next`.";

/// All tools: made when somebody asks for one, for it takes as long as the rest of a start.
static TOOLS: LazyLock<Tools> = LazyLock::new(|| {
    // The document is made of our own types: it always has a JSON form.
    Tools::of(&serde_json::to_value(crate::document()).unwrap_or_default())
});

/// A request to the API that a tool stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRequest {
    /// The method.
    pub method: Method,
    /// Path and query below `/api/v1`.
    pub path: String,
    /// Preconditions and keys.
    pub headers: HeaderMap,
    /// The body, where it has one.
    pub body: Option<Value>,
}

/// What the API answered.
#[derive(Debug, Clone)]
pub struct ToolAnswer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// The way to the API, with the rights of whoever asks.
pub trait Api: Send + Sync + 'static {
    /// Sends a request.
    fn send(
        &self,
        request: ToolRequest,
        context: &RequestContext<RoleServer>,
    ) -> BoxFuture<'static, Result<ToolAnswer, String>>;

    /// Whether the caller has a permission that goes as far, as far as that is known here.
    fn may(&self, needs: (&str, Far), context: &RequestContext<RoleServer>) -> bool;

    /// Whether the caller's tenant has a feature.
    fn has(&self, feature: Feature, context: &RequestContext<RoleServer>) -> bool;
}

/// A server of the protocol over a way to the API.
#[derive(Clone)]
pub struct Mcp {
    api: Arc<dyn Api>,
}

impl Mcp {
    /// Over that way.
    pub fn new(api: Arc<dyn Api>) -> Mcp {
        Mcp { api }
    }
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("windlass", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let listed = |needs: (&str, Far), feature: Option<Feature>| {
            self.api.may(needs, &context) && feature.is_none_or(|feature| self.api.has(feature, &context))
        };
        let tools = TOOLS.list(listed);
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let asked = TOOLS.request(&request.name, &arguments);
        let asked = asked.map_err(|message| ErrorData::invalid_params(message, None))?;
        match self.api.send(asked, &context).await {
            Ok(answer) => Ok(result(&answer).into()),
            Err(message) => Ok(CallToolResult::error(vec![ContentBlock::text(message)]).into()),
        }
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        TOOLS.tool(name)
    }
}

/// An answer of the API as a tool's result: JSON as it is, a problem document as an error that the model can read.
fn result(answer: &ToolAnswer) -> CallToolResult {
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match (answer.status.is_success(), json) {
        (true, Some(value @ Value::Object(_))) => CallToolResult::structured(value),
        (true, _) => CallToolResult::success(vec![ContentBlock::text(text(&answer.body))]),
        (false, Some(value @ Value::Object(_))) => CallToolResult::structured_error(value),
        (false, _) => CallToolResult::error(vec![ContentBlock::text(text(&answer.body))]),
    }
}

fn text(body: &Bytes) -> String {
    if body.is_empty() { "done".to_owned() } else { String::from_utf8_lossy(body).into_owned() }
}
