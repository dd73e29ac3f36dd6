//! `schemathesis`: requests made from the OpenAPI document, right and wrong ones, on a server that has something of
//! everything. No answer is a server error, and every answer is as the document says.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::Value;
use windlass_testkit::Program;

use crate::{
    Check, Counts, Plan,
    inhabited::Inhabited,
    options::Database,
    report::Outcome,
    world::{Setup, TOKEN, World, quietly},
};

/// Installs the program that makes the requests, when it is not there, and says where it is.
const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/python-tool.sh");
const VERSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis");
/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(3_600);
/// How often a thing that is there is asked for, of all requests that name one.
const KNOWN_SHARE: f64 = 0.8;

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "schemathesis",
    about: "requests made from the OpenAPI document: no server error, and answers as it says",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 5, long: 500 },
    run: |plan| schemathesis(plan).boxed(),
};

/// Requests of each kind for each operation are the count of this check.
async fn schemathesis(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let program = install()?;
    let world = World::begin(&plan, Setup::default()).await?;
    let filled = Inhabited::fill(&world.client, "something").await?;
    let process = world.process(0).context("no server")?;
    let (config, report, log) = (
        world.folder.join("schemathesis.toml"),
        world.folder.join("report.json"),
        world.folder.join("schemathesis.log"),
    );
    fs::write(&config, settings(&filled, &report)?)?;
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(&config)
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", world.address(0)));
    command.args(["--max-examples", &plan.count.to_string(), "--seed", &plan.seed.to_string(), "--no-color"]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    quietly(&mut command, &log)?.current_dir(&world.folder);
    let ended = tokio::task::block_in_place(|| Program::start(&mut command)?.finish(WITHIN))?;
    let said = fs::read_to_string(&log)?;
    judge(&fs::read_to_string(&report).unwrap_or_default(), &mut outcome).context("its report")?;
    if !ended.success() {
        outcome.violation(format!("schemathesis ended with {ended}:\n{said}"));
    }
    if world.process(0) != Some(process) || world.has_died(0)? {
        outcome.violation("the server is gone");
    }
    world.stop(0)?;
    tokio::task::block_in_place(|| world.verify(&[], &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}

/// Where the program is; installs it first.
fn install() -> Result<std::path::PathBuf> {
    let output = Command::new(INSTALL).args([VERSIONS, "schemathesis"]).output().context(INSTALL)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "schemathesis cannot be installed: {said}");
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).to_owned())
}

/// Its settings: what is there for each noun, so that most requests reach something, and where the report goes.
fn settings(filled: &Inhabited, report: &Path) -> Result<String> {
    let mut text = format!("[reports.json]\npath = {:?}\n", report.display().to_string());
    // Whether a body makes sense beyond its form (does that workflow exist?) is not the document's to say.
    text.push_str("[checks]\npositive_data_acceptance.enabled = false\n");
    // A precondition that does not hold is said before the body is looked at.
    text.push_str("negative_data_rejection.expected-statuses = ['4xx']\n");
    // A provider that it makes up does not answer.
    text.push_str("[[operations]]\ninclude-path = \"/api/v1/sign-in/oidc/{name}\"\n");
    text.push_str("checks.not_a_server_error.expected-statuses = ['2xx', '3xx', '4xx', 502]\n");
    for (noun, keys) in &filled.keys {
        writeln!(text, "[dictionaries.{noun}]\nvalues = {}", serde_json::to_string(keys)?)?;
    }
    // People are provisioned with the key of a provider.
    let of_provider = format!("headers = {{ Authorization = \"Bearer {}\" }}\n", filled.provisioning);
    writeln!(text, "[[operations]]\ninclude-path-regex = \"^/scim/\"\n{of_provider}")?;
    for noun in filled.keys.keys() {
        let by_name = ["workflows", "ResourceTypes", "Schemas"].contains(&noun.as_str());
        let name = if by_name { "name" } else { "id" };
        writeln!(text, "[[operations]]\ninclude-path-regex = \"^(/api/v1|/scim/v2)?/{noun}/[{{]\"")?;
        writeln!(
            text,
            "[operations.parameters]\n\"path.{name}\" = {{ dictionary = \"{noun}\", probability = {KNOWN_SHARE} }}"
        )?;
    }
    Ok(text)
}

/// What the report says.
fn judge(report: &str, outcome: &mut Outcome) -> Result<()> {
    let report: Value = serde_json::from_str(report)?;
    outcome.at_least("cases", report["test_cases"]["generated"].as_u64().unwrap_or(0), 500);
    let (selected, tested) = (&report["operations"]["selected"], &report["operations"]["tested"]);
    outcome.at_least("operations", tested.as_u64().unwrap_or(0), 50);
    if selected != tested {
        outcome.violation(format!("only {tested} of {selected} operations were tried"));
    }
    let accepted = report["valid_rates"].as_object().into_iter().flatten().filter(|(_, rates)| {
        rates.as_object().into_iter().flatten().any(|(_, rate)| rate["accepted"].as_u64() > Some(0))
    });
    outcome.at_least("operations_that_succeeded", accepted.count() as u64, 25);
    for failure in report["failures"].as_array().into_iter().flatten() {
        outcome.violation(format!("{}: {} {}", failure["title"], failure["count"], failure["operations"]));
    }
    Ok(())
}
