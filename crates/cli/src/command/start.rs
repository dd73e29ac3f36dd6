//! `windlass start`: a run of a published workflow.

use serde_json::{Map, Value, json};

use super::Context;
use crate::{
    args::StartArgs,
    client::{Call, escape, query},
    exit::{Exit, Outcome},
    input, output,
    output::table,
};

/// Starts it, and waits as long as asked.
///
/// # Errors
/// The start is refused, or the server is not there.
pub async fn run(args: StartArgs, context: &Context) -> Outcome {
    let mut body = Map::new();
    if let Some(text) = &args.input {
        body.insert("input".into(), input::json(text, "--input")?);
    }
    if let Some(version) = args.version {
        body.insert("version".into(), version.into());
    }
    if let Some(mode) = args.mode {
        body.insert("mode".into(), mode.into());
    }
    if let Some(key) = args.key {
        body.insert("key".into(), key.into());
    }
    if !args.labels.is_empty() {
        body.insert("labels".into(), json!(args.labels.into_iter().collect::<std::collections::BTreeMap<_, _>>()));
    }
    if let Some(priority) = args.priority {
        body.insert("priority".into(), priority.into());
    }
    let waits = args.wait.is_some();
    let path = format!("/workflows/{}/runs{}", escape(&args.name), query(&[("wait", args.wait)]));
    let mut call = Call::post(path).json(&Value::Object(body));
    if let Some(key) = args.idempotency_key {
        call = call.header("idempotency-key", key);
    }
    // What cannot be read is as good as nothing, and might be no header.
    if let (Some(trace), Some(traceparent)) = (args.trace.read(), args.trace.traceparent) {
        call = call.header("traceparent", traceparent);
        call.headers.extend(trace.state.map(|state| ("tracestate", state.to_string())));
    }
    let answer = context.ask(call).await?;
    let run: Value = answer.read()?;
    if context.json() {
        output::line(answer.text())?;
    } else {
        output::line(format!("{} {}", table::cell(&run, "id"), table::status(&table::cell(&run, "status"))))?;
        show_result(&run)?;
    }
    Ok(exit_of(&run, waits))
}

/// The output or the error of a run, for people.
///
/// # Errors
/// Standard output cannot be written.
pub fn show_result(run: &Value) -> Result<(), crate::exit::Failure> {
    if !run["output"].is_null() {
        output::line(output::pretty(&run["output"]))?;
    }
    if let Value::Object(error) = &run["error"] {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        output::note(format!("{}/{}: {}", text("class"), text("code"), text("message")));
    }
    Ok(())
}

/// What the run's status means for who waited.
pub fn exit_of(run: &Value, waits: bool) -> Exit {
    match run["status"].as_str() {
        Some("completed") => Exit::Done,
        _ if waits => Exit::NotCompleted,
        _ => Exit::Done,
    }
}
