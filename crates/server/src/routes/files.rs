//! Files: taking them, giving them, and links to them. Everything else about them is the record `files`.
//!
//! Invariants: nothing that a browser would run is given as what it is; a file is given as what its bytes say, never as
//! what its sender said; whoever transfers a file gives its place at the door to the next request.

use std::{ops::Range, time::Duration};

use axum::{
    body::{Body as HttpBody, Bytes},
    extract::{FromRequest, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use windlass_engine::id::RunId;
use windlass_store::{FileBody, FileContent, RecordView, Target, Thing, Upload, UploadTo, is_active};

use super::records::{if_match, shown};
use crate::{
    app::App,
    auth::{Asked, Authorized, FilesRead, FilesWrite, Within},
    extract::{self, NoBody, PathOf, PathParts, Query},
    features,
    problem::Problem,
    reply::{self, Reply},
};

/// How long a sender may say nothing in the middle of a file.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Characters of a link's token.
const TOKEN_CHARS_MAX: usize = 100;

/// The id of a file.
pub struct FilePath(Uuid);

impl PathParts for FilePath {
    fn read(parts: &[&str]) -> Result<FilePath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "file").map(FilePath)
    }
}

/// The id of a link.
pub struct LinkPath(Uuid);

impl PathParts for LinkPath {
    fn read(parts: &[&str]) -> Result<LinkPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "file link").map(LinkPath)
    }
}

/// The token of a link.
pub struct TokenPath(String);

impl PathParts for TokenPath {
    fn read(parts: &[&str]) -> Result<TokenPath, Problem> {
        let token = parts.first().filter(|token| token.len() <= TOKEN_CHARS_MAX);
        token.map(|token| TokenPath((*token).to_owned())).ok_or_else(|| Problem::not_found("link"))
    }
}

/// A body that is a file: it is read as it comes.
pub struct Sent {
    declared_type: Option<String>,
    bytes_declared: Option<u64>,
    body: FileBody,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Sent, Problem> {
        let headers = request.headers();
        if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(extract::unsupported_media_type("encoded", "files without Content-Encoding"));
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let declared_type = text(header::CONTENT_TYPE).map(str::to_owned);
        let bytes_declared = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let pieces = stream::try_unfold(request.into_body(), |mut body| async move {
            loop {
                let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
                let frame = frame.map_err(|_| format!("nothing came for {} s", SILENCE_MAX.as_secs()))?;
                let Some(frame) = frame else { return Ok(None) };
                let frame = frame.map_err(|error| error.to_string())?;
                // Trailers are nothing of the file.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some((data, body)));
                }
            }
        });
        Ok(Sent { declared_type, bytes_declared, body: pieces.boxed() })
    }
}

/// What a new file is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// What it is called.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// The id of the workflow that it belongs to.
    workflow_id: Option<String>,
    /// The id of the run that it belongs to.
    run_id: Option<String>,
}

impl UploadQuery {
    /// What the file is to belong to; what is no id belongs to nothing, and is refused later.
    fn belongs_to(&self) -> Vec<Thing<'static>> {
        let id = |text: &Option<String>| text.as_ref().map(|text| text.parse().unwrap_or(Uuid::nil()));
        let workflow = id(&self.workflow_id).map(Thing::WorkflowId);
        workflow.into_iter().chain(id(&self.run_id).map(|run| Thing::Run(RunId::new(run)))).collect()
    }
}

/// Upload a file: the body is the file, of whatever type.
#[utoipa::path(post, path = "/files", tag = "files", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file."),
    responses((status = 201, description = "Its row.", body = schema_of::File)))]
pub async fn upload_file(
    caller: Within<FilesWrite>,
    State(app): State<App>,
    Query(query): Query<UploadQuery>,
    asked: Asked,
    sent: Sent,
) -> Reply {
    let caller = caller.file_of(&app, &query.belongs_to()).await?;
    let UploadQuery { name, description, workflow_id, run_id } = query;
    let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
    let given = [("description", description), ("workflow_id", workflow_id), ("run_id", run_id)];
    body.extend(given.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), json!(value)))));
    caller.leave();
    let taken = take(&app, caller.actor(asked), UploadTo::New(Value::Object(body)), sent).await?;
    let mut response = shown(StatusCode::CREATED, &taken)?;
    let place = format!("{}/files/{}", super::API, taken.json["id"].as_str().unwrap_or_default());
    response.headers_mut().insert(header::LOCATION, reply::header_value(&place));
    Ok(response)
}

/// Upload the next version of a file: the body is the file.
#[utoipa::path(put, path = "/files/{id}/content", tag = "files", params(("id" = Uuid, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file."),
    responses((status = 200, description = "The row of the file.", body = schema_of::File)))]
