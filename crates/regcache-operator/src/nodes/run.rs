//! The controller's loop: wake, wait a moment for more, look at everything once.
//!
//! No kube `Controller`: that runs per object, and here every run is about all objects together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CONTROLLER, Error, NAME, once, watches};
use crate::context::Ctx;

/// Changes come in swarms: they are dealt with together.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// A look at everything even when nothing is known to have changed.
const RESYNC: Duration = Duration::from_secs(600);

/// Runs until `shutdown`; an earlier end means that a watch is dead.
pub async fn run(ctx: Arc<Ctx>, shutdown: CancellationToken) {
    // A dead watch is for the caller to deal with: it ends the program.
    let _ended = shutdown.run_until_cancelled(Box::pin(work(&ctx))).await;
}

async fn work(ctx: &Ctx) {
    let mut watches = watches::start(ctx);
    let ready = async {
        tokio::try_join!(
            watches.stores.nodes.wait_until_ready(),
            watches.stores.pods.wait_until_ready()
        )
    };
    if ready.await.is_err() {
        return;
    }
    let mut due = Instant::now();
    loop {
        tokio::select! {
            _ = watches.tasks.join_next() => {
                tracing::error!(controller = CONTROLLER, "a watch is dead");
                return;
            }
            () = watches.changed.notified() => tokio::time::sleep(DEBOUNCE).await,
            () = tokio::time::sleep_until(due) => {}
        }
        let run = Box::pin(once(ctx, Some(&watches.stores)));
        let later = match ctx.observe(CONTROLLER, NAME, || Error::TimedOut, run).await {
            Ok(later) => later.unwrap_or(RESYNC),
            Err(error) => ctx.retry_after(CONTROLLER, NAME, &error),
        };
        due = Instant::now() + later.min(RESYNC);
    }
}
