//! The thread that keeps the store: takes the directory, opens the index, writes behind, evicts after a smaller
//! budget, and finds out when a disk that failed is well again. Whatever happens, it tries again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::catalogue::Catalogue;
use super::index::{Batch, Index, IndexError, Record, Table};
use super::inner::Inner;
use super::key::Key;
use super::leftovers;
use super::{NotStored, lock, scan, tags};

/// So many changes are written without waiting for the next round.
pub(super) const MANY: usize = 1000;
/// The most blobs written at once: a batch takes memory.
const BATCH: usize = 10_000;
/// What a fill left is kept so long for the next one.
const KEEP_LEFT: Duration = Duration::from_secs(3600);

/// What the keeper is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Make a round now.
    Round,
    /// Write everything down and end.
    Close,
}

/// The keeper's own state.
pub(super) struct Keeper {
    inner: Arc<Inner>,
    every: Duration,
    lock: Option<File>,
    scan: Option<JoinHandle<()>>,
    loaded: bool,
    written: Instant,
}

impl Keeper {
    pub(super) fn new(inner: Arc<Inner>, every: Duration) -> Self {
        Self {
            inner,
            every,
            lock: None,
            scan: None,
            loaded: false,
            written: Instant::now(),
        }
    }

    /// Keeps the store until it is told to end, or nobody is left to tell.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        loop {
            if catch_unwind(AssertUnwindSafe(|| self.round())).is_err() {
                let text = "an error in the store itself".to_owned();
                self.inner.health.set_trouble(NotStored::Unusable, text);
            }
            match orders.recv_timeout(self.every) {
                Ok(Order::Round) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close();
    }

    fn round(&mut self) {
        if !self.take_directory() {
            return;
        }
        if self.loaded {
            // Whatever else fails: when others have filled the disk, this is what makes room.
            self.inner.shrink();
        }
        if !self.open_index() {
            return;
        }
        if self.inner.health.check().is_err()
            && let Err(error) = self.inner.disk.probe(&self.inner.layout.probe())
        {
            self.inner.health.fail("writing a file", &error);
            return;
        }
        self.inner.health.set_usable();
        self.inner.shrink();
        if self.written.elapsed() >= self.every || self.has_many() {
            self.write();
        }
        self.expire();
        self.look_through(false);
        self.inner.statistics();
    }

    fn has_many(&self) -> bool {
        lock(&self.inner.catalogue).dirty() + lock(&self.inner.facts).waiting() >= MANY
    }

