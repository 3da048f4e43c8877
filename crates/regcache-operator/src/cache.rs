//! The cache controller: one RegistryCache into the caches of this cluster's regions.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::context::Ctx;

/// Runs until `shutdown`; an earlier end means that its watches are dead.
pub async fn run(_ctx: Arc<Ctx>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
}
