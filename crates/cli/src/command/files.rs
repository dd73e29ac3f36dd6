//! `windlass files …`: bytes to the server and back, with a progress bar.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream};
use http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Context;
use crate::{
    args::FilesCommand,
    client::{Bytes, Call, Client, SentFile, escape, query},
    exit::{Exit, Failure, Outcome},
    output,
    output::table::cell,
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there; a file cannot be read or written.
pub async fn run(command: FilesCommand, context: &Context) -> Outcome {
    let client = context.client().await?;
    let outcome = ask(&client, command, context).await;
    client.close().await;
    outcome
}

async fn ask(client: &Client, command: FilesCommand, context: &Context) -> Outcome {
    match command {
        FilesCommand::Upload { file, name, description, workflow_id, run_id, version_of, media_type } => {
            let mut call = match version_of {
                Some(id) => Call { method: Method::PUT, ..Call::get(format!("/files/{}/content", escape(&id))) },
                None => {
                    let own =
                        || file.file_name().filter(|_| !is_standard(&file)).map(|it| it.to_string_lossy().into_owned());
                    let name = name.or_else(own);
                    let name =
                        name.ok_or_else(|| Failure::refused("standard input has no name: give one with --name"))?;
                    let given = [
                        ("name", Some(name)),
                        ("description", description),
                        ("workflow_id", workflow_id),
                        ("run_id", run_id),
                    ];
                    Call::post(format!("/files{}", query(&given)))
                }
            };
            if let Some(media_type) = media_type {
                call = call.header("content-type", media_type);
            }
            let (sent, bar) = open(&file, context).await?;
            let answer = client.send_file(call, sent).await;
            bar.finish_and_clear();
            let answer = answer?;
            told(&answer.read()?, &answer.text(), context)
        }
        FilesCommand::Download { id, output, version } => download(client, (&id, version), (output, context)).await,
        FilesCommand::Link { id, expires_in, downloads_max, version, description } => {
            let span = windlass_definition::duration::parse(&expires_in)
                .ok_or_else(|| Failure::refused(format!("`{expires_in}` is no span such as `7d`")))?;
            let expires_at = chrono::Utc::now() + chrono::Duration::from_std(span).unwrap_or(chrono::Duration::MAX);
            let mut body = Map::from_iter([
                ("file_id".to_owned(), json!(id)),
                ("expires_at".to_owned(), json!(expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))),
            ]);
            let given = [
                ("downloads_max", downloads_max.map(Value::from)),
                ("version", version.map(Value::from)),
                ("description", description.map(Value::from)),
            ];
            body.extend(given.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))));
            let link: Value = client.send(Call::post("/file-links").json(&body)).await?.read()?;
            let path = format!("/file-links/{}/sign", escape(link["id"].as_str().unwrap_or_default()));
            let signed: Value = client.send(Call::post(path)).await?.read()?;
            if context.json() {
                output::json(&json!({ "id": link["id"], "path": signed["path"], "expires_at": signed["expires_at"] }))?;
            } else {
                output::line(format!("{}{}", context.server_url(), cell(&signed, "path")))?;
                output::line(format!(
                    "  leads there until {}; revoke it with: windlass files links revoke {}",
                    cell(&signed, "expires_at"),
                    cell(&link, "id")
                ))?;
            }
            Ok(Exit::Done)
        }
        FilesCommand::Usage => {
            let answer = client.send(Call::get("/file-usage")).await?;
            let usage: Value = answer.read()?;
            if context.json() {
                output::line(answer.text())?;
            } else {
                let of = usage["bytes_max"].as_u64().map_or(String::new(), |max| format!(" of {max}"));
                output::line(format!("{}{of} bytes", usage["bytes"]))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn told(file: &Value, text: &str, context: &Context) -> Outcome {
    if context.json() {
        output::line(text)?;
    } else {
        output::line(format!("{}  {}", cell(file, "id"), cell(file, "name")))?;
        output::line(format!(
            "  version {}, {} bytes, {}, sha256 {}",
            file["version"],
            file["size_bytes"],
            cell(file, "media_type"),
            cell(file, "sha256")
        ))?;
    }
    Ok(Exit::Done)
}

fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

fn bar(bytes: Option<u64>, context: &Context) -> ProgressBar {
    let bar = match bytes {
        Some(bytes) => ProgressBar::new(bytes),
        None => ProgressBar::no_length(),
    };
    // Programs that read us see nothing of it, and neither does a file.
    bar.set_draw_target(if context.json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() });
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

async fn open(file: &Path, context: &Context) -> Result<(SentFile, ProgressBar), Failure> {
    let failed = |error: std::io::Error| Failure::refused(format!("{}: {error}", file.display()));
    let place = if is_standard(file) { Path::new("/dev/stdin") } else { file };
    let reader = tokio::fs::File::open(place).await.map_err(failed)?;
    let about = reader.metadata().await.map_err(failed)?;
    if about.is_dir() {
        return Err(Failure::refused(format!("{}: it is a directory", file.display())));
    }
    // What is no plain file does not say how long it is.
    let bytes = about.is_file().then_some(about.len());
    let bar = bar(bytes, context);
    let pieces = stream::try_unfold((reader, bar.clone()), |(mut reader, bar)| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let count = reader.read(&mut piece).await?;
        piece.truncate(count);
        bar.inc(count as u64);
        Ok((count > 0).then(|| (Bytes::from(piece), (reader, bar))))
    });
    Ok((SentFile { pieces: pieces.boxed(), bytes }, bar))
}

async fn download(
    client: &Client,
    (id, version): (&str, Option<i64>),
    (to, context): (Option<PathBuf>, &Context),
) -> Outcome {
    let file: Value = client.send(Call::get(format!("/files/{}", escape(id)))).await?.read()?;
    let version = query(&[("version", version.map(|number| number.to_string()))]);
    let bytes = file["size_bytes"].as_u64().filter(|_| version.is_empty());
    let mut pieces = client.pieces(Call::get(format!("/files/{}/content{version}", escape(id)))).await?;
    let bar = bar(bytes, context);
    if to.as_deref().is_some_and(is_standard) {
        let mut out = std::io::stdout();
        while let Some(piece) = pieces.next().await {
            out.write_all(&piece?)?;
        }
        out.flush()?;
        return Ok(Exit::Done);
    }
    // A name is no path: the server takes none with `/` in it, and we go by the last part alone.
    let own = Path::new(file["name"].as_str().unwrap_or_default()).file_name().map(PathBuf::from);
    let given = to.is_some();
    let path =
        to.or(own).ok_or_else(|| Failure::refused("the file has no name that a file here can have: use --output"))?;
    if !given && path.exists() {
        return Err(Failure::refused(format!("{} is there already: name another place with --output", path.display())));
    }
    let failed = |error: std::io::Error| Failure::refused(format!("{}: {error}", path.display()));
    // Beside its place until it is whole.
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let mut out = tokio::fs::File::create(&partial).await.map_err(failed)?;
    let mut count = 0;
    let written = async {
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            out.write_all(&piece).await.map_err(failed)?;
            count += piece.len() as u64;
            bar.inc(piece.len() as u64);
        }
        out.flush().await.map_err(failed)
    };
    if let Err(failure) = written.await {
        // What is there is not the file.
        let _ = tokio::fs::remove_file(&partial).await;
        return Err(failure);
    }
    tokio::fs::rename(&partial, &path).await.map_err(failed)?;
    bar.finish_and_clear();
    if context.json() {
        output::json(&json!({ "file": path.display().to_string(), "bytes": count }))?;
    } else {
        output::line(format!("{}  {count} bytes", path.display()))?;
    }
    Ok(Exit::Done)
}
