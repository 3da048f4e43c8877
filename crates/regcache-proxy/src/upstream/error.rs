//! What can go wrong between asking an upstream and having its answer.

use std::time::Duration;

/// Why there is no answer. The texts are for logs and hold no credential, token or signed address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Upstream does not have it (404).
    #[error("not found upstream")]
    NotFound,
    /// Upstream, or who gives out its tokens, does not let us have it: 401 or 403.
    #[error("upstream denies access ({0})")]
    Denied(u16),
    /// Too many requests (429), and how long upstream wants to be left alone, when it said so.
    #[error("upstream limits our requests")]
    Limited {
        /// From the `Retry-After` header, bounded.
        retry_after: Option<Duration>,
    },
    /// Any other status that is no answer.
    #[error("upstream answered with status {0}")]
    Status(u16),
    /// No connection, or one that was lost before the answer was complete.
    #[error("upstream is unreachable: {0}")]
    Unreachable(String),
    /// No answer within the client's own limit.
    #[error("upstream did not answer in time")]
    TimedOut,
    /// It failed a moment ago and is left alone.
    #[error("upstream rests after a failure")]
    Resting {
        /// How much longer at most; a probe may end it sooner.
        remaining: Duration,
    },
    /// More bytes than such an answer can reasonably have.
    #[error("upstream's answer is too large")]
    TooLarge,
    /// An answer that makes no sense, or wrong bytes.
    #[error("upstream's answer is malformed: {0}")]
    Malformed(String),
}
