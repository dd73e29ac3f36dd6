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
    /// Write everything that is sealed, with what it takes to judge it without the database
    Proof {
        /// Where to; standard output when left out
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}
