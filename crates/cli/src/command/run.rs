//! `windlass run`: a workflow file, here and now, durably and without a server.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio_util::sync::CancellationToken;
use windlass_definition::{diagnostic, print};
use windlass_engine::{
    id::{RunId, TenantKey},
    start::{Mode, Principal},
    trace::Trace,
};
use windlass_runtime::{Document, StartRequest, Target};
use windlass_server::settings::Told;

use super::{Context, start};
use crate::{
    args::RunArgs,
    client::{Call, Client, Local, query},
    exit::{Exit, Failure, Outcome},
    follow::{Ended, Follow, Show},
    input::{self, WorkflowFile},
    output,
    place::{self, Allowed, Database},
    serving,
};

/// Steps of one page, while all of them are collected.
const STEPS_PAGE: &str = "1000";

/// Runs the file to its end, or until Ctrl-C.
///
/// # Errors
/// The file or the input is refused, or the database cannot be opened.
pub async fn run(args: RunArgs, context: &Context) -> Outcome {
    let what = What::of(&args)?;
    let database = context.database()?;
    let mut environment = place::chosen_by_environment()?;
    environment.extend(place::chosen_for_steps(args.allow_private_network.as_ref(), args.allow_exec)?);
    let told = Told { environment, ..Told::default() };
    // The file is checked before the database is open: what is allowed there alone does not count.
    let allowed = Allowed {
        private_network: args.allow_private_network.unwrap_or_default(),
        exec: args.allow_exec.unwrap_or_default(),
        webhook_keys: place::webhook_keys(args.webhook_signing_key_file.as_deref())?,
        ..Allowed::default()
    };
    // A document that is refused opens nothing and writes nothing.
    let document = what.file.as_ref().map(|file| compile(file, allowed.clone())).transpose()?;
    let input = args.input.as_deref().map(|text| input::json(text, "--input")).transpose()?;
    let local = Local::open(&database, allowed, told).await?;
    let stop = CancellationToken::new();
    let socket = serving::serve_socket(&database, local.app(), &stop);
    let client = Client::Local(local);
    let outcome = Session { client: &client, context, database: &database, test: args.test, trace: args.trace.read() }
        .carry_out(&what, document, input)
        .await;
    stop.cancel();
    if let Some(socket) = socket {
        socket.stopped().await;
    }
    client.close().await;
    outcome
}

/// What the command line asks for.
struct What {
    file: Option<WorkflowFile>,
    resume: Option<Resume>,
}

enum Resume {
    Newest,
    Run(RunId),
}

impl What {
    fn of(args: &RunArgs) -> Result<What, Failure> {
        let (mut path, mut resume) = (args.file.clone(), None);
        match &args.resume {
            None => {}
            Some(None) => resume = Some(Resume::Newest),
            // `--resume FILE` reads as if the file were the run: only an id is one.
            Some(Some(text)) => match text.parse() {
                Ok(run) => resume = Some(Resume::Run(run)),
                Err(_) if path.is_none() => {
                    resume = Some(Resume::Newest);
                    path = Some(text.into());
                }
                Err(_) => return Err(Failure::refused(format!("`{text}` is no id of a run"))),
            },
        }
        let file = path.as_deref().map(WorkflowFile::read).transpose()?;
        Ok(What { file, resume })
    }
}

fn compile(file: &WorkflowFile, allowed: Allowed) -> Result<Document, Failure> {
    let types = crate::place::step_types(allowed)?;
    match windlass_definition::compile(&file.text, file.format, &types) {
        Ok(compiled) => {
            if !compiled.warnings.is_empty() {
                output::note(diagnostic::render(&compiled.warnings, &file.name));
            }
            let canonical = print::print_json(&compiled.document).into();
            Ok(Document { plan: compiled.plan, canonical })
        }
        Err(diagnostics) => {
            let shown = diagnostic::render(&diagnostics, &file.name);
            Err(Failure::new(Exit::Refused, "invalid_document", shown))
        }
    }
}

struct Session<'a> {
    client: &'a Client,
    context: &'a Context,
    database: &'a Database,
    test: bool,
    trace: Option<Trace>,
}

