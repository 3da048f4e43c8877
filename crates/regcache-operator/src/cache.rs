//! The cache controller: one RegistryCache into the caches of this cluster's regions.
//!
//! `gather` -> `validate` -> `build` -> `apply` -> `status`, and at the end of a cache or of all of them `withdraw`.

pub mod apply;
pub mod build;
pub mod engine;
mod finalizer;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod gather;
pub mod reconcile;
pub mod status;
pub mod validate;
mod watches;
pub mod withdraw;

use std::sync::Arc;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action};
use regcache_api::RegistryCache;
use tokio_util::sync::CancellationToken;

pub use self::reconcile::{Error, reconcile};
use crate::context::Ctx;
use crate::error::watch_words;

/// The controller's name in metrics and logs.
pub const NAME: &str = "cache";

/// Runs until `shutdown`; an earlier end means that its watches are dead.
pub async fn run(ctx: Arc<Ctx>, shutdown: CancellationToken) {
    watches::controller(&ctx)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, ctx)
        .for_each(|result| async {
            match result {
                // A failed run was told by the error policy; an object that went while its turn came is no news.
                Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
                Err(controller::Error::QueueError(error)) => {
                    tracing::warn!(controller = NAME, "watch failed, trying again: {}", watch_words(&error));
                }
                Err(error) => tracing::warn!(controller = NAME, "{error}"),
            }
        })
        .await;
}

/// What happens after a failed run.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub fn error_policy(object: Arc<DeserializeGuard<RegistryCache>>, error: &Error, ctx: Arc<Ctx>) -> Action {
    ctx.failed(NAME, &object.name_any(), error)
}
