//! Whether the process lives, whether it can work, and its figures.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Authorized, MetricsRead},
    figures,
    metrics::Exposition,
    reply::{self, Reply},
};

/// A word on the server's health.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, `draining` or `unavailable`.
    status: &'static str,
}

/// The process lives.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
pub async fn livez() -> Reply {
    reply::ok(&Health { status: "ok" })
}

/// The server takes work: its database answers, and it is not about to stop.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub async fn readyz(State(app): State<App>) -> Reply {
    if app.is_draining() {
        return reply::json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "draining" });
    }
    if !app.runtime().is_ready() {
        return reply::json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "unavailable" });
    }
    // The smallest table there is.
    match app.runtime().store().tenants().await {
        Ok(_) => reply::ok(&Health { status: "ok" }),
        Err(error) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            reply::json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "unavailable" })
        }
    }
}

/// Figures for Prometheus. They need a token: they say how busy the server is.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn metrics(caller: Authorized<MetricsRead>, State(app): State<App>) -> Response {
    let _ = caller;
    let mut text = Exposition::default();
    app.metrics().write(&mut text);
    app.door().metrics().write(app.door().occupancy(), &mut text);
    figures::write(&app.runtime().metrics(), &mut text);
    reply::text("text/plain; version=0.0.4; charset=utf-8", text.0)
}