pub async fn upload_version(
    caller: Within<FilesWrite>,
    State(app): State<App>,
    PathOf(FilePath(id)): PathOf<FilePath>,
    asked: Asked,
    request: Request,
) -> Reply {
    let caller = caller.file(&app, id).await?;
    let expect = if_match(request.headers());
    let sent = Sent::from_request(request, &app).await?;
    caller.leave();
    let to = UploadTo::VersionOf(Target { id, expect });
    shown(StatusCode::OK, &take(&app, caller.actor(asked), to, sent).await?)
}

async fn take(app: &App, actor: windlass_store::Actor, to: UploadTo, sent: Sent) -> Result<RecordView, Problem> {
    let Sent { declared_type, bytes_declared, body } = sent;
    Ok(app.store().upload_file(actor, Upload { to, declared_type, bytes_declared, body }).await?)
}

/// Of which version, and how it is to be shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ContentQuery {
    /// Which version; the newest one when left out.
    version: Option<i64>,
    /// Whether a browser may show it in its place. What a browser would run is never shown.
    #[serde(default)]
    inline: bool,
}

/// Fetch a file, or a range of it.
#[utoipa::path(get, path = "/files/{id}/content", tag = "files", params(("id" = Uuid, Path), ContentQuery),
    responses((status = 200, description = "The file.", body = Value, content_type = "*/*"),
        (status = 206, description = "The range of it that was asked for.", body = Value, content_type = "*/*"),
        (status = 304, description = "It is what the caller has.")))]
pub async fn get_content(
    caller: Within<FilesRead>,
    State(app): State<App>,
    PathOf(FilePath(id)): PathOf<FilePath>,
    Query(query): Query<ContentQuery>,
    asked: Asked,
    headers: HeaderMap,
) -> Reply {
    let caller = caller.file(&app, id).await?;
    let content = app.store().file_content(caller.tenant(), id, query.version).await?;
    caller.leave();
    let wanted = asked_for(&headers, &content)?;
    // Who fetches a file in many ranges is noted once.
    if matches!(&wanted, Wanted::All | Wanted::Range(Range { start: 0, .. })) {
        app.store().note_download(caller.actor(asked), &content).await?;
    }
    give(&app, content, (wanted, query.inline)).await
}

/// Fetch a file by a link: whoever has it may, until it expires, is used up or is revoked.
#[utoipa::path(get, path = "/shared-files/{token}", tag = "files", params(("token" = String, Path)),
    responses((status = 200, description = "The file.", body = Value, content_type = "*/*"),
        (status = 206, description = "The range of it that was asked for.", body = Value, content_type = "*/*"),
        (status = 304, description = "It is what the caller has.")))]
pub async fn get_shared_file(
    State(app): State<App>,
    PathOf(TokenPath(token)): PathOf<TokenPath>,
    route: MatchedPath,
    asked: Asked,
    headers: HeaderMap,
) -> Reply {
    features::let_to(&app, app.store().tenant_of_link(&token)?, Some(&route)).await?;
    let shared = app.store().use_file_link(&token, asked.by_somebody()).await?;
    let wanted = asked_for(&headers, &shared.content)?;
    give(&app, shared.content, (wanted, false)).await
}

/// A link as it is given to others.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedLinkView {
    /// Its address on this server, without the server's own.
    path: String,
    /// Until when it leads anywhere.
    expires_at: String,
}

/// Show a link as it is given to others: who has it needs no token.
#[utoipa::path(post, path = "/file-links/{id}/sign", tag = "files", params(("id" = Uuid, Path)),
    responses((status = 200, body = SignedLinkView)))]
pub async fn sign_link(
    caller: Authorized<FilesWrite>,
    State(app): State<App>,
    PathOf(LinkPath(id)): PathOf<LinkPath>,
    _: NoBody,
) -> Reply {
    let (token, expires_at) = app.store().sign_file_link(caller.tenant(), id).await?;
    let path = format!("{}/shared-files/{token}", super::API);
    reply::ok(&SignedLinkView { path, expires_at: expires_at.to_string() })
}

/// What the files of a tenant take.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileUsageView {
    /// Bytes in the storage: of all versions, also of files that are deleted and not cleared away yet.
    bytes: u64,
    /// The most that they may be; null is no bound but the storage's own.
    #[schema(required)]
    bytes_max: Option<u64>,
}

/// See how much room the files of the tenant take.
#[utoipa::path(get, path = "/file-usage", tag = "files", responses((status = 200, body = FileUsageView)))]
pub async fn get_usage(caller: Authorized<FilesRead>, State(app): State<App>) -> Reply {
    let bytes = app.store().file_usage(caller.tenant()).await?;
    reply::ok(&FileUsageView { bytes, bytes_max: app.store().rules_of(caller.tenant()).file_bytes_max })
}

/// What of a file is to be given.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Range(Range<u64>),
    /// The caller has it.
    Nothing,
}

