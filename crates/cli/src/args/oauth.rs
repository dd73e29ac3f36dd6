//! `windlass oauth …`: applications of third parties, and what one lets them do.

use clap::{Args, Subcommand};

/// `windlass oauth …`
#[derive(Debug, Subcommand)]
pub enum OauthCommand {
    /// Give a confidential application its secret, or another one, and print it, this once
    Secret(SecretArgs),
    /// Answer an application that asks you: show what it asks for, and print where your browser goes with the answer
    Answer(AnswerArgs),
    /// List what you let applications do in your name
    Mine,
    /// Take back what you let an application do: whatever it holds of that ends at once
    Withdraw {
        /// The consent's id, as `windlass oauth mine` lists it
        id: uuid::Uuid,
    },
}

/// What `windlass oauth secret` takes.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// The application's id
    pub id: uuid::Uuid,
    /// Minutes for which the secret that there is goes on working
    #[arg(long, value_name = "MINUTES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_080))]
    pub former_minutes: u32,
}

/// What `windlass oauth answer` takes.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The address to which the application sent your browser, in quotes
    #[arg(value_name = "URL")]
    pub address: String,
    /// Allow it without being asked
    #[arg(long, conflicts_with = "refuse")]
    pub allow: bool,
    /// Refuse it without being asked
    #[arg(long)]
    pub refuse: bool,
}
