//! The loopback gateway: what containerd talks to instead of a registry, and whose failure is always cheap.
//!
//! The pipeline, a file each: `accept` (connections, TLS, the clean end of each) -> `ask` (what a request wants; pure)
//! -> `answer` (which of the two ways it goes) -> `relayed` (manifests, tags, referrers, every HEAD: whole answers)
//! or `blob` (bodies over `regcache-transfer`) -> `caches` (the HTTP client). Beside it: `identity` (certificate),
//! `sick` (digests that nobody can deliver for now), `metrics`.
//!
//! Rules that hold everywhere:
//! - containerd gets a right answer or a 503, on which it goes to the registry itself within milliseconds. Never a
//!   401, 403, 429, redirect or challenge, which would make it wait, ask again or ask for a login.
//! - Headers are sent when the first bytes are there. A body that cannot go on ends by FIN, never by RST: after FIN
//!   containerd resumes at the registry from the same byte, after RST the pull fails.
//! - Nothing but `Accept` and the range goes on to a cache: no credentials, no cookies.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::router::Router;

mod accept;
mod answer;
mod ask;
mod blob;
mod body;
mod caches;
mod identity;
mod metrics;
mod relayed;
mod shared;
mod sick;

pub use identity::{IdentityError, LoopbackIdentity};
pub use metrics::GatewayMetrics;

/// The path that the gateway answers with 200 by itself, for the liveness probe.
pub const LIVE_PATH: &str = "/_regcache/live";

/// What hyper may buffer for each connection and direction, bytes.
const BUFFER: usize = 64 * 1024;

/// The numbers of the gateway. [`GatewayLimits::default`] is what a node uses.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// How long and how much for each transfer, manifests included.
    pub transfer: regcache_transfer::Limits,
    /// How long one cache may take until a blob's headers are there, instead of the limit in `transfer`, which leaves
    /// room for a cache that asks its upstream about a tag. A blob needs no more than its next bytes would, and
    /// containerd 2.x, which waits for three blobs at once, lets no other image go on meanwhile. The built-in engine
    /// answers a blob within 4.5 s or refuses it, so what is later is the cache's own silence.
    pub blob_headers: Duration,
    /// How long connecting to a cache may take.
    pub connect: Duration,
    /// The largest manifest, tag list or referrers list.
    pub manifest: usize,
    /// How long a digest that could not be delivered is answered with 503 at once.
    pub remember: Duration,
    /// How many such digests are kept in mind.
    pub remembered: usize,
    /// Connections at a time; one more is closed as soon as it is accepted.
    pub connections: usize,
    /// How long a client may take over each request's headers, the time between requests included.
    pub idle: Duration,
    /// How long bodies may go on after the shutdown token. Below the pod's 30 s until SIGKILL.
    pub grace: Duration,
    /// How long the far side of a connection that ends is given to take what is left and close it too.
    pub linger: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            transfer: regcache_transfer::Limits::default(),
            blob_headers: Duration::from_secs(5),
            connect: Duration::from_secs(1),
            manifest: 8 * 1024 * 1024,
            remember: Duration::from_secs(60),
            remembered: 1024,
            connections: 1024,
            idle: Duration::from_secs(60),
            grace: Duration::from_secs(20),
            linger: Duration::from_secs(2),
        }
    }
}

/// Serves `listener` until `shutdown`: then no new connections, at most [`GatewayLimits::grace`] for the bodies that
/// run, FIN for what is left. Returns when the last connection is closed.
pub async fn serve(
    listener: TcpListener,
    identity: &LoopbackIdentity,
    router: Arc<dyn Router>,
    limits: GatewayLimits,
    metrics: GatewayMetrics,
    shutdown: CancellationToken,
) {
    let gateway = Arc::new(shared::Gateway::new(router, limits, metrics));
    accept::serve(listener, identity.server_config.clone(), gateway, shutdown).await;
}