impl Session<'_> {
    async fn carry_out(&self, what: &What, document: Option<Document>, input: Option<Value>) -> Outcome {
        let run = match (&what.resume, document) {
            (Some(Resume::Run(run)), _) => run.to_string(),
            (Some(Resume::Newest), document) => self.newest(document.map(|it| it.plan.name.to_string())).await?,
            (None, Some(document)) => self.start(document, input).await?,
            (None, None) => return Err(Failure::refused("name a FILE, or a run with --resume")),
        };
        self.follow(&run).await
    }

    async fn start(&self, document: Document, input: Option<Value>) -> Result<String, Failure> {
        let Client::Local(local) = self.client else {
            return Err(Failure::internal("`run` needs the database itself"));
        };
        let request = StartRequest {
            tenant: TenantKey::DEFAULT,
            target: Target::Document(document),
            input: input.map_or(windlass_definition::Value::Null, Into::into),
            mode: if self.test { Mode::Test } else { Mode::Production },
            by: Principal::System,
            idempotency_key: None,
            key: None,
            labels: Default::default(),
            priority: 0,
            trace: self.trace.clone(),
        };
        let started = local.runtime().start(request).await;
        let started = started.map_err(|error| of_problem(&windlass_server::problem::Problem::from(error)))?;
        Ok(started.run.to_string())
    }

    /// The newest unfinished run of that workflow; when none is unfinished, the newest.
    async fn newest(&self, workflow: Option<String>) -> Result<String, Failure> {
        let open = "queued,running,waiting,paused,compensating".to_owned();
        for status in [Some(open), None] {
            let query = query(&[("limit", Some("1".into())), ("status", status), ("workflow", workflow.clone())]);
            let page: Value = self.client.send(Call::get(format!("/runs{query}"))).await?.read()?;
            if let Some(run) = page["items"][0]["id"].as_str() {
                return Ok(run.to_owned());
            }
        }
        let what = workflow.map_or(String::new(), |name| format!(" of `{name}`"));
        Err(Failure::refused(format!("there is no run{what} in {}", self.database.describe())))
    }

    async fn follow(&self, run: &str) -> Outcome {
        let path = format!("/runs/{run}");
        let view: Value = self.client.send(Call::get(&path)).await?.read()?;
        let name = view["workflow"].as_str().unwrap_or("run").to_owned();
        let show = if self.context.json() { Show::Nothing } else { Show::People };
        let place = self.database.options();
        let ended = Follow { client: self.client, run, name: &name, show, place: &place }.to_end().await?;
        let view: Value = self.client.send(Call::get(&path)).await?.read()?;
        if self.context.json() {
            output::json(&self.result(run).await?)?;
        } else {
            output::note(format!("{name} {run} is {}", view["status"].as_str().unwrap_or_default()));
            start::show_result(&view)?;
        }
        if ended == Ended::Interrupted {
            output::note(format!("the run is kept; go on with: windlass run --resume {run} {place}"));
            return Ok(Exit::NotCompleted);
        }
        Ok(start::exit_of(&view, true))
    }

    /// The one object of `--json`.
    async fn result(&self, run: &str) -> Result<RunResult, Failure> {
        let mut result: RunResult = self.client.send(Call::get(format!("/runs/{run}"))).await?.read()?;
        let mut after = None;
        loop {
            let query = query(&[("limit", Some(STEPS_PAGE.into())), ("after", after)]);
            let page: StepsPage = self.client.send(Call::get(format!("/runs/{run}/steps{query}"))).await?.read()?;
            result.steps.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(result);
            }
        }
    }
}

/// What `--json` prints; values stand in it as the API wrote them.
#[derive(Serialize, Deserialize)]
struct RunResult {
    #[serde(rename(deserialize = "id"))]
    run_id: String,
    status: String,
    output: Box<RawValue>,
    error: Option<Box<RawValue>>,
    #[serde(skip_deserializing)]
    steps: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct StepsPage {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
}

fn of_problem(problem: &windlass_server::problem::Problem) -> Failure {
    let mut message = problem.detail().to_owned();
    // The detail tells the first one already.
    for error in problem.errors().iter().skip(1) {
        message.push_str(&format!("\n  - {}: {}", error.pointer, error.message));
    }
    let exit = if problem.status().is_server_error() { Exit::Unreachable } else { Exit::Refused };
    Failure::new(exit, problem.code(), message)
}
