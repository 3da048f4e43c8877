//! What all parts of the store share. Everything here may block: async callers go through `spawn_blocking`.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::catalogue::{Catalogue, Victim};
use super::disk::{self, Disk};
use super::facts::{Facts, Name, Value};
use super::health::Health;
use super::index::{Index, IndexError};
use super::key::Key;
use super::layout::Layout;
use super::memory::Recent;
use super::metrics::StoreMetrics;
use super::options::Options;
use super::space::Space;
use super::{Manifest, Statistics, lock};

/// Memory for manifests used lately, and for all of them while the store cannot be used; bytes.
const MANIFESTS: usize = 8 << 20;

/// The store behind its handle: shared by its users, fills under way, and the threads that keep it.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) layout: Layout,
    pub(super) disk: Disk,
    pub(super) metrics: StoreMetrics,
    pub(super) health: Health,
    pub(super) catalogue: Mutex<Catalogue>,
    pub(super) facts: Mutex<Facts>,
    pub(super) manifests: Mutex<Recent<Key, Manifest>>,
    pub(super) index: RwLock<Option<Arc<Index>>>,
    /// The index has shown to be broken and is to be made anew.
    pub(super) broken: AtomicBool,
    /// Everything ends: long work is to stop.
    pub(super) stopping: AtomicBool,
    /// Unverified files that somebody asks for.
    pub(super) urgent: Mutex<Vec<Key>>,
    max_bytes: Mutex<Option<u64>>,
    /// The budget as it was last worked out.
    limit: AtomicU64,
}

impl Inner {
    pub(super) fn new(options: &Options, metrics: StoreMetrics) -> Self {
        Self {
            layout: Layout::new(options.directory.clone()),
            disk: Disk::default(),
            health: Health::new(metrics.clone()),
            metrics,
            catalogue: Mutex::default(),
            facts: Mutex::new(Facts::new()),
            manifests: Mutex::new(Recent::new(MANIFESTS)),
            index: RwLock::new(None),
            broken: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            urgent: Mutex::default(),
            max_bytes: Mutex::new(options.max_bytes),
            limit: AtomicU64::new(options.max_bytes.unwrap_or_default()),
        }
    }

    /// The open index, if there is one.
    pub(super) fn index(&self) -> Option<Arc<Index>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_index(&self, index: Option<Arc<Index>>) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    pub(super) fn set_max_bytes(&self, max_bytes: Option<u64>) {
        *lock(&self.max_bytes) = max_bytes;
    }

    /// Asks the file system; not to be done under a lock, for it may take its time.
    pub(super) fn space(&self) -> Space {
        Space::of(self.layout.root())
    }

    /// The budget, and how much may be written now as far as the file system is concerned.
    pub(super) fn bounds(&self, space: Space, catalogue: &Catalogue) -> (u64, u64) {
        let max_bytes = *lock(&self.max_bytes);
        let ours = catalogue.used();
        let limit = space.limit(max_bytes, ours);
        self.limit.store(limit, Ordering::Relaxed);
        (limit, space.writable(max_bytes, ours))
    }

    /// Why even an idle store keeps nothing: it was given no budget, and others need the disk.
    pub(super) fn no_room(&self) -> Option<String> {
        let none = lock(&self.max_bytes).is_none() && self.limit.load(Ordering::Relaxed) == 0;
        none.then(|| {
            "the disk is shared and less than 15 % of it is free: free some, or say with --max-bytes (store.maxBytes) \
             how much may be used"
                .to_owned()
        })
    }

    /// Removes the files of what has been evicted from memory.
    pub(super) fn remove(&self, victims: &[Victim], bytes: u64) {
        for victim in victims {
            disk::remove(&match victim {
                Victim::Blob(key) => self.layout.blob(key),
                Victim::Left(key, total) => self.layout.partial(key, *total),
            });
            self.metrics.evicted_blobs.inc();
        }
        // Only now: a digest may have had both a blob and a partial file.
        let mut catalogue = lock(&self.catalogue);
        for Victim::Blob(key) | Victim::Left(key, _) in victims {
            catalogue.removed(key);
        }
        drop(catalogue);
        self.metrics.evicted_bytes.inc_by(bytes);
    }

