//! The peers are described as the driver reads it, and the tables say what the lines say. Nothing is installed here.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;
use windlass_bench::peers::{
    manifest::{Manifest, fingerprint},
    results,
    subject::{Subject, Work},
    table,
};

fn peers() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))
}

#[test]
fn every_peer_can_be_installed_and_started() {
    let manifests = Manifest::all(peers()).unwrap();
    assert!(manifests.len() >= 10, "{manifests:?}");
    for manifest in manifests {
        let folder = peers().join(&manifest.name);
        for script in ["install.sh", "serve.sh"] {
            let script = folder.join(script);
            let mode = fs::metadata(&script).unwrap_or_else(|error| panic!("{script:?}: {error}")).permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{script:?} cannot be executed");
        }
        // Versions are pinned: by a lock file of its package manager, or of the workspace of those in Rust.
        let locks = ["package-lock.json", "requirements.txt", "Cargo.toml"];
        assert!(locks.iter().any(|lock| folder.join(lock).exists()), "{folder:?} pins no versions");
    }
}

#[test]
fn names_say_the_database_where_there_are_several() {
    let subjects = Subject::all(peers()).unwrap();
    let names: Vec<String> = subjects.iter().map(Subject::name).collect();
    for name in ["windlass-sqlite", "windlass-postgres", "restate", "dbos-sqlite", "dbos-postgres", "pg-boss", "n8n"] {
        assert!(names.iter().any(|it| it == name), "{name} in {names:?}");
    }
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn everybody_is_asked_for_what_it_can_do() {
    let address = ([127, 0, 0, 1], 4000).into();
    let asked = |name: &str, work| {
        let subject = Subject::all(peers()).unwrap().into_iter().find(|it| it.name() == name).unwrap();
        let request = subject.request(work, address)?;
        let line = String::from_utf8(request.bytes).unwrap().lines().next().unwrap().to_owned();
        Some(format!("{line}: {}", String::from_utf8(request.expected).unwrap()))
    };
    for (name, work, expected) in [
        ("restate", Work::Steps(10), Some(r#"POST /Bench/steps HTTP/1.1: "result":10}"#)),
        ("dbos-sqlite", Work::Steps(1), Some(r#"POST /steps/1 HTTP/1.1: "result":1}"#)),
        ("dbos-sqlite", Work::FanOut(1_000), Some(r#"POST /fan-out/1000 HTTP/1.1: "result":1000}"#)),
        ("dbos-sqlite", Work::FanOut(100_000), None),
        ("dbos-sqlite", Work::Job, None),
        ("n8n", Work::Steps(100), Some(r#"POST /webhook/bench-100 HTTP/1.1: "result":100}"#)),
        ("n8n", Work::FanOut(1_000), None),
        ("pg-boss", Work::Job, Some(r#"POST /jobs/1 HTTP/1.1: "result":1}"#)),
        ("pg-boss", Work::Backlog(7), Some(r#"POST /backlog/7 HTTP/1.1: "result":7}"#)),
        (
            "windlass-sqlite",
            Work::FanOut(100_000),
            Some(r#"POST /api/v1/workflows/fan-out-100000/runs?wait=60s HTTP/1.1: "status":"completed""#),
        ),
        ("windlass-postgres", Work::Job, Some(r#"POST /api/v1/workflows/bench-1/runs HTTP/1.1: "id":""#)),
        ("windlass-postgres", Work::Backlog(7), None),
    ] {
        assert_eq!(asked(name, work).as_deref(), expected, "{name} {work:?}");
    }
}

#[test]
fn a_peer_is_installed_again_when_its_files_change() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("serving/serving.py", "a"), ("dbos/app.py", "b"), ("n8n/app.mjs", "c"), ("Cargo.lock", "d")] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let first = fingerprint(folder.path(), "dbos").unwrap();
    fs::write(folder.path().join("n8n/app.mjs"), "other").unwrap();
    assert_eq!(fingerprint(folder.path(), "dbos").unwrap(), first);
    for changed in ["serving/serving.py", "dbos/app.py", "Cargo.lock"] {
        let before = fingerprint(folder.path(), "dbos").unwrap();
        fs::write(folder.path().join(changed), "other").unwrap();
        assert_ne!(fingerprint(folder.path(), "dbos").unwrap(), before, "{changed}");
    }
}

/// What a run might leave, as `target/bench/peers.jsonl` has it.
fn measured() -> Vec<results::Line> {
    let line = |what: &str, peer: &str, database: &str, figures: serde_json::Value| {
        let mut line = json!({ "what": what, "peer": peer, "database": database, "commit": "abc", "other_cores": 0.1 });
        line.as_object_mut().unwrap().extend(figures.as_object().unwrap().clone());
        line.to_string()
    };
    let runs = |per_second: f64, ms: f64| {
        json!({ "clients": 256, "runs_per_s": per_second, "steps_per_s": per_second * 10.0, "p50_ms": ms, "p99_ms": ms * 2.0,
            "of_limit": 0.1, "cpu_s_per_1000_steps": 0.02 })
    };
    let lines = [
        line("limit: fdatasync of 8 KiB", "machine", "-", json!({ "p50_ms": 0.1, "p99_ms": 0.2 })),
        line("runs of 10 steps", "windlass", "sqlite", runs(5000.0, 50.0)),
        line("one run of 10 steps, alone", "windlass", "sqlite", json!({ "p50_ms": 2.5, "p99_ms": 5.0 })),
        line("runs of 100 steps", "windlass", "postgres", json!({ "other_cores": 0.7, "failures": 2 })),
        line("runs of 10 steps", "windlass", "postgres", runs(500.0, 500.0)),
        line("begun", "restate", "own", json!({ "version": "1.2 | 3", "durability": "synced" })),
        line("runs of 10 steps", "restate", "own", runs(1000.0, 250.0)),
        line("one run of 10 steps, alone", "restate", "own", json!({ "p50_ms": 10.0, "p99_ms": 4.0 })),
        line("ended", "restate", "own", json!({})),
        line("failed", "n8n", "sqlite", json!({ "why": "install.sh ended\nwith 1" })),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    results::read(&path).unwrap()
}

#[test]
fn the_tables_say_what_was_measured() {
    let tables = table::tables(&measured());
    for line in [
        "Measured on commit abc.",
        "Others used the machine meanwhile, so these say little: runs of 100 steps of windlass, PostgreSQL.",
        "windlass, PostgreSQL, runs of 100 steps: 2 wrong answers.",
        "| `fdatasync` of 8 KiB, p50 / p99 | 0.100 / 0.200 ms |",
        "| windlass, SQLite | - | 5,000 | - | 50,000 | 0.100 | 0.020 | - |",
        "| restate | 10 | 4 | 256 | 250 | 500 | - |",
        // More is better for runs, less for the rest; what is below 1 stands out.
        "| windlass, SQLite / restate | - | 5 | - | - | 4 | **0.800** | - | - | - | - | 1 |",
        "| windlass, PostgreSQL / restate | - | **0.500** | - | - | - | - | - | - | - | - | 1 |",
        "4 of 6 are above 1; below 1 are 2, in bold.",
        "| restate | 1.2 \\| 3 | synced |",
        "- n8n, SQLite: install.sh ended with 1",
    ] {
        assert!(tables.lines().any(|it| it == line), "{line}\nin\n{tables}");
    }
    // What nobody measured has no table.
    for title in ["### Jobs", "### Memory and start", "### Our wide fan-outs"] {
        assert!(!tables.contains(title), "{title} in\n{tables}");
    }
}
