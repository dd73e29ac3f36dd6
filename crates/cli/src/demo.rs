//! `windlass demo`: something for the examples to talk to.

pub mod ledger;
pub mod shop;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Args;

/// Serves the shop until it is interrupted.
#[derive(Debug, Args)]
pub struct ShopCommand {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The file that every effect is recorded in.
    #[arg(long, default_value = "shop-ledger.jsonl", value_name = "FILE")]
    ledger: PathBuf,
}

impl ShopCommand {
    /// Serves the shop until it is interrupted.
    ///
    /// # Errors
    /// It could not start; the text says why.
    pub async fn run(self) -> anyhow::Result<()> {
        let router = shop::router(shop::ShopOptions { ledger: self.ledger.clone() })
            .with_context(|| format!("failed to open the ledger {}", self.ledger.display()))?;
        let listener = tokio::net::TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("failed to listen on {}", self.listen))?;
        let address = listener.local_addr()?;
        eprintln!("shop: http://{address}, its ledger in {}", self.ledger.display());
        let interrupted = async {
            // Without a signal handler there is nothing to wait for but the end of the process.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        axum::serve(listener, router).with_graceful_shutdown(interrupted).await?;
        Ok(())
    }
}
