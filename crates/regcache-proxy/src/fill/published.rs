//! How far a fetch is: what its readers see of it.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use regcache_transfer::Hasher;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::NoBlob;
use crate::store::Blob;

/// Where a fetch stands. Readers wait for changes of it and never by the clock.
#[derive(Clone)]
pub(super) enum State {
    /// Upstream has not said the size yet.
    Asking,
    /// The same, and it has failed to at least once.
    Failing,
    /// Bytes come.
    Growing(Growth),
    /// All bytes are there, and right.
    Whole {
        /// See [`Growth::generation`].
        generation: u32,
        /// The bytes.
        stored: Blob,
    },
    /// The store takes no more: everybody goes on alone.
    Adrift(Adrift),
    /// There is nothing to wait for.
    Over(NoBlob),
}

/// What is there of a blob that grows.
#[derive(Clone)]
pub(super) struct Growth {
    /// Which try this is. A file that began with wrong bytes is followed by another one, and who was given bytes of
    /// the first must not be given bytes of the second.
    pub(super) generation: u32,
    /// The size of the whole blob.
    pub(super) total: u64,
    /// Open for reading.
    pub(super) file: Arc<File>,
    /// Bytes before this offset may be given out.
    pub(super) published: u64,
    /// Bytes per second, as last measured.
    pub(super) rate: u64,
    /// When the last bytes came.
    pub(super) moved: Instant,
}

/// What is there of a blob that does not grow any more.
#[derive(Clone)]
pub(super) struct Adrift {
    /// See [`Growth::generation`].
    pub(super) generation: u32,
    /// The size of the whole blob.
    pub(super) total: u64,
    /// Open for reading.
    pub(super) file: Option<Arc<File>>,
    /// Bytes before this offset are there, and may be given out.
    pub(super) len: u64,
    /// What has taken in exactly those: whoever was promised the whole blob still checks its digest.
    pub(super) hasher: Option<Arc<Hasher>>,
}

/// What somebody who has no answer yet can make of a state.
pub(super) enum Reached {
    /// The bytes from the offset on can be read as they come, of a blob of this size.
    Growing(u64),
    /// All of the blob is there.
    Whole(Blob),
    /// It has to be fetched without the store.
    Adrift,
    /// There will be none.
    No(NoBlob),
}

impl State {
    /// The size of the whole blob, once it is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Growing(growth) => Some(growth.total),
            Self::Whole { stored, .. } => Some(stored.size),
            Self::Adrift(adrift) => Some(adrift.total),
            Self::Asking | Self::Failing | Self::Over(_) => None,
        }
    }

    /// What there is to be had from `start` on; `None`: to be waited for.
    fn reached(&self, start: u64) -> Option<Reached> {
        match self {
            Self::Asking => None,
            Self::Failing => Some(Reached::No(NoBlob::Unavailable)),
            Self::Growing(growth) if start > 0 && start >= growth.total => {
                Some(Reached::No(NoBlob::PastEnd(Some(growth.total))))
            }
            Self::Growing(growth) => (start < growth.published).then_some(Reached::Growing(growth.total)),
            Self::Whole { stored, .. } => Some(Reached::Whole(stored.clone())),
            Self::Adrift(_) => Some(Reached::Adrift),
            Self::Over(why) => Some(Reached::No(*why)),
        }
    }

    /// How many bytes the fetch still is from `start`.
    pub(super) fn distance(&self, start: u64) -> u64 {
        match self {
            Self::Growing(growth) => start.saturating_sub(growth.published),
            _ => start,
        }
    }

    /// When the fetch will be at `start`, going by how it has gone so far.
    pub(super) fn expected(&self, start: u64) -> Option<Duration> {
        let Self::Growing(growth) = self else {
            return None;
        };
        let distance = start.saturating_sub(growth.published);
        // One that has stopped for longer than it needs for anything is not going at its rate any more.
        let millis = distance.saturating_mul(1000).checked_div(growth.rate)?;
        let idle = growth.moved.elapsed();
        (idle < Duration::from_millis(500)).then(|| Duration::from_millis(millis))
    }
}

/// Waits until there is something to be had from `start` on.
pub(super) async fn reached(state: &mut watch::Receiver<State>, start: u64) -> Reached {
    match state.wait_for(|state| state.reached(start).is_some()).await {
        Ok(state) => state.reached(start),
        Err(_) => None,
    }
    .unwrap_or(Reached::No(NoBlob::Unavailable))
}
