//! `windlass files …`: what moves bytes; the rest is made from the records.

use std::path::PathBuf;

use clap::Subcommand;

/// `windlass files …`
#[derive(Debug, Subcommand)]
pub enum FilesCommand {
    /// Upload a file, or the next version of one
    Upload {
        /// The file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What it is called; as the file when left out
        #[arg(long)]
        name: Option<String>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// The workflow that it belongs to: its id
        #[arg(long, value_name = "ID")]
        workflow_id: Option<String>,
        /// The run that it belongs to: it goes when the run goes
        #[arg(long, value_name = "ID")]
        run_id: Option<String>,
        /// The file of which it is the next version
        #[arg(long, value_name = "ID", conflicts_with_all = ["name", "description", "workflow_id", "run_id"])]
        version_of: Option<String>,
        /// What it is, for kinds of text that look alike, such as `text/csv`
        #[arg(long, value_name = "MEDIA TYPE")]
        media_type: Option<String>,
    },
    /// Fetch a file
    Download {
        /// The file's id
        id: String,
        /// Where to; under its own name here when left out, `-` is standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Which version; the newest one when left out
        #[arg(long, value_name = "NUMBER")]
        version: Option<i64>,
    },
    /// Make a link by which whoever has it fetches a file
    Link {
        /// The file's id
        id: String,
        /// How long it leads there, such as `7d`
        #[arg(long, value_name = "SPAN", default_value = "7d")]
        expires_in: String,
        /// How often it can be used
        #[arg(long, value_name = "NUMBER")]
        downloads_max: Option<i64>,
        /// This version alone; the newest one when left out
        #[arg(long, value_name = "NUMBER")]
        version: Option<i64>,
        /// For whom it is
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Say how much room the files of the tenant take
    Usage,
}
