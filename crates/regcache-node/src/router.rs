//! What the gateway asks before a request and tells after it: which caches to try, and how they did.

use std::sync::Arc;

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

/// How a cache did with one real request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered in full.
    Ok,
    /// Nobody listens (refused, reset before headers, no route).
    Unreachable,
    /// No headers in time, or a body that stopped moving: takes the cache out for this upstream at once.
    Silent,
    /// The body ended early: says that its upstream is sick, counts against the digest only.
    Short,
    /// A server error (5xx, 401, 403, 429, a redirect).
    Refused,
    /// Bytes that are not what their digest says: takes the cache out altogether until it has proved itself.
    Corrupt,
}

/// The caches in today's order. One implementation is the health tracker; tests of the gateway bring their own.
pub trait Router: Send + Sync + 'static {
    /// The caches to try for `upstream`, best first. `None`: the plan does not know this upstream (404).
    /// Empty: it does, but none may be used now (503).
    fn candidates(&self, upstream: &str) -> Option<Vec<Candidate>>;
    /// Tells how a cache did.
    fn observe(&self, upstream: &str, cache: &str, outcome: Outcome);
}