/// What the conditions and the range of a request ask for.
fn asked_for(headers: &HeaderMap, content: &FileContent) -> Result<Wanted, Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let tag = format!("\"{}\"", content.sha256);
    if text(header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.split(',').any(|it| it.trim() == tag)) {
        return Ok(Wanted::Nothing);
    }
    let Some(range) = text(header::RANGE) else { return Ok(Wanted::All) };
    if text(header::IF_RANGE).is_some_and(|it| it != tag) {
        return Ok(Wanted::All);
    }
    match range_of(range, content.size_bytes) {
        Asking::All => Ok(Wanted::All),
        Asking::Part(range) => Ok(Wanted::Range(range)),
        Asking::Beyond => {
            let detail = format!("the file has {} bytes, and none where `{range}` begins", content.size_bytes);
            let bounds = reply::header_value(&format!("bytes */{}", content.size_bytes));
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail);
            Err(problem.with_header(header::CONTENT_RANGE, bounds))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asking {
    All,
    Part(Range<u64>),
    Beyond,
}

/// Reads `bytes=0-99`, `bytes=100-` and `bytes=-100`. Several ranges, and what is none, ask for all of it.
fn range_of(text: &str, size: u64) -> Asking {
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|it| it.split_once('-')) else { return Asking::All };
    let range = match (from.trim().parse::<u64>(), to.trim().parse::<u64>(), to.trim().is_empty()) {
        (Ok(from), Ok(to), _) if to >= from => from..to.saturating_add(1).min(size),
        (Ok(from), Err(_), true) => from..size,
        (Err(_), Ok(last), _) if from.trim().is_empty() && last > 0 => size.saturating_sub(last)..size,
        (Err(_), Ok(0), _) if from.trim().is_empty() => return Asking::Beyond,
        _ => return Asking::All,
    };
    if range.start >= size { Asking::Beyond } else { Asking::Part(range) }
}

async fn give(app: &App, content: FileContent, (wanted, inline): (Wanted, bool)) -> Reply {
    let mut response = Response::new(HttpBody::empty());
    let tag = reply::header_value(&format!("\"{}\"", content.sha256));
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let range = match wanted {
        Wanted::Nothing => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Wanted::All => 0..content.size_bytes,
        Wanted::Range(range) => {
            let bytes = format!("bytes {}-{}/{}", range.start, range.end - 1, content.size_bytes);
            response.headers_mut().insert(header::CONTENT_RANGE, reply::header_value(&bytes));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            range
        }
    };
    let active = is_active(&content.media_type);
    let media_type = match content.media_type.as_str() {
        _ if active => "application/octet-stream".to_owned(),
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let how = if inline && !active { "inline" } else { "attachment" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, reply::header_value(&media_type));
    headers.insert(header::CONTENT_DISPOSITION, reply::header_value(&disposition(how, &content.name)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let chunks = app.store().read_file(&content, range).await?;
    let pieces = stream::try_unfold(chunks, |mut chunks| async move {
        let next = chunks.next().await.inspect_err(|error| {
            // The answer has begun: its client sees that it ends early.
            tracing::error!(%error, "a file was cut off while it was given");
        });
        Ok::<_, windlass_store::FileError>(next?.map(|chunk: Bytes| (chunk, chunks)))
    });
    *response.body_mut() = HttpBody::from_stream(pieces);
    Ok(response)
}

/// `attachment` with the file's name, in both forms that there are (RFC 6266).
fn disposition(how: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|it| if it.is_ascii_graphic() && !matches!(it, '"' | '\\' | '%') || it == ' ' { it } else { '_' })
        .collect();
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{escaped}")
}

/// The schema of the record, which its descriptor makes.
mod schema_of {
    /// A file.
    #[derive(utoipa::ToSchema)]
    #[schema(as = File)]
    #[expect(dead_code, reason = "the record's own schema takes its place in the document")]
    pub struct File {
        id: uuid::Uuid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("bytes=0-9", Asking::Part(0..10)),
            ("bytes=90-", Asking::Part(90..100)),
            ("bytes=-10", Asking::Part(90..100)),
            ("bytes=-1000", Asking::Part(0..100)),
            ("bytes=50-1000", Asking::Part(50..100)),
            ("bytes=0-18446744073709551615", Asking::Part(0..100)),
            ("bytes=100-", Asking::Beyond),
            ("bytes=-0", Asking::Beyond),
            ("bytes=9-0", Asking::All),
            ("bytes=0-1,5-6", Asking::All),
            ("lines=0-1", Asking::All),
            ("bytes=a-b", Asking::All),
        ] {
            assert_eq!(range_of(text, 100), expected, "{text}");
        }
        assert_eq!(range_of("bytes=0-", 0), Asking::Beyond);
    }

    #[test]
    fn names_stand_in_headers_whatever_they_are() {
        assert_eq!(disposition("attachment", "a.txt"), "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt");
        let odd = disposition("inline", "\u{e4}\"; x\\%.txt");
        assert_eq!(odd, "inline; filename=\"__; x__.txt\"; filename*=UTF-8''%C3%A4%22%3B%20x%5C%25.txt");
    }
}
