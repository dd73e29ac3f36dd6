//! `windlass audit …`

use std::path::PathBuf;

use clap::Subcommand;

/// `windlass audit …`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Judge the audit: was an entry changed, removed, inserted or swapped, or its end cut?
    Verify {
        /// A proof or an archive to judge, instead of a database; `-` is standard input
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The public key that has to have signed it, as `windlass audit head` showed it; for a file
        #[arg(long, value_name = "HEX", requires = "file")]
        key: Option<String>,
        /// A head that was noted elsewhere: the chain has to hold it
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<String>,
        /// Judge every tenant's, straight on the database
        #[arg(long, conflicts_with_all = ["file", "head"])]
        all: bool,
    },
    /// Print the end of the chain: note it elsewhere, and a tail that is cut later is found
    Head,
    /// Write the audit to a file, or to standard output
    Export {
        /// `proof` holds what it takes to judge it without the database
        #[arg(long, value_parser = ["jsonl", "json", "csv", "proof"], default_value = "jsonl")]
        format: String,
        /// Where to; standard output when left out
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Words that all have to be found
        #[arg(long, value_name = "WORDS")]
        q: Option<String>,
        /// Only entries of which this holds, such as `created_at.gte=2026-01-01T00:00:00Z`; may be given more than once
        #[arg(long = "where", value_name = "FIELD[.OP]=VALUE")]
        filters: Vec<String>,
    },
}
