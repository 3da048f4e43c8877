//! The registry's interface: one request to one answer.
//!
//! The pipeline: `ask` (what is wanted) -> `upstreams`, `repositories` (whose, and is it served) -> `manifest`, `blob`,
//! `lists` (the answer). What is refused is refused so that containerd goes on to the next host: 404 or 503, never 401,
//! 429 or a challenge.

pub mod ask;
mod metrics;
pub mod range;
mod repositories;
mod upstreams;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::content::Body;
use crate::fill::Fills;
use crate::store::Store;

pub use metrics::RegistryMetrics;
pub use repositories::{BadGlob, Glob, RepositoryLists};
pub use upstreams::{Entry, Upstreams};

/// Answers everything under `/v2/`.
pub struct Registry {
    upstreams: Arc<ArcSwap<Upstreams>>,
}

impl Registry {
    /// A registry of what these upstreams have.
    pub fn new(
        _store: Arc<Store>,
        _fills: Arc<Fills>,
        upstreams: Arc<ArcSwap<Upstreams>>,
        _metrics: RegistryMetrics,
    ) -> Arc<Self> {
        Arc::new(Self { upstreams })
    }

    /// One request, one answer, with `Content-Length` on each; to HEAD without a body.
    pub async fn answer(&self, _request: http::Request<()>) -> http::Response<Body> {
        std::future::ready(self.upstreams.load().get("")).await;
        http::Response::new(Body::empty())
    }
}
