//! One registry as a client sees it: tokens, redirects, proxies, connections, and rest when it is sick.
//!
//! The pipeline of a request: `breaker` (is it worth asking) -> `auth` (what to say who we are) -> `exchange` (ask,
//! `redirect`, a challenge answered once) -> `manifest`, `list`, `source` (what the answer means). `client` makes
//! connections (`tls`, `resolve`, `proxy`), `turn` says how many blobs may come at once.

pub mod auth;
mod breaker;
mod client;
mod error;
mod exchange;
mod list;
mod manifest;
mod metrics;
mod proxy;
mod redirect;
mod resolve;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use regcache_transfer::{Digest, Source};
use tokio::time::timeout;

use self::client::Via;
use self::exchange::Exchange;
use self::source::BlobSource;
use self::turn::Turns;
pub use error::Error;
pub use list::{List, Listing};
pub use manifest::{Head, Manifest};
pub use metrics::UpstreamMetrics;
pub use settings::{Credentials, Settings, SettingsError};
pub use turn::Turn;

use crate::names::{Reference, Repository};

/// All the time that an answer may take, with tokens and redirects, and with its bytes where there are few.
const LIMIT: Duration = Duration::from_secs(30);

/// One registry, shared by everybody who needs something of it.
///
/// Each call is safe to give up at any point by dropping it, and ends by itself within 30 s. Callers that cannot wait
/// so long wrap it in a time-out.
pub struct Upstream {
    settings: Settings,
    exchange: Exchange,
    turns: Turns,
}

impl Upstream {
    /// A client of the registry. Asks nothing of it yet: it need not be there. `HTTPS_PROXY`, `HTTP_PROXY` and
    /// `NO_PROXY` are read here.
    pub fn new(settings: Settings, metrics: &UpstreamMetrics) -> Result<Arc<Self>, SettingsError> {
        Self::with(settings, metrics, |name| std::env::var(name).ok())
    }

    fn with(
        settings: Settings,
        metrics: &UpstreamMetrics,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Arc<Self>, SettingsError> {
        let meter = metrics.meter(&settings.host);
        Ok(Arc::new(Self {
            exchange: Exchange::new(&settings, meter.clone(), environment)?,
            turns: Turns::new(settings.max_transfers, meter),
            settings,
        }))
    }

    /// The registry as image names spell it.
    pub fn host(&self) -> &Arc<str> {
        &self.settings.host
    }

    /// What it was made of. An upstream whose settings are unchanged is kept over a reload, with its tokens,
    /// connections and turns.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the reference is at the moment, without its bytes.
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        accept: &str,
    ) -> Result<Head, Error> {
        within_limit(manifest::head(&self.exchange, repository, reference, accept)).await
    }

    /// The manifest itself, at most 4 MiB, checked against the digest that was asked for and the one that upstream
    /// says.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        accept: &str,
    ) -> Result<Manifest, Error> {
        within_limit(manifest::get(&self.exchange, repository, reference, accept)).await
    }

    /// The size of a blob, bytes. This is also the question whether upstream holds it in this repository.
    pub async fn head_blob(&self, repository: &Repository, digest: &Digest) -> Result<u64, Error> {
        within_limit(source::size(&self.exchange, repository, digest)).await
    }

    /// Where a fill gets the blob from, in the order to be tried: a connection that is there already, then a fresh one
    /// to another address of the name. Both have the upstream's name, follow redirects and renew tokens by themselves.
    pub fn blob(self: &Arc<Self>, repository: &Repository, digest: &Digest) -> Vec<Arc<dyn Source>> {
        let source = |via| {
            Arc::new(BlobSource {
                upstream: self.clone(),
                repository: repository.clone(),
                digest: *digest,
                via,
            }) as Arc<dyn Source>
        };
        vec![source(Via::Kept), source(Via::Fresh)]
    }

    /// A place among the parallel transfers, first come first served. Taken before a blob is fetched, held until its
    /// last byte.
    pub async fn turn(&self) -> Turn {
        self.turns.take().await
    }

    /// A list to be relayed, at most 4 MiB. `query` is what stands behind the `?`.
    pub async fn list(
        &self,
        repository: &Repository,
        what: List,
        query: Option<&str>,
        accept: &str,
    ) -> Result<Listing, Error> {
        within_limit(list::get(&self.exchange, repository, what, query, accept)).await
    }

    /// How much longer the upstream rests at most, when it does: it failed, or limits our manifests, and every call
    /// for a manifest fails at once until it is well again.
    pub fn resting(&self) -> Option<Duration> {
        self.exchange.breaker().resting()
    }

    /// How long the upstream has said nothing to anybody while somebody waits for it; `None` when nobody waits.
    /// Whoever has a stale answer at hand need not find out anew.
    pub fn silent(&self) -> Option<Duration> {
        self.exchange.breaker().silent()
    }

    /// The next question goes over a new connection: on the one that is kept, questions may be waiting that will never
    /// be answered. What is on it goes on.
    pub fn doubt(&self) {
        self.exchange.doubt();
    }
}

/// Gives up in the end, if nobody else does. What was silent until then has been a failure.
async fn within_limit<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(LIMIT, answer).await.unwrap_or(Err(Error::TimedOut))
}
