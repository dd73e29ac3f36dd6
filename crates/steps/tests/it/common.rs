//! A context for an attempt, and the shapes that tests check.

use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use axum::http::{HeaderMap, Uri};
use chrono::NaiveDateTime;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use windlass_definition::{Timestamp, Value};
use windlass_engine::{
    id::{RunId, TenantKey},
    trace::Trace,
};
use windlass_runtime::{
    EventRequest, PublishedEvent, RuntimeError,
    step::{Boxed, Events, Step, StepContext, StepFailure},
};
use windlass_store::{KeySource, Location, MasterKey, Store, StoreOptions};

/// A context, and the store that is behind it.
pub struct Scene {
    pub context: StepContext,
    _directory: Option<tempfile::TempDir>,
}

/// Keeps events, as a runtime does that nobody waits in.
#[derive(Default)]
pub struct Kept(pub Mutex<Vec<EventRequest>>);

impl Events for Kept {
    fn publish(&self, event: EventRequest) -> Boxed<'_, Result<PublishedEvent, RuntimeError>> {
        self.0.lock().unwrap().push(event);
        Box::pin(async { Ok(PublishedEvent { duplicate: false, taken: 0 }) })
    }
}

pub async fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let location = Location::Sqlite { data_dir: directory.path().join("data") };
    Scene { _directory: Some(directory), ..scene_in(location).await }
}

/// A context over the store that is there.
pub async fn scene_in(location: Location) -> Scene {
    let mut options = StoreOptions::new(location);
    if let KeySource::Absent = options.master_key {
        options.master_key =
            KeySource::Text { holder: "the test", keys: Arc::new(MasterKey::generate().unwrap().to_text()) };
    }
    let store = Store::open(options).await.unwrap();
    let context = StepContext {
        tenant: TenantKey::DEFAULT,
        run: RunId::from_parts(0, [0; 10]),
        workflow: "test".into(),
        path: "step".into(),
        key: "00000000/step".into(),
        trace: Trace::of_run(RunId::from_parts(0, [0; 10])),
        attempt: 1,
        now: Timestamp::from_micros(0),
        stop: CancellationToken::new(),
        store,
        events: Arc::new(Kept::default()),
        bounds: std::sync::Arc::default(),
        credential: None,
    };
    Scene { context, _directory: None }
}

pub async fn run(step: &dyn Step, with: serde_json::Value) -> Result<serde_json::Value, StepFailure> {
    let scene = scene().await;
    let output = step.run(&scene.context, Value::from(with)).await;
    output.map(|it| it.to_serde())
}

/// The output, or `{error: class/code}`.
pub async fn answer(step: &dyn Step, with: serde_json::Value) -> serde_json::Value {
    match run(step, with).await {
        Ok(output) => output,
        Err(failure) => json!({ "error": format!("{}/{}", failure.error.class, failure.error.code) }),
    }
}

/// Whether a request is signed with that key for what its signature names, by the rules of AWS.
pub fn is_signed_with(secret_key: &str, (method, uri): (&str, &Uri), headers: &HeaderMap, body: &[u8]) -> bool {
    let given = headers["authorization"].to_str().unwrap();
    let part = |name: &str| given.split([' ', ',']).find_map(|part| part.trim().strip_prefix(name)).unwrap();
    let [id, _, region, service, _] = part("Credential=").split('/').collect::<Vec<_>>()[..] else { return false };
    let header = |name: &str| headers.get(name).map(|it| it.to_str().unwrap());
    // These the signer adds itself.
    let own = ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];
    let signed = part("SignedHeaders=").split(';').filter(|name| !own.contains(name));
    let signed = signed.map(|name| (name, header(name).unwrap()));
    let token = header("x-amz-security-token").map(str::to_owned);
    let identity = Credentials::new(id, secret_key, token, None, "test").into();
    let at = NaiveDateTime::parse_from_str(header("x-amz-date").unwrap(), "%Y%m%dT%H%M%SZ").unwrap().and_utc();
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let params = v4::SigningParams::builder().identity(&identity).region(region).name(service).time(at.into());
    let params = params.settings(settings).build().unwrap().into();
    let url = format!("http://{}{uri}", header("host").unwrap());
    let request = SignableRequest::new(method, url, signed, SignableBody::Bytes(body)).unwrap();
    sign(request, &params).unwrap().signature() == part("Signature=")
}
