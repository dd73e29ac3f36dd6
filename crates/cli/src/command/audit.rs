//! `windlass audit …`: its end, a judgement, and the whole of it as a file.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;
use windlass_store::{AuditReport, Trust, verify_file};

use super::{Context, db::look_at, records::save};
use crate::{
    args::AuditCommand,
    client::{Call, query},
    exit::{Exit, Failure, Outcome},
    output,
    place::of_store,
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there; a file cannot be read or written.
pub async fn run(command: AuditCommand, context: &Context) -> Outcome {
    match command {
        AuditCommand::Verify { file: Some(file), key, head, .. } => verify_here(&file, (key, head), context),
        AuditCommand::Verify { all: true, .. } => verify_all(context).await,
        AuditCommand::Verify { head, .. } => {
            let query = query(&[("head", head)]);
            let report = asked(Call::get(format!("/audit/verify{query}")), context).await?;
            told(std::slice::from_ref(&report), context)
        }
        AuditCommand::Head => {
            let head = asked(Call::get("/audit/head"), context).await?;
            if context.json() {
                output::json(&head)?;
                return Ok(Exit::Done);
            }
            output::line(format!("{}:{}", head["number"], head["hash"].as_str().unwrap_or_default()))?;
            output::line(format!("entries    {}", head["entries"]))?;
            output::line(format!(
                "public key {}",
                head["public_key"].as_str().unwrap_or("none: blocks are not signed")
            ))?;
            Ok(Exit::Done)
        }
        AuditCommand::Proof { output } => {
            let client = context.client().await?;
            let written = save(&client, Call::get("/audit/proof"), output.as_deref()).await;
            client.close().await;
            written.map(|()| Exit::Done)
        }
    }
}

async fn asked(call: Call, context: &Context) -> Result<Value, Failure> {
    context.ask(call).await?.read()
}

fn verify_here(file: &Path, (key, head): (Option<String>, Option<String>), context: &Context) -> Outcome {
    let wrong = |what: &str| Failure::refused(format!("{what}, as `windlass audit head` shows it"));
    let key = key.map(|key| Trust::known_key(&key).ok_or_else(|| wrong("--key is not 64 hexadecimal digits")));
    let head = head.map(|head| Trust::noted_head(&head).ok_or_else(|| wrong("--head is not NUMBER:HASH")));
    let trust = Trust { key: key.transpose()?, head: head.transpose()? };
    let trusted = trust.key.is_some();
    let lines: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let opened = File::open(file).map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
        Box::new(BufReader::new(opened))
    };
    let report = verify_file(lines, trust).map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
    if !trusted && !report.signed_by.is_empty() && !context.json() {
        output::note("the signatures fit the keys that the file names; --key says which one has to be the server's");
    }
    told(&[json(&report)], context)
}

async fn verify_all(context: &Context) -> Outcome {
    let store = look_at(&context.database()?).await?;
    let mut reports = Vec::new();
    for tenant in store.tenants().await.map_err(of_store)? {
        reports.push(json(&store.verify_audit(tenant.key, Trust::default()).await.map_err(of_store)?));
    }
    store.close().await;
    told(&reports, context)
}

fn json(report: &AuditReport) -> Value {
    // A report is plain data: it always has a JSON form.
    serde_json::to_value(report).unwrap_or_default()
}

/// Prints what was found; the exit says whether it was anything.
fn told(reports: &[Value], context: &Context) -> Outcome {
    let sound = reports.iter().all(|report| report["findings_count"] == 0);
    if context.json() {
        match reports {
            [report] => output::json(report)?,
            reports => output::json(&serde_json::json!({ "items": reports }))?,
        }
    } else {
        reports.iter().try_for_each(print)?;
    }
    Ok(if sound { Exit::Done } else { Exit::NotCompleted })
}

fn print(report: &Value) -> Result<(), Failure> {
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    output::line(format!(
        "{}: {} entries in {} blocks, {} not sealed yet, {} archived; head {}:{}",
        text("tenant"),
        report["entries"],
        report["blocks"],
        report["unsealed"],
        report["archived"],
        report["head"],
        text("head_hash"),
    ))?;
    for key in report["signed_by"].as_array().into_iter().flatten() {
        output::line(format!("  signed by {}", key.as_str().unwrap_or_default()))?;
    }
    if report["unsigned_blocks"] != 0 {
        output::line(format!("  {} blocks are not signed", report["unsigned_blocks"]))?;
    }
    for finding in report["findings"].as_array().into_iter().flatten() {
        let part = |name: &str| match &finding[name] {
            Value::Null => String::new(),
            Value::String(text) => format!("{name} {text} "),
            other => format!("{name} {other} "),
        };
        let problem = finding["problem"].as_str().unwrap_or_default();
        output::line(format!("  WRONG: {}{}{problem}", part("block"), part("entry")))?;
    }
    output::line(match report["findings_count"].as_u64() {
        Some(0) => "  nothing was changed, removed, inserted or swapped".to_owned(),
        count => format!("  {} things are wrong", count.unwrap_or_default()),
    })
}
