//! Recorded executions of scientific workflows, converted into documents.
//!
//! The recordings are from the public collection wfcommons/WfInstances (LGPL-3.0), in WfFormat. What is kept of them is
//! who waits for whom and how long each task took: `examples/wfinstances/data`. A task becomes a `bench` step that
//! `needs` its parents and sleeps for its runtime, scaled by the run's input.
//!
//! Invariant: each task is one step, and each parent one need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How to convert.
#[derive(Args)]
pub struct Options {
    /// Recordings in WfFormat to take into examples/wfinstances/data first.
    #[arg(long, value_name = "FILE")]
    import: Vec<PathBuf>,
    /// How many milliseconds a recorded second lasts when the run's input does not say.
    #[arg(long, default_value_t = 0.0)]
    scale: f64,
}

/// What is kept of a recording.
#[derive(Serialize, Deserialize)]
struct Recording {
    /// Where it is from, and under which licence.
    source: String,
    /// What it computes, as the recording names it.
    name: String,
    /// When it was recorded.
    created_at: String,
    /// The tasks, in the order of the recording.
    tasks: Vec<Task>,
}

#[derive(Serialize, Deserialize)]
struct Task {
    id: String,
    parents: Vec<String>,
    runtime_s: f64,
}

/// Takes in recordings, and writes a document for each that is there.
///
/// # Errors
/// A recording cannot be read, or a document cannot be written.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let folder = root.join("examples/wfinstances");
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    for file in &options.import {
        let stem = file.file_stem().context("a recording has a file name")?.to_string_lossy().into_owned();
        let recording = import(file).with_context(|| format!("failed to import {}", file.display()))?;
        fs::write(data.join(format!("{stem}.json")), compact(&recording)?)?;
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(&data)?.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths.iter().filter(|it| it.extension().is_some_and(|it| it == "json")) {
        let recording: Recording = serde_json::from_slice(&fs::read(path)?)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let document = document(&stem, &recording, options.scale).with_context(|| path.display().to_string())?;
        fs::write(folder.join(format!("{stem}.yaml")), document)?;
        eprintln!("wfinstances: {stem}: {} tasks", recording.tasks.len());
    }
    Ok(())
}

fn import(file: &Path) -> anyhow::Result<Recording> {
    let whole: Value = serde_json::from_slice(&fs::read(file)?)?;
    let list =
        |pointer: &str| whole.pointer(pointer).and_then(Value::as_array).with_context(|| format!("no {pointer}"));
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let runtimes: BTreeMap<String, f64> = list("/workflow/execution/tasks")?
        .iter()
        .map(|it| (text(it, "id"), it.get("runtimeInSeconds").and_then(Value::as_f64).unwrap_or(0.0)))
        .collect();
    let tasks = list("/workflow/specification/tasks")?.iter().map(|it| {
        let id = text(it, "id");
        let parents = it.get("parents").and_then(Value::as_array).into_iter().flatten();
        let parents = parents.filter_map(|it| it.as_str().map(str::to_owned)).collect();
        let runtime_s = runtimes.get(&id).copied().unwrap_or(0.0);
        Task { id, parents, runtime_s }
    });
    Ok(Recording {
        source: "wfcommons/WfInstances, LGPL-3.0".to_owned(),
        name: text(&whole, "name"),
        created_at: text(&whole, "createdAt"),
        tasks: tasks.collect(),
    })
}

/// JSON with one task on a line, so that a change of one shows as one.
fn compact(recording: &Recording) -> anyhow::Result<String> {
    let tasks: Result<Vec<String>, _> = recording.tasks.iter().map(serde_json::to_string).collect();
    let head = |value: &str| serde_json::to_string(value);
    Ok(format!(
        "{{\"source\":{},\"name\":{},\"created_at\":{},\"tasks\":[\n{}\n]}}\n",
        head(&recording.source)?,
        head(&recording.name)?,
        head(&recording.created_at)?,
        tasks?.join(",\n")
    ))
}

fn document(stem: &str, recording: &Recording, scale: f64) -> anyhow::Result<String> {
    let edges: usize = recording.tasks.iter().map(|it| it.parents.len()).sum();
    let mut document = format!(
        "# A recorded execution of a real scientific workflow: {} tasks, {edges} edges.\n\
         # Source: {}; recorded {}. Made by `cargo xtask wfinstances`.\n\
         # With ms_per_second: 1, a task that took a second sleeps for a millisecond.\n\
         name: {stem}\n\
         description: The recorded workflow {:?}, its runtimes scaled.\n\
         tags: [wfinstances]\n\
         input:\n  type: object\n  properties:\n    ms_per_second: {{ type: number, minimum: 0, default: {scale} }}\n\
         steps:\n",
        recording.tasks.len(),
        recording.source,
        recording.created_at,
        recording.name,
    );
    for task in in_order(&recording.tasks)? {
        let id = step_id(&task.id);
        let needs: BTreeSet<String> = task.parents.iter().map(|it| step_id(it)).collect();
        let needs = needs.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            document,
            "  - {{ id: {id}, type: bench, needs: [{needs}], with: {{ value: {id}, sleep_ms: \"${{{{ int({:?} * input.ms_per_second) }}}}\" }} }}",
            task.runtime_s
        );
    }
    Ok(document)
}

/// The recording's id as the id of a step.
fn step_id(id: &str) -> String {
    id.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect()
}

/// The tasks with each after its parents, and otherwise as recorded.
fn in_order(tasks: &[Task]) -> anyhow::Result<Vec<&Task>> {
    let ids: BTreeSet<String> = tasks.iter().map(|it| step_id(&it.id)).collect();
    if ids.len() != tasks.len() {
        bail!("two tasks have the same id");
    }
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let mut ordered: Vec<&Task> = Vec::with_capacity(tasks.len());
    while ordered.len() < tasks.len() {
        let before = ordered.len();
        for task in tasks {
            if !placed.contains(task.id.as_str()) && task.parents.iter().all(|it| placed.contains(it.as_str())) {
                placed.insert(&task.id);
                ordered.push(task);
            }
        }
        if ordered.len() == before {
            bail!("{} tasks wait for each other, or for tasks that are not there", tasks.len() - before);
        }
    }
    Ok(ordered)
}