    /// Evicts what a smaller budget has no room for.
    pub(super) fn shrink(&self) {
        let space = self.space();
        let (victims, bytes) = {
            let mut catalogue = lock(&self.catalogue);
            let (limit, _) = self.bounds(space, &catalogue);
            let victims = catalogue.surplus(limit);
            let bytes = catalogue.evict(&victims);
            (victims, bytes)
        };
        self.remove(&victims, bytes);
    }

    /// How full the store is; the gauges hear of it too.
    pub(super) fn statistics(&self) -> Statistics {
        let catalogue = lock(&self.catalogue);
        let statistics = Statistics {
            blobs: catalogue.len() as u64,
            used_bytes: catalogue.used(),
            limit_bytes: self.limit.load(Ordering::Relaxed),
        };
        self.metrics.blobs.set(statistics.blobs);
        self.metrics.used.set(statistics.used_bytes);
        self.metrics.limit.set(statistics.limit_bytes);
        statistics
    }

    /// Opens a stored blob after [`Catalogue::opening`]. A file that is not there, or not as long as it was, is
    /// forgotten.
    pub(super) fn open_blob(&self, key: &Key, size: u64) -> Option<Arc<File>> {
        let found = File::open(self.layout.blob(key)).and_then(|file| Ok((file.metadata()?.len(), file)));
        let file = match found {
            Ok((len, file)) if len == size => Some(Arc::new(file)),
            Ok(_) => {
                self.drop_file(key);
                None
            }
            Err(error) => {
                if error.kind() == ErrorKind::NotFound {
                    self.drop_file(key);
                } else {
                    tracing::warn!(digest = %key.digest(), %error, "cannot open a stored blob");
                }
                None
            }
        };
        lock(&self.catalogue).opened(key, file)
    }

    /// Forgets a blob whose file is gone or wrong, and removes what there is of it.
    pub(super) fn drop_file(&self, key: &Key) {
        tracing::warn!(digest = %key.digest(), "a stored file is not what it was, and is dropped");
        self.metrics.corrupt.inc();
        {
            let mut catalogue = lock(&self.catalogue);
            if catalogue.is_busy(key) {
                // The fill under way will put its own file in this place.
                catalogue.forget(key);
                return;
            }
            catalogue.doom(key);
        }
        disk::remove(&self.layout.blob(key));
        lock(&self.catalogue).removed(key);
    }

    /// Reads an unverified file to the end and settles what it is. `pause` is called between steps.
    pub(super) fn verify(&self, key: &Key, mut pause: impl FnMut()) {
        let Some(size) = lock(&self.catalogue).get(key).map(|entry| entry.size) else {
            return;
        };
        let mut hasher = key.digest().hasher();
        let read = File::open(self.layout.blob(key)).and_then(|file| {
            let len = file.metadata()?.len();
            let step = || {
                pause();
                !self.stopping.load(Ordering::Relaxed)
            };
            Ok((len, disk::hash(&file, len, &mut hasher, None, step)?))
        });
        match read {
            Ok((len, eaten)) if len == size && eaten == size && hasher.finish() == key.digest() => {
                lock(&self.catalogue).verified(key);
            }
            Ok((len, eaten)) if eaten < len && self.stopping.load(Ordering::Relaxed) => {}
            Ok(_) => self.drop_file(key),
            Err(error) => {
                tracing::warn!(digest = %key.digest(), %error, "cannot read a stored file");
                self.drop_file(key);
            }
        }
    }

    /// A fact, from memory or from the index.
    pub(super) fn fact(&self, name: &Name) -> Value {
        if let Some(known) = lock(&self.facts).get(name) {
            return known;
        }
        let found = self.index()?.get(name.0, &name.1);
        match found {
            Ok(value) => lock(&self.facts).learn(name, &value),
            Err(error) => {
                self.index_failed(&error);
                None
            }
        }
    }

    /// The index failed; the keeper will open it anew, and set it aside before when it is broken.
    pub(super) fn index_failed(&self, error: &IndexError) {
        match error {
            IndexError::Broken(text) => {
                tracing::warn!(reason = %text, "the index is broken");
                self.broken.store(true, Ordering::Relaxed);
                self.set_index(None);
            }
            IndexError::Io(error) => {
                self.set_index(None);
                self.health.fail("the index", error);
            }
        }
    }

    /// Where a partial file lies.
    pub(super) fn partial_path(&self, key: &Key, total: u64) -> PathBuf {
        self.layout.partial(key, total)
    }
}
