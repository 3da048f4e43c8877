//! What is kept: blobs and manifests as files by digest, and an index of facts about them.
//!
//! `keeper` is the thread that opens, writes behind and repairs; `scan` looks through the files after a start;
//! `catalogue` is what is there, in memory, with the budget; `partial` is a blob that grows; `known`, `facts` and
//! `tags` are what is known beside blobs; `index` is redb; `disk` is system calls; `health` says whether all this works.
//!
//! What is promised, whatever ends the process:
//! - A file under `blobs/` got its name when it was whole and its digest right. The index speaks for it only after its
//!   bytes were synced; what the index does not speak for is read again before it is served. So a power failure is
//!   survived too, though nothing ever waits for a sync.
//! - A hit takes no system call but the first opening of its file, and never waits for a write.
//! - The budget holds what is stored, what fills were promised, what they left, and the index.

mod catalogue;
mod disk;
mod error;
mod facts;
mod health;
mod index;
mod inner;
mod keeper;
mod key;
mod known;
mod layout;
mod leftovers;
mod memory;
mod metrics;
mod options;
mod partial;
mod scan;
mod space;
mod tags;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use jiff::Timestamp;
use regcache_transfer::Digest;

use inner::Inner;
use keeper::{Keeper, MANY, Order};
use key::Key;
use partial::blocking;

pub use error::NotStored;
pub use metrics::StoreMetrics;
pub use options::Options;
pub use partial::Partial;

/// A file that nobody vouches for is read at once when it is asked for and no larger; bytes.
const VERIFY_AT_ONCE: u64 = 32 << 20;

/// A content-addressed store in one directory. It never fails to open: what cannot be used is set aside or bypassed,
/// and [`Store::trouble`] says so.
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
    orders: Sender<Order>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// One at a time reads what nobody vouches for, or many would read the same.
    verifying: tokio::sync::Mutex<()>,
    /// One at a time changes a tag, or one of two changes would be lost.
    tagging: tokio::sync::Mutex<()>,
}

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

impl Store {
    /// Opens or makes the store in the background; whoever asks before it is open waits for it, but not for long.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever opens a store has no other use for them"
    )]
    pub fn open(options: Options, metrics: &StoreMetrics) -> Arc<Self> {
        let inner = Arc::new(Inner::new(&options, metrics.clone()));
        let (orders, received) = mpsc::channel();
        let keeper = Keeper::new(Arc::clone(&inner), options.every);
        let spawned = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || keeper.run(&received));
        let keeper = spawned
            .map_err(|error| inner.health.fail("starting a thread", &error))
            .ok();
        Arc::new(Self {
            inner,
            orders,
            keeper: Mutex::new(keeper),
            verifying: tokio::sync::Mutex::default(),
            tagging: tokio::sync::Mutex::default(),
        })
    }

    /// Why nothing can be stored at the moment, for people.
    pub fn trouble(&self) -> Option<String> {
        self.inner.health.trouble().or_else(|| self.inner.no_room())
    }

    /// Whether it is not known yet what is here.
    pub fn is_opening(&self) -> bool {
        self.inner.health.is_opening()
    }

    /// Another budget from now on (see [`Options::max_bytes`]).
    pub fn set_max_bytes(&self, max_bytes: Option<u64>) {
        self.inner.set_max_bytes(max_bytes);
        self.round();
    }

    /// How full it is.
    pub fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }

    /// The blob, when it is here. Counts as a use.
    pub async fn blob(&self, digest: &Digest) -> Option<Blob> {
        let key = Key::from(digest);
        self.opened().await;
        self.settle(&key).await;
        let (size, many) = {
            let mut catalogue = lock(&self.inner.catalogue);
            let size = catalogue.touch(&key)?.size;
            if let Some(file) = catalogue.open_file(&key) {
                return Some(Blob { size, file });
            }
            catalogue.opening(&key);
            (size, catalogue.dirty() == MANY)
        };
        if many {
            self.round();
        }
        let inner = Arc::clone(&self.inner);
        let file = tokio::task::spawn_blocking(move || inner.open_blob(&key, size))
            .await
            .ok()??;
        Some(Blob { size, file })
    }

    /// Whether the blob or manifest is here. No use is counted.
    pub async fn has(&self, digest: &Digest) -> bool {
        self.opened().await;
        let key = Key::from(digest);
        lock(&self.inner.catalogue)
            .get(&key)
            .is_some_and(|entry| entry.verified)
    }

    /// How many bytes the blob was to have of which an earlier fill left a part for the next [`Self::begin`].
    pub fn left(&self, digest: &Digest) -> Option<u64> {
        lock(&self.inner.catalogue).left(&Key::from(digest))
    }

    /// Starts a blob of `total` bytes, for which room is made; takes up what an earlier fill left
    /// ([`Partial::len`] says how much). One at a time for each digest.
    pub async fn begin(&self, digest: &Digest, total: u64) -> Result<Partial, NotStored> {
        let key = Key::from(digest);
        self.opened().await;
        let inner = Arc::clone(&self.inner);
        blocking(&self.inner, move || Partial::begin(&inner, key, total)).await
    }

    /// Reading the blob's file failed, or gave other bytes: it is not served again until it has been read through, and
    /// removed when it is wrong.
    pub async fn suspect(&self, digest: &Digest) {
        let key = Key::from(digest);
        self.opened().await;
        lock(&self.inner.catalogue).doubt(&key);
        lock(&self.inner.urgent).push(key);
        self.round();
    }

    /// Writes everything down and lets go of the directory. Nothing is stored or found afterwards.
    pub async fn close(&self) {
        _ = self.orders.send(Order::Close);
        let keeper = lock(&self.keeper).take();
        if let Some(keeper) = keeper {
            drop(tokio::task::spawn_blocking(|| keeper.join()).await);
        }
    }

    /// Waits until it is known whether the store can be used: at most some seconds after the start.
    async fn opened(&self) {
        if self.inner.health.is_about_to_open() {
            let inner = Arc::clone(&self.inner);
            drop(tokio::task::spawn_blocking(move || inner.health.wait()).await);
        }
    }

    /// Reads a file that nobody vouches for yet, when that does not take long; otherwise it is the next one to be read.
    async fn settle(&self, key: &Key) {
        let size = lock(&self.inner.catalogue)
            .get(key)
            .filter(|entry| !entry.verified)
            .map(|entry| entry.size);
        let Some(size) = size else { return };
        if size > VERIFY_AT_ONCE {
            let mut urgent = lock(&self.inner.urgent);
            if !urgent.contains(key) && urgent.len() < MANY {
                urgent.push(key.clone());
            }
            return;
        }
        let turn = self.verifying.lock().await;
        if lock(&self.inner.catalogue).is_unverified(key) {
            let inner = Arc::clone(&self.inner);
            let key = key.clone();
            drop(tokio::task::spawn_blocking(move || inner.verify(&key, || {})).await);
        }
        drop(turn);
    }

    fn round(&self) {
        _ = self.orders.send(Order::Round);
    }
}

/// Locks; what a thread that panicked left is as good as any cache.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
