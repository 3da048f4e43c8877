//! A blob that grows.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use regcache_transfer::Hasher;

use super::{Blob, NotStored};

/// A blob on its way into the store, in one hand. Dropped, its bytes are kept for the next fill.
pub struct Partial {
    file: Arc<File>,
    len: u64,
    hasher: Hasher,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partial({})", self.len)
    }
}

impl Partial {
    /// How many bytes are in the file: all readable, and never changed again.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is there yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The growing file, for readers at their own pace (by offset). It stays readable whatever becomes of the fill.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// A hasher that has eaten what was there when the fill began. The fill feeds it what it appends.
    pub fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    /// Writes the next bytes. After an error the fill may go on without the store; what [`Self::len`] says stays true.
    #[expect(clippy::unused_async, reason = "signature first")]
    pub async fn append(&mut self, _bytes: Vec<Bytes>) -> Result<(), NotStored> {
        Err(NotStored::Unusable)
    }

    /// The digest was right and all bytes are there: permanent from now on.
    #[expect(clippy::unused_async, reason = "signature first")]
    pub async fn commit(self) -> Result<Blob, NotStored> {
        Err(NotStored::Unusable)
    }

    /// The bytes were wrong: nothing of them is kept.
    #[expect(clippy::unused_async, reason = "signature first")]
    pub async fn discard(self) {}
}
