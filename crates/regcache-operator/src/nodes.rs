//! The nodes controller: all RegistryCaches and all nodes into plans and node helpers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::context::Ctx;

/// Runs until `shutdown`; an earlier end means that its watches are dead.
pub async fn run(_ctx: Arc<Ctx>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
}