    /// One process at a time: the others serve without storing until the one that holds the lock has ended.
    fn take_directory(&mut self) -> bool {
        if self.lock.is_some() {
            return true;
        }
        let layout = &self.inner.layout;
        let opened = fs::create_dir_all(layout.partials())
            .and_then(|()| fs::create_dir_all(layout.blobs()))
            .and_then(|()| self.inner.disk.check())
            .and_then(|()| {
                File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(layout.lock())
            });
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let doing = format!("opening the store in {}", layout.root().display());
                self.inner.health.fail(&doing, &error);
                return false;
            }
        };
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                true
            }
            Err(fs::TryLockError::WouldBlock) => {
                let text = format!("{} is in use by another process", layout.root().display());
                self.inner.health.set_trouble(NotStored::Unusable, text);
                false
            }
            Err(fs::TryLockError::Error(error)) => {
                self.inner.health.fail("locking the store", &error);
                false
            }
        }
    }

    /// Opens the index where it is not; a broken one is set aside and made anew from the files, or from memory.
    fn open_index(&mut self) -> bool {
        if self.inner.index().is_some() {
            return true;
        }
        if self.inner.broken.load(Ordering::Relaxed) && !self.set_aside() {
            return false;
        }
        self.inner.broken.store(false, Ordering::Relaxed);
        let opened = self.inner.disk.check().map_err(IndexError::Io);
        let opened = opened.and_then(|()| Index::open(&self.inner.layout.index()));
        match opened.and_then(|index| self.load(&index).map(|()| index)) {
            Ok(index) => {
                self.inner.set_index(Some(Arc::new(index)));
                self.weigh_index();
                if !self.loaded {
                    self.loaded = true;
                    self.look_through(true);
                }
                true
            }
            Err(IndexError::Broken(text)) => {
                tracing::warn!(reason = %text, "the index of the store is set aside, and made anew from the files");
                self.inner.broken.store(true, Ordering::Relaxed);
                // Not at once for ever: a second failure waits for the next round.
                self.set_aside() && self.open_new()
            }
            Err(IndexError::Io(error)) => {
                if error.kind() == ErrorKind::StorageFull && !self.loaded {
                    leftovers::remove_all(&self.inner.layout);
                }
                self.inner.health.fail("opening the index", &error);
                false
            }
        }
    }

    fn open_new(&mut self) -> bool {
        self.inner.broken.store(false, Ordering::Relaxed);
        match Index::open(&self.inner.layout.index()) {
            Ok(index) => {
                drop(index);
                self.open_index()
            }
            Err(error) => {
                self.inner.index_failed(&error);
                self.inner.health.set_trouble(NotStored::Unusable, error.to_string());
                false
            }
        }
    }

    /// What the index says, into memory; or what memory says, into an index that was opened again.
    fn load(&self, index: &Index) -> Result<(), IndexError> {
        if self.loaded {
            let mut catalogue = lock(&self.inner.catalogue);
            catalogue.all_dirty();
            let now = catalogue.now();
            for key in catalogue.pins() {
                lock(&self.inner.facts).put((Table::Pins, key.bytes().into()), Some(tags::bare(now)));
            }
            return Ok(());
        }
        let started = Instant::now();
        let mut catalogue = Catalogue::default();
        catalogue.expect(index.blobs()?);
        index.load(|key, record| catalogue.load(key, record.size, record.used, record.media.as_deref()))?;
        catalogue.set_pins(index.pins()?);
        for (key, left) in leftovers::find(&self.inner.layout) {
            catalogue.add_left(key, left);
        }
        let blobs = catalogue.len();
        *lock(&self.inner.catalogue) = catalogue;
        tracing::info!(blobs, seconds = started.elapsed().as_secs_f64(), "the store is open");
        Ok(())
    }

    fn set_aside(&self) -> bool {
        let aside = self.inner.layout.aside();
        // One is enough to look into. Whatever kind of thing it is, when it stays the rename says so.
        if fs::remove_file(&aside).is_err() {
            drop(fs::remove_dir_all(&aside));
        }
        match fs::rename(self.inner.layout.index(), &aside) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => {
                self.inner.health.fail("setting the index aside", &error);
                false
            }
        }
    }

    /// Writes what has changed. Blobs are synced first: what the index says of them is true after a power failure.
    fn write(&mut self) {
        self.written = Instant::now();
        let Some(index) = self.inner.index() else { return };
        let (dirty, unsynced) = lock(&self.inner.catalogue).take_dirty();
        for key in unsynced {
            if let Err(error) = self.inner.disk.sync(&self.inner.layout.blob(&key)) {
                // Whether its bytes are on the disk nobody can say any more.
                self.inner.health.fail("syncing a file", &error);
                self.inner.drop_file(&key);
            }
        }
        let mut facts = Some(lock(&self.inner.facts).take()).filter(|facts| !facts.is_empty());
        let mut rest = dirty.as_slice();
        while !rest.is_empty() || facts.is_some() {
            let (now, later) = rest.split_at(rest.len().min(BATCH));
            let batch = Batch {
                blobs: self.records(now),
                facts: facts.take().into_iter().flatten().collect(),
            };
            let written = self
                .inner
                .disk
                .check()
                .map_err(IndexError::Io)
                .and_then(|()| index.write(&batch));
            lock(&self.inner.facts).written(written.is_ok());
            if let Err(error) = written {
                lock(&self.inner.catalogue).give_back(rest.iter().cloned());
                self.inner.index_failed(&error);
                return;
            }
            let gone = batch.blobs.iter().filter(|(_, record)| record.is_none());
            lock(&self.inner.catalogue).not_vouched(gone.map(|(key, _)| key));
            rest = later;
        }
        self.weigh_index();
    }

    /// What the index is to know of these digests from now on.
    fn records(&self, keys: &[Key]) -> Vec<(Key, Option<Record>)> {
        let catalogue = lock(&self.inner.catalogue);
        // Those replaced meanwhile have their turn with the next batch.
        let keys = keys.iter().filter(|key| !catalogue.is_unsynced(key));
        let record = |key: &Key| {
            let entry = catalogue.get(key).filter(|entry| entry.verified)?;
            Some(Record {
                size: entry.size,
                used: entry.used,
                media: catalogue.media(entry).map(str::to_owned),
            })
        };
        keys.map(|key| (key.clone(), record(key))).collect()
    }

    fn weigh_index(&self) {
        let layout = &self.inner.layout;
        let sizes =
            [layout.index(), layout.aside()].map(|path| fs::metadata(path).map_or(0, |found| found.blocks() * 512));
        lock(&self.inner.catalogue).set_index_bytes(sizes.iter().sum());
    }

    /// Partial files that nobody came back for.
    fn expire(&self) {
        let (victims, bytes) = {
            let mut catalogue = lock(&self.inner.catalogue);
            let keep = u64::try_from(KEEP_LEFT.as_millis()).unwrap_or(u64::MAX);
            let before = catalogue.now().saturating_sub(keep);
            let victims = catalogue.left_before(before);
            let bytes = catalogue.evict(&victims);
            (victims, bytes)
        };
        self.inner.remove(&victims, bytes);
    }

    /// Starts to look through the files: all at a start, otherwise those that somebody has doubts about.
    fn look_through(&mut self, walk: bool) {
        let running = self.scan.as_ref().is_some_and(|scan| !scan.is_finished());
        if running || (!walk && lock(&self.inner.urgent).is_empty()) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        let spawned = Builder::new()
            .name("store-scan".to_owned())
            .spawn(move || scan::run(&inner, walk));
        match spawned {
            Ok(scan) => self.scan = Some(scan),
            Err(error) => tracing::warn!(%error, "cannot look through the store"),
        }
    }

    fn close(mut self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        if let Some(scan) = self.scan.take() {
            drop(scan.join());
        }
        if self.lock.is_some() {
            self.write();
        }
        self.inner.health.set_closed();
        self.inner.set_index(None);
        *lock(&self.inner.catalogue) = Catalogue::default();
    }
}
