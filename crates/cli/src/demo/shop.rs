//! The shop: payment, stock and shipping as services that fail, lag, and act once per idempotency key.
//!
//! `POST /charges`, `/refunds`, `/holds`, `/releases`, `/shipments` and `DELETE /shipments/{id}` need an
//! `Idempotency-Key`. Knobs make them fail: `PUT /knobs` for an endpoint, or the query of one request
//! (`?fail_rate=0.3&latency_ms=50`). `GET /ledger` shows what really happened, `GET /access.log` what web servers write.
//!
//! Without any knob, a hold of more than 100 pieces is refused (409), so that an order can fail for good.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ledger::{Ledger, Recorded, Wanted};

/// What the shop's web server has seen: for the example that counts it.
const ACCESS_LOG: &str = include_str!("../../../../examples/data/access.log");
/// How many pieces can be held at once.
const PIECES_MAX: i64 = 100;
/// No request is delayed longer than this.
const LATENCY_MS_MAX: u64 = 60_000;

/// How the shop is set up.
#[derive(Debug, Clone)]
pub struct ShopOptions {
    /// The file of the ledger.
    pub ledger: PathBuf,
}

/// How an endpoint misbehaves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// How long every answer takes, in milliseconds.
    pub latency_ms: u64,
    /// How many of the next requests fail; counts down.
    pub fail_next: u64,
    /// Which share of requests fails, from 0 to 1.
    pub fail_rate: f64,
    /// What a failing request is answered with; 503 when absent.
    pub fail_status: Option<u16>,
    /// Whether a failing request fails before its effect, or loses only the answer.
    pub fail: Fail,
}

/// When a failing request fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// Before its effect: nothing happened.
    #[default]
    Before,
    /// After it: it happened, and the answer says otherwise.
    After,
}

/// Something that the shop does: the path to ask for it, its name in the ledger, and the prefix of its ids.
struct Service {
    path: &'static str,
    kind: &'static str,
    prefix: &'static str,
}

const SERVICES: [Service; 5] = [
    Service { path: "charges", kind: "charge", prefix: "ch" },
    Service { path: "refunds", kind: "refund", prefix: "re" },
    Service { path: "holds", kind: "hold", prefix: "ho" },
    Service { path: "releases", kind: "release", prefix: "rl" },
    Service { path: "shipments", kind: "shipment", prefix: "sh" },
];
const CANCELLATION: Service = Service { path: "cancellations", kind: "cancellation", prefix: "ca" };

struct Shop {
    ledger: Mutex<Ledger>,
    knobs: Mutex<BTreeMap<String, Knobs>>,
}

/// The shop's routes.
///
/// # Errors
/// The ledger cannot be opened.
pub fn router(options: ShopOptions) -> io::Result<Router> {
    let shop = Arc::new(Shop { ledger: Mutex::new(Ledger::open(&options.ledger)?), knobs: Mutex::default() });
    let mut router = Router::new()
        .route("/", get(|| async { "the demo shop; its ledger is at /ledger\n" }))
        .route("/access.log", get(|| async { ACCESS_LOG }))
        .route("/ledger", get(show_ledger))
        .route("/knobs", get(show_knobs).put(turn_knobs))
        .route("/shipments/{id}", delete(cancel_shipment));
    for service in &SERVICES {
        let handler =
            move |State(shop): State<Arc<Shop>>, Query(knobs): Query<Knobs>, headers: HeaderMap, body: Bytes| {
                let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
                async move {
                    let body = body.map_err(|err| refuse(StatusCode::BAD_REQUEST, &err.to_string()))?;
                    shop.serve(service, Asked { headers, knobs, body }).await
                }
            };
        router = router.route(&format!("/{}", service.path), post(handler));
    }
    Ok(router.with_state(shop))
}

/// A request, whatever it asks for.
struct Asked {
    headers: HeaderMap,
    /// Knobs in the query; they come on top of the endpoint's.
    knobs: Knobs,
    body: Value,
}

