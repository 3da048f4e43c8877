//! What is kept: blobs and manifests as files by digest, and an index of facts about them.

mod error;
mod metrics;
mod options;
mod partial;

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use regcache_transfer::Digest;

use crate::names::{Repository, Tag};

pub use error::NotStored;
pub use metrics::StoreMetrics;
pub use options::Options;
pub use partial::Partial;

/// A content-addressed store in one directory. It never fails to open: what cannot be used is set aside or bypassed,
/// and [`Store::trouble`] says so.
#[derive(Debug)]
pub struct Store {}

/// A whole, verified blob.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Bytes.
    pub size: u64,
    /// Open for reading (by offset; shared by all readers). While a clone of it lives the blob is not evicted.
    pub file: Arc<File>,
}

/// A stored manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// As upstream said it.
    pub media_type: String,
    /// Exactly what the digest names.
    pub bytes: Bytes,
}

/// What upstream last said a tag is, for one `Accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFact {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's media type, when upstream said it.
    pub media_type: Option<String>,
    /// The manifest's length, bytes, when upstream said it.
    pub size: Option<u64>,
    /// When upstream said so.
    pub checked_at: Timestamp,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Blobs and manifests.
    pub blobs: u64,
    /// Bytes on disk, and those promised to fills under way.
    pub used_bytes: u64,
    /// The most that may be used.
    pub limit_bytes: u64,
}

#[expect(clippy::unused_async, reason = "signature first")]
impl Store {
    /// Opens or makes the store in the background; whoever asks before it is open waits for it, but not for long.
    pub fn open(_options: Options, _metrics: &StoreMetrics) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// Why nothing can be stored at the moment, for people.
    pub fn trouble(&self) -> Option<String> {
        None
    }

    /// Another budget from now on (see [`Options::max_bytes`]).
    pub fn set_max_bytes(&self, _max_bytes: Option<u64>) {}

    /// How full it is.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            blobs: 0,
            used_bytes: 0,
            limit_bytes: 0,
        }
    }

    /// The blob, when it is here. Counts as a use.
    pub async fn blob(&self, _digest: &Digest) -> Option<Blob> {
        None
    }

    /// Whether the blob or manifest is here. No use is counted.
    pub async fn has(&self, _digest: &Digest) -> bool {
        false
    }

    /// Starts a blob of `total` bytes, for which room is made; takes up what an earlier fill left
    /// ([`Partial::len`] says how much).
    pub async fn begin(self: &Arc<Self>, _digest: &Digest, _total: u64) -> Result<Partial, NotStored> {
        Err(NotStored::Unusable)
    }

    /// Keeps a manifest whose digest has been checked. It is remembered in memory for a while even when this fails.
    pub async fn put_manifest(&self, _digest: &Digest, _media_type: &str, _bytes: Bytes) -> Result<(), NotStored> {
        Err(NotStored::Unusable)
    }

    /// The manifest, when it is here. Counts as a use.
    pub async fn manifest(&self, _digest: &Digest) -> Option<Manifest> {
        None
    }

    /// Never evict this digest, from now on and after a restart too.
    pub async fn pin(&self, _digest: &Digest) {}

    /// Evict it like any other.
    pub async fn unpin(&self, _digest: &Digest) {}

    /// Remembers that the repository of that upstream has these digests. Cheap when all of it is known.
    pub async fn note_holds(&self, _upstream: &str, _repository: &Repository, _digests: &[Digest]) {}

    /// Whether the repository of that upstream is known to have the digest.
    pub async fn holds(&self, _upstream: &str, _repository: &Repository, _digest: &Digest) -> bool {
        false
    }

    /// What the tag last was for who sends this `Accept`.
    pub async fn tag(&self, _upstream: &str, _repository: &Repository, _tag: &Tag, _accept: &str) -> Option<TagFact> {
        None
    }

    /// Remembers what a tag is.
    pub async fn put_tag(&self, _upstream: &str, _repository: &Repository, _tag: &Tag, _accept: &str, _fact: TagFact) {}

    /// Forgets a tag, for every `Accept`: upstream does not have it any more.
    pub async fn remove_tag(&self, _upstream: &str, _repository: &Repository, _tag: &Tag) {}

    /// Writes everything down and lets go of the directory. Nothing is stored or found afterwards.
    pub async fn close(&self) {}
}
