//! The lease: only its holder reconciles.
//!
//! The holder that cannot renew it ends before it runs out, so that two operators never write at the same time for
//! longer than one request takes; the restarted program asks for the lease again.

use std::time::{Duration, Instant};

use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Classify as _;

/// Name of the Lease object.
pub const NAME: &str = "regcache-operator";
/// How long a lease lasts without renewal.
const DURATION: u64 = 30;
/// It is renewed when this much of it is left.
const RENEW_BEFORE: u64 = 20;
/// Renewals may fail for this long: less than what is left then, less one request.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest duration of one request for the lease.
const REQUEST: Duration = Duration::from_secs(3);
/// Pause after a failed request.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the lease is not (or no longer) ours.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client for the lease.
    #[error("cannot make a client for the lease")]
    Client(#[source] kube::Error),
    /// Somebody else has it now.
    #[error("lost the lease: another operator took it")]
    Lost,
    /// It could not be renewed in time.
    #[error("cannot renew the lease")]
    Renew(#[source] LeaseManagerError),
}

/// Asks for the lease in `namespace` until it is ours, says so through `held`, and keeps it until `release`; then gives
/// it back. Ends with an error when it was ours and is not any more.
pub async fn keep(
    mut config: Config,
    namespace: &str,
    identity: &str,
    held: &watch::Sender<bool>,
    release: CancellationToken,
) -> Result<(), Error> {
    // A request for the lease that hangs must fail before the lease runs out.
    config.connect_timeout = Some(REQUEST);
    config.read_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    let client = Client::try_from(config).map_err(Error::Client)?;
    tracing::info!(namespace, lease = NAME, identity, "asking for the lease");
    let Some(manager) = release.run_until_cancelled(open(&client, namespace, identity)).await else {
        return Ok(());
    };
    let result = release.run_until_cancelled(hold(&manager, held)).await;
    held.send_replace(false);
    if let Some(result) = result {
        // Not ours any more, or out of reach: nothing to give back, and no time to lose.
        return result;
    }
    if let Err(error) = manager.release().await {
        tracing::warn!(
            error = words(&error),
            "cannot give the lease back; it runs out in {DURATION} s"
        );
    }
    Ok(())
}

/// Finds or makes the Lease object, as long as it takes.
async fn open(client: &Client, namespace: &str, identity: &str) -> LeaseManager {
    loop {
        let builder = LeaseManagerBuilder::new(client.clone(), NAME)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION)
            .with_grace(RENEW_BEFORE);
        match builder.build().await {
            Ok(manager) => return manager,
            Err(error) => {
                tracing::warn!(error = words(&error), namespace, "cannot open the lease, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// kube's own texts print whole structures.
fn words(error: &LeaseManagerError) -> String {
    match error {
        LeaseManagerError::KubeError(error) => error.words(),
        other => other.to_string(),
    }
}

/// Takes the lease and keeps it; returns only with an error, once it was ours.
async fn hold(manager: &LeaseManager, held: &watch::Sender<bool>) -> Result<(), Error> {
    let mut failing: Option<(Instant, Instant)> = None;
    loop {
        match manager.changed().await {
            Ok(true) => {
                tracing::info!("holding the lease");
                held.send_replace(true);
            }
            Ok(false) if *held.borrow() => return Err(Error::Lost),
            Ok(false) => {}
            Err(error) => {
                let now = Instant::now();
                // `changed` says nothing when a renewal succeeds, but a failing one returns within two requests; a
                // longer silence between two failures was a success.
                let since = match failing {
                    Some((since, last)) if now - last < 2 * REQUEST + 2 * PAUSE => since,
                    _ => now,
                };
                failing = Some((since, now));
                if *held.borrow() && now - since >= PATIENCE {
                    return Err(Error::Renew(error));
                }
                tracing::warn!(error = words(&error), "cannot renew the lease, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
