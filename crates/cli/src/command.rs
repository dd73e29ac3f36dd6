//! The commands: one file per noun or verb.

mod api_keys;
mod apply;
mod approvals;
mod audit;
mod check;
mod db;
mod delegations;
mod demo_run;
mod deploy;
mod files;
mod mcp;
mod oauth;
mod people;
mod records;
mod reference;
mod roles;
mod run;
mod runs;
mod serve;
mod settings;
mod start;
mod state;
mod tasks;
mod vault;
mod verify;
mod workflows;

use crate::{
    args::{ApiKeysCommand, Command, DemoCommand, RecordCall, UsersCommand, grammar},
    exit::{Exit, Failure, Outcome},
    output,
    place::{self, Sources},
};

/// What every command gets: the options that stand before all, and where they came from.
#[derive(Debug, Clone)]
pub struct Context {
    /// The options.
    pub global: crate::args::Global,
    /// Where they came from.
    pub sources: Sources,
}

impl Context {
    /// The way to the API that this command line names.
    ///
    /// # Errors
    /// It names two, or the database cannot be opened.
    pub async fn client(&self) -> Result<crate::client::Client, Failure> {
        crate::client::Client::open(&self.place()?).await
    }

    /// Asks the API once.
    ///
    /// # Errors
    /// What [`Context::client`] says, or the API refuses, or is not there.
    pub async fn ask(&self, call: crate::client::Call) -> Result<crate::client::Answer, Failure> {
        let client = self.client().await?;
        let answer = client.send(call).await;
        client.close().await;
        answer
    }

    /// The place that this command line names.
    ///
    /// # Errors
    /// It names two.
    pub fn place(&self) -> Result<place::Place, Failure> {
        place::of_client(&self.global, self.sources)
    }

    /// The options that name the place again, for hints.
    pub fn place_options(&self) -> String {
        match place::of_client(&self.global, self.sources) {
            Ok(place::Place::Database(database)) => database.options(),
            _ => String::new(),
        }
    }

    /// The address of the server that this command line names; nothing where it acts straight on a database.
    pub fn server_url(&self) -> String {
        match place::of_client(&self.global, self.sources) {
            Ok(place::Place::Server { url, .. }) => url.trim_end_matches('/').trim_end_matches("/api/v1").to_owned(),
            _ => String::new(),
        }
    }

    /// The database that this command line names.
    ///
    /// # Errors
    /// It names two.
    pub fn database(&self) -> Result<place::Database, Failure> {
        place::of_database(&self.global, self.sources)
    }

    /// Whether programs read the output.
    pub fn json(&self) -> bool {
        self.global.json
    }
}

/// Carries out a command on a record.
///
/// # Errors
/// What went wrong, with the exit code that it means.
pub async fn run_record(call: RecordCall, context: Context) -> Outcome {
    records::run(call, &context).await
}

/// Carries out a command.
///
/// # Errors
/// What went wrong, with the exit code that it means.
pub async fn run(command: Command, context: Context) -> Outcome {
    match command {
        Command::Serve(args) => serve::run(args, &context).await,
        Command::Run(args) => run::run(args, &context).await,
        Command::Check { files } => check::run(&files, &context),
        Command::Deploy { files, no_publish, folder } => {
            let publish = if no_publish { deploy::Publish::No } else { deploy::Publish::Yes };
            deploy::run(&files, (publish, folder), &context).await
        }
        Command::Apply { files, dry_run } => {
            let mode = if dry_run { apply::Mode::DryRun } else { apply::Mode::Write };
            apply::run(&files, mode, &context).await
        }
        Command::Start(args) => start::run(args, &context).await,
        Command::Runs(command) => runs::run(command, &context).await,
        Command::Workflows(command) => workflows::run(command, &context).await,
        Command::Approvals(command) => approvals::run(command, &context).await,
        Command::Settings(command) => settings::run(command, &context).await,
        Command::State(command) => state::run(command, &context).await,
        Command::Files(command) => files::run(command, &context).await,
        Command::Audit(command) => audit::run(command, &context).await,
        Command::Tasks(command) => tasks::run(command, &context).await,
        Command::Login(args) => people::login(args, &context).await,
        Command::Logout { session: Some(session), .. } => people::end_session(session, &context).await,
        Command::Logout { everywhere, .. } => people::logout(everywhere, &context).await,
        Command::Sessions => people::sessions(&context).await,
        Command::Whoami => people::whoami(&context).await,
        Command::Password => people::choose_password(&context).await,
        Command::SecondFactor(command) => people::second_factor(command, &context).await,
        Command::Invite(args) => people::invite(args, &context).await,
        Command::Grant(args) => roles::grant(args, &context).await,
        Command::Revoke(args) => roles::revoke(args, &context).await,
        Command::Impersonate(args) => people::impersonate(args, &context).await,
        Command::Delegations(command) => delegations::run(command, &context).await,
        Command::Join(args) => people::join(args, &context).await,
        Command::Users(UsersCommand::Link { id }) => people::make_link(id, &context).await,
        Command::Users(UsersCommand::Delete { id }) => people::delete_user(id, &context).await,
        Command::Users(UsersCommand::EndSecondFactor { id }) => people::end_second_factor(id, &context).await,
        Command::ApiKeys(ApiKeysCommand::Create(args)) => api_keys::create(args, &context).await,
        Command::Oauth(command) => oauth::run(command, &context).await,
        Command::Db(command) => db::run(command, &context).await,
        Command::Vault(command) => vault::run(command, &context).await,
        Command::Mcp => mcp::run(&context).await,
        Command::Verify(args) => verify::run(args, &context).await,
        Command::Demo(DemoCommand::Shop(shop)) => {
            shop.run().await.map_err(|error| Failure::new(Exit::Unreachable, "shop", format!("{error:#}")))?;
            Ok(Exit::Done)
        }
        Command::Demo(DemoCommand::Run(args)) => demo_run::run(args, &context).await,
        Command::Schema => {
            output::line(output::pretty(&windlass_definition::schema::json_schema(&check::step_types()?)))?;
            Ok(Exit::Done)
        }
        Command::Completions { shell } => {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut grammar(), "windlass", &mut bytes);
            output::line(String::from_utf8_lossy(&bytes))?;
            Ok(Exit::Done)
        }
        Command::Version => version(&context),
        Command::Reference => {
            output::line(reference::markdown())?;
            Ok(Exit::Done)
        }
    }
}

fn version(context: &Context) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if context.json() {
        output::json(&serde_json::json!({ "version": version }))?;
    } else {
        output::line(format!("windlass {version}"))?;
    }
    Ok(Exit::Done)
}
