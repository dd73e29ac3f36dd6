//! The grammar of the command line: what each command takes, and what `--help` says of it.
//!
//! `docs/cli.md` is written from these sentences.

mod api_keys;
mod audit;
mod db;
mod files;
mod oauth;
mod people;
mod records;
mod roles;
mod runs;
mod serve;
mod settings;
mod state;
mod trace;
mod vault;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use windlass_steps::egress::address::PrivateNetwork;

pub use api_keys::{ApiKeyArgs, ApiKeysCommand};
pub use audit::AuditCommand;
pub use db::{DbCommand, DbPlace};
pub use files::FilesCommand;
pub use oauth::{AnswerArgs, OauthCommand, SecretArgs};
pub use people::{
    DelegationsCommand, ImpersonateArgs, InviteArgs, JoinArgs, LoginArgs, SecondFactorCommand, UsersCommand,
};
pub use records::{RecordCall, augment, call_of};
pub use roles::RoleArgs;
pub use runs::{RunsCommand, SettleOutcome};
pub use serve::ServeArgs;
pub use settings::{OfTenant, SettingsCommand};
pub use state::{StateCommand, StateWriteArgs};
pub use trace::TraceArgs;
pub use vault::VaultCommand;
pub use verify::VerifyArgs;

/// What stands below `windlass --help`.
const AFTER_HELP: &str = "\
Exit codes:
  0  done; a run that was waited for completed
  1  a run that was waited for did not complete, or a check found something
  2  refused: bad usage, a document or an input that does not validate, a state that does not allow it
  3  the server or the database cannot be reached, or is held by another process
  4  there is no such thing
  5  no token, a wrong token, or one without the permission
  6  something went wrong inside

Every command takes --json: then standard output holds JSON alone.";

