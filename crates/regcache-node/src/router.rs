//! What the gateway asks before a request and tells after it: which caches to try, and how they did.

use std::sync::Arc;

pub use regcache_transfer::Outcome;

/// One cache to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The cache's name in the plan.
    pub name: Arc<str>,
    /// Base address without path: `http://10.96.0.17:5000`.
    pub url: Arc<str>,
    /// Whether `?ns=` names the upstream in requests to it.
    pub ns: bool,
}

/// The caches in today's order. One implementation is the health tracker; tests of the gateway bring their own.
pub trait Router: Send + Sync + 'static {
    /// The caches to try for `upstream`, best first. `None`: the plan does not know this upstream (404).
    /// Empty: it does, but none may be used now (503).
    fn candidates(&self, upstream: &str) -> Option<Vec<Candidate>>;
    /// Tells how a cache did.
    fn observe(&self, upstream: &str, cache: &str, outcome: Outcome);
}
