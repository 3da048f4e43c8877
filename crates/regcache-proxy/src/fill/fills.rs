//! Who asks for what, and what is done about it.

use std::sync::Arc;
use std::time::Duration;

use regcache_transfer::{Digest, Span};

use super::{FillLimits, FillMetrics, Keep, Origin};
use crate::content::Pieces;

/// A blob's bytes, or a part of them, at once or as they come.
pub struct Answer {
    /// The size of the whole blob.
    pub total: u64,
    /// The offset of the first byte.
    pub start: u64,
    /// The offset after the last byte.
    pub end: u64,
    /// Exactly `end - start` bytes, or a short end.
    pub pieces: Pieces,
    /// Where they come from.
    pub how: How,
}

/// Where the bytes of an answer come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// From the store.
    Hit,
    /// From a fetch that was there already.
    Join,
    /// From a fetch that began for this request.
    Miss,
    /// From a fetch for this request alone, which is not stored.
    Bypass,
}

/// There is no answer with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBlob {
    /// Upstream does not have the blob.
    #[error("upstream does not have the blob")]
    NotFound,
    /// The range begins behind the blob's end (its size, when it is known).
    #[error("the range lies behind the end of the blob")]
    PastEnd(Option<u64>),
    /// Not now: whoever asks had better go on elsewhere.
    #[error("the blob cannot be had at the moment")]
    Unavailable,
}

/// All fetches of blobs, one for each (upstream, digest).
pub struct Fills {
    _keep: Arc<dyn Keep>,
}

impl Fills {
    /// Fills `keep`, which is the store.
    pub fn new(keep: Arc<dyn Keep>, _limits: FillLimits, _metrics: &FillMetrics) -> Arc<Self> {
        Arc::new(Self { _keep: keep })
    }

    /// The blob or a part of it, stored or not.
    pub async fn blob(
        &self,
        _origin: Arc<dyn Origin>,
        _digest: Digest,
        _range: Option<Span>,
    ) -> Result<Answer, NoBlob> {
        std::future::ready(Err(NoBlob::Unavailable)).await
    }

    /// The size of a blob whose fetch is under way, once upstream has said it.
    pub fn size(&self, _upstream: &str, _digest: &Digest) -> Option<u64> {
        None
    }

    /// Begins no more fetches, lets those under way finish within `grace`, then stops them; what they have is kept for
    /// the next start. Done when all have ended.
    pub async fn shutdown(&self, _grace: Duration) {
        std::future::ready(()).await;
    }
}