/// Windlass runs workflows and never loses its place.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, after_help = AFTER_HELP, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// Where to act and how to print.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The whole grammar: the commands below, and those of every record.
pub fn grammar() -> clap::Command {
    augment(<Cli as clap::CommandFactory>::command())
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The server to talk to [default: http://127.0.0.1:7400]
    #[arg(long, global = true, env = "WINDLASS_URL", value_name = "URL", help_heading = "Where")]
    pub url: Option<String>,
    /// The API token for that server
    #[arg(long, global = true, env = "WINDLASS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    #[arg(help_heading = "Where")]
    pub token: Option<String>,
    /// Act straight on the SQLite data in this directory; no server is needed
    #[arg(long, global = true, env = "WINDLASS_DATA_DIR", value_name = "DIR", help_heading = "Where")]
    pub data_dir: Option<PathBuf>,
    /// Act straight on this PostgreSQL database: postgres://user:password@host/database
    #[arg(long, global = true, env = "WINDLASS_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    #[arg(help_heading = "Where")]
    pub database_url: Option<String>,
    /// A file with the master key of the vault [default: master.key in the data directory]. Without it,
    /// `WINDLASS_MASTER_KEY` may hold the key itself
    #[arg(long, global = true, env = "WINDLASS_MASTER_KEY_FILE", value_name = "FILE", help_heading = "Where")]
    pub master_key_file: Option<PathBuf>,
    /// A command of the shell that prints the master key
    #[arg(long, global = true, env = "WINDLASS_MASTER_KEY_COMMAND", value_name = "COMMAND", help_heading = "Where")]
    pub master_key_command: Option<String>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: the API, on SQLite or PostgreSQL
    Serve(ServeArgs),
    /// Run a workflow file here and now; no server is needed
    Run(RunArgs),
    /// Check workflow files and say everything that is wrong with them
    Check {
        /// The files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Send workflow files to a server and publish them
    Deploy {
        /// The files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Leave them as drafts
        #[arg(long)]
        no_publish: bool,
        /// Put new ones into this folder, in which those that are there have to lie: its name, or its id
        #[arg(long, value_name = "FOLDER")]
        folder: Option<String>,
    },
    /// Make what documents say so: rows of records, and workflows (docs/apply.md)
    Apply {
        /// A file of documents, a folder of such files, or `-` for standard input; may be given more than once
        #[arg(long = "file", short, required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Start a run of a workflow
    Start(StartArgs),
    /// Look at runs and act on them
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Look at workflows and their versions, publish, delete and restore them
    #[command(subcommand)]
    Workflows(WorkflowsCommand),
    /// Look at what waits for a person, and decide
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Look at the work that waits for outside workers
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Sign in to a server, and keep the session for later commands
    Login(LoginArgs),
    /// Sign out, and forget the session
    Logout {
        /// End all your sessions, on every machine and in every tenant, and whatever applications hold in your name
        #[arg(long)]
        everywhere: bool,
        /// End this session of yours instead, as `windlass sessions` lists it
        #[arg(long, value_name = "ID", conflicts_with = "everywhere")]
        session: Option<uuid::Uuid>,
    },
    /// List where you are signed in
    Sessions,
    /// Say who you are and what you may do
    Whoami,
    /// Choose a password; all your other sessions end
    Password,
    /// Show codes of an app when you sign in, besides the password
    #[command(subcommand)]
    SecondFactor(SecondFactorCommand),
    /// Invite somebody to the tenant, and print the link, this once
    Invite(InviteArgs),
    /// Give a member a role: in the tenant, or on a folder or a workflow alone
    Grant(RoleArgs),
    /// Take a role from a member
    Revoke(RoleArgs),
    /// Act in the name of a member: print a session's token, this once, to be put into `WINDLASS_TOKEN`
    Impersonate(ImpersonateArgs),
    /// Let people of another tenant act in this one, and act in others
    #[command(subcommand)]
    Delegations(DelegationsCommand),
    /// Accept an invitation, and sign in
    Join(JoinArgs),
    /// The people of the whole installation. For who looks after it
    #[command(subcommand)]
    Users(UsersCommand),
    /// API keys: by what programs come in
    #[command(subcommand)]
    ApiKeys(ApiKeysCommand),
    /// Applications of third parties, and what you let them do in your name (docs/oauth.md)
    #[command(subcommand)]
    Oauth(OauthCommand),
    /// Look at settings and choose them
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Look at shared state and change it
    #[command(subcommand)]
    State(StateCommand),
    /// Files with their versions, and links by which others fetch them
    #[command(subcommand)]
    Files(FilesCommand),
    /// Look at the audit, take it out, and judge it
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look after the database
    #[command(subcommand)]
    Db(DbCommand),
    /// Look after the vault: its master key, and what is sealed with it
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Judge a database: is it what clients were told, what the outside saw, and what its own journals say?
    Verify(VerifyArgs),
    /// Serve the API's operations as tools of the Model Context Protocol, on standard input and output (docs/mcp.md)
    Mcp,
    /// The demo: a small shop, and the order saga against it
    #[command(subcommand)]
    Demo(DemoCommand),
    /// Print the JSON Schema of workflow documents
    Schema,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
    /// Write the reference of this command line in Markdown
    #[command(hide = true)]
    Reference,
}

/// What `windlass run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The workflow file; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "resume")]
    pub file: Option<PathBuf>,
    /// The input: JSON, `@file`, or `-` for standard input
    #[arg(long, value_name = "JSON|@FILE")]
    pub input: Option<String>,
    /// Go on with an unfinished run: this one, or the newest of the file's workflow
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    pub resume: Option<Option<String>>,
    /// Use the steps' `test` outputs instead of their effects
    #[arg(long)]
    pub test: bool,
    /// Let steps reach addresses that are not public, such as services on this machine: all of them, or those that are
    /// named (`127.0.0.1,10.1.0.0/16`)
    #[arg(long, env = "WINDLASS_ALLOW_PRIVATE_NETWORK", num_args = 0..=1, value_name = "BOOL|NETWORKS")]
    #[arg(default_missing_value = "true")]
    pub allow_private_network: Option<PrivateNetwork>,
    /// Let `exec` steps run programs on this machine
    #[arg(long, env = "WINDLASS_ALLOW_EXEC", value_parser = serve::switch(), num_args = 0..=1)]
    #[arg(default_missing_value = "true", value_name = "BOOL")]
    pub allow_exec: Option<bool>,
    /// A file with the key that outgoing webhooks are signed with: `whsec_` and base64; two, with a space between them,
    /// while one replaces the other. Without it, `WINDLASS_WEBHOOK_SIGNING_KEY` may hold the key itself
    #[arg(long, env = "WINDLASS_WEBHOOK_SIGNING_KEY_FILE", value_name = "FILE")]
    pub webhook_signing_key_file: Option<PathBuf>,
    /// The trace that it joins
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// What `windlass start` takes.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The workflow's name
    pub name: String,
    /// The input: JSON, `@file`, or `-` for standard input
    #[arg(long, value_name = "JSON|@FILE")]
    pub input: Option<String>,
    /// Wait so long for its end, such as `30s`; at most 5 minutes
    #[arg(long, value_name = "SPAN")]
    pub wait: Option<String>,
    /// A published version; the newest when left out
    #[arg(long)]
    pub version: Option<i32>,
    /// `test` runs the draft
    #[arg(long, value_parser = ["production", "test"])]
    pub mode: Option<String>,
    /// Starting twice with one key starts once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// A key to find the run by
    #[arg(long)]
    pub key: Option<String>,
    /// A label to find the run by; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Who goes first where runs wait for their turn: the higher one, from -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub priority: Option<i32>,
    /// The trace that it joins
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Reads `name=value`.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `windlass workflows …`
#[derive(Debug, Subcommand)]
pub enum WorkflowsCommand {
    /// List the workflows
    List {
        /// Of this folder alone: its id, or `top` for those in none
        #[arg(long, value_name = "FOLDER")]
        folder: Option<String>,
        /// With this tag alone
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// Templates alone
        #[arg(long)]
        template: bool,
        /// Templates of this category alone
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
        /// With all these words in their name, description or draft; `ord*` for how one begins
        #[arg(long, value_name = "WORDS")]
        q: Option<String>,
        /// Those that are deleted and can be restored
        #[arg(long)]
        deleted: bool,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Print a workflow's document: the draft, or a version
    Show {
        /// The workflow's name
        name: String,
        /// A published version; the draft when left out
        #[arg(long)]
        version: Option<i32>,
        /// As what to print it
        #[arg(long, value_parser = ["yaml", "json"], default_value = "yaml")]
        format: String,
    },
    /// List the published versions of a workflow
    Versions {
        /// The workflow's name
        name: String,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Publish the draft as the next version
    Publish {
        /// The workflow's name
        name: String,
    },
    /// Make a workflow a template, there to be copied; it runs as before
    Template {
        /// Which one
        #[command(flatten)]
        workflow: WorkflowArgs,
        /// Under what it is found; an empty one takes it away
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
        /// It is a template no more
        #[arg(long, conflicts_with = "category")]
        off: bool,
    },
    /// Make a new workflow from a template, or from any other workflow
    Copy {
        /// The name of the workflow that is there
        name: String,
        /// The name of the new one
        new_name: String,
        /// The id of the folder in which it is to lie
        #[arg(long, value_name = "FOLDER")]
        folder: Option<String>,
        /// The version to copy; the newest when left out, the draft as long as there is none
        #[arg(long)]
        version: Option<i32>,
    },
    /// Delete a workflow: its runs go on, and it can be restored
    Delete(WorkflowArgs),
    /// Take the deletion of a workflow back
    Restore(WorkflowArgs),
}

/// Which workflow, and what has been seen of it.
#[derive(Debug, Args)]
pub struct WorkflowArgs {
    /// The workflow's name
    pub name: String,
    /// Only if it still has this revision
    #[arg(long, value_name = "REVISION")]
    pub if_match: Option<i64>,
}

/// `windlass approvals …`
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// List approvals
    List {
        /// `pending`, `approved`, `rejected`, `expired`, `cancelled`; all when left out
        #[arg(long)]
        status: Option<String>,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Approve
    Approve(DecideArgs),
    /// Reject
    Reject(DecideArgs),
}

/// What a decision takes.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The approval's id
    pub approval: String,
    /// The form's values: JSON, `@file`, or `-` for standard input
    #[arg(long, value_name = "JSON|@FILE")]
    pub form: Option<String>,
    /// A word on it
    #[arg(long)]
    pub comment: Option<String>,
    /// Who decides, when that is not the one whom the token names
    #[arg(long, value_name = "PERSON")]
    pub by: Option<String>,
}

/// `windlass tasks …`
#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// List tasks
    List {
        /// Of this queue alone
        #[arg(long)]
        queue: Option<String>,
        /// `pending`, `claimed`, `completed`, `failed`; `pending` when left out
        #[arg(long)]
        status: Option<String>,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
}

/// `windlass demo …`
#[derive(Debug, Subcommand)]
pub enum DemoCommand {
    /// Serve the demo shop alone: payment, stock and shipping over HTTP, with a ledger of what really happened
    Shop(crate::demo::ShopCommand),
    /// Serve everything, deploy the examples, run the order saga and show it
    Run(DemoRunArgs),
}

/// What `windlass demo run` takes.
#[derive(Debug, Args)]
pub struct DemoRunArgs {
    /// Where the API listens
    #[arg(long, env = "WINDLASS_LISTEN", default_value = "127.0.0.1:7400", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// Where the shop listens
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "ADDRESS")]
    pub shop: std::net::SocketAddr,
    /// The folder of the examples
    #[arg(long, default_value = "examples", value_name = "DIR")]
    pub examples: PathBuf,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Args)]
pub struct PageArgs {
    /// Rows of a page
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Go on after this cursor, which the page before ended with
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_grammar_is_sound() {
        super::grammar().debug_assert();
    }
}