impl Shop {
    async fn serve(self: Arc<Shop>, service: &'static Service, asked: Asked) -> Result<Response, Refusal> {
        let key = asked.headers.get("idempotency-key").and_then(|it| it.to_str().ok()).filter(|it| !it.is_empty());
        let Some(key) = key.map(str::to_owned) else {
            return Err(refuse(StatusCode::BAD_REQUEST, "an Idempotency-Key is needed"));
        };
        let Mood { latency, failure } = self.mood(service.path, &asked.knobs);
        tokio::time::sleep(latency).await;
        if let Some((status, Fail::Before)) = failure {
            return Err(refuse(status, "the shop is out of order"));
        }
        check(service, &asked.body)?;
        let wanted = Wanted { key, kind: service.kind, body: asked.body, at: Utc::now() };
        // The ledger waits for the disk.
        let recorded = tokio::task::spawn_blocking(move || {
            let body = wanted.body.clone();
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.record(wanted, |number| answer(service, number, body))
        });
        let recorded = match recorded.await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(err)) => return Err(refuse(StatusCode::INSUFFICIENT_STORAGE, &err.to_string())),
            Err(_) => return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the ledger broke")),
        };
        if let Some((status, Fail::After)) = failure {
            return Err(refuse(status, "the answer was lost"));
        }
        match recorded {
            Recorded::Now(answer) => Ok((StatusCode::CREATED, Json(answer)).into_response()),
            Recorded::Before(answer) => Ok((StatusCode::OK, Json(answer)).into_response()),
            Recorded::KeyReused => {
                Err(refuse(StatusCode::CONFLICT, "this Idempotency-Key was used for something else"))
            }
        }
    }

    /// How the endpoint feels about this request.
    fn mood(&self, path: &str, query: &Knobs) -> Mood {
        let mut knobs = self.knobs.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = knobs.entry(path.to_owned()).or_default();
        let fails_by_count = endpoint.fail_next > 0;
        endpoint.fail_next = endpoint.fail_next.saturating_sub(1);
        let rate = endpoint.fail_rate.max(query.fail_rate);
        let latency_ms = endpoint.latency_ms.max(query.latency_ms).min(LATENCY_MS_MAX);
        let source: &Knobs = if query.fail_rate > 0.0 { query } else { endpoint };
        let status = source.fail_status.and_then(|it| StatusCode::from_u16(it).ok());
        let failure = (status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), source.fail);
        Mood {
            latency: Duration::from_millis(latency_ms),
            failure: (fails_by_count || chance() < rate).then_some(failure),
        }
    }
}

struct Mood {
    latency: Duration,
    failure: Option<(StatusCode, Fail)>,
}

/// A number from 0 to below 1; 0 when the system has no randomness to give, so that what may fail does.
fn chance() -> f64 {
    getrandom::u32().map_or(0.0, |it| f64::from(it) / (f64::from(u32::MAX) + 1.0))
}

/// The shop's only rule: there are not that many pieces.
fn check(service: &Service, body: &Value) -> Result<(), Refusal> {
    let quantity = body.get("quantity").and_then(Value::as_i64).unwrap_or(1);
    if service.kind == "hold" && quantity > PIECES_MAX {
        return Err(refuse(StatusCode::CONFLICT, &format!("out of stock: {quantity} wanted, {PIECES_MAX} there")));
    }
    Ok(())
}

/// What is asked for, with an id and, for a shipment, a tracking number.
fn answer(service: &Service, number: usize, body: Value) -> Value {
    let mut answer = match body {
        Value::Object(map) => map,
        Value::Null => serde_json::Map::new(),
        other => serde_json::Map::from_iter([("body".to_owned(), other)]),
    };
    answer.insert("id".to_owned(), json!(format!("{}_{number}", service.prefix)));
    if service.kind == "shipment" {
        answer.insert("tracking".to_owned(), json!(format!("WL{number:08}")));
    }
    Value::Object(answer)
}

/// A request that the shop does not serve, and why.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

fn refuse(status: StatusCode, what: &str) -> Refusal {
    Refusal(status, what.to_owned())
}

async fn cancel_shipment(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<String>,
    Query(knobs): Query<Knobs>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    shop.serve(&CANCELLATION, Asked { headers, knobs, body: json!({ "shipment": id }) }).await
}

async fn show_ledger(State(shop): State<Arc<Shop>>) -> Json<Value> {
    let ledger = shop.ledger.lock().unwrap_or_else(PoisonError::into_inner);
    Json(json!({ "effects": ledger.effects(), "counts": ledger.counts() }))
}

async fn show_knobs(State(shop): State<Arc<Shop>>) -> Json<BTreeMap<String, Knobs>> {
    Json(shop.knobs.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Sets the knobs of the endpoints that are named, and leaves the others.
async fn turn_knobs(
    State(shop): State<Arc<Shop>>,
    Json(turned): Json<BTreeMap<String, Knobs>>,
) -> Result<Json<BTreeMap<String, Knobs>>, Refusal> {
    let known = |path: &str| SERVICES.iter().chain([&CANCELLATION]).any(|it| it.path == path);
    if let Some(path) = turned.keys().find(|path| !known(path)) {
        return Err(refuse(StatusCode::NOT_FOUND, &format!("there is no endpoint `{path}`")));
    }
    let mut knobs = shop.knobs.lock().unwrap_or_else(PoisonError::into_inner);
    knobs.extend(turned);
    Ok(Json(knobs.clone()))
}
