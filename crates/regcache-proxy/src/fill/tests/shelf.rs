//! A store in a temporary directory, whose disk can be full.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use regcache_transfer::{Digest, Hasher};
use tempfile::TempDir;

use crate::fill::keep::{Growing, Keep};
use crate::store::{Blob, NotStored};

/// What is stored, and what goes wrong with it.
pub struct Shelf {
    directory: TempDir,
    stored: Mutex<HashMap<Digest, Blob>>,
    /// Nothing can be begun.
    pub refuses: AtomicBool,
    /// How many more bytes the disk takes.
    pub room: AtomicU64,
    /// What is whole cannot be made permanent.
    pub forgets: AtomicBool,
    /// How long each write takes, ms.
    pub pace: AtomicU64,
    pub discarded: AtomicU64,
    /// How long what was left is to become.
    left: Mutex<HashMap<Digest, u64>>,
    /// What is being written.
    busy: Mutex<HashSet<Digest>>,
}

struct Part {
    shelf: Arc<Shelf>,
    digest: Digest,
    file: Arc<File>,
    hasher: Hasher,
    len: u64,
    total: u64,
    done: bool,
}

impl Shelf {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            directory: tempfile::tempdir().unwrap(),
            stored: Mutex::default(),
            refuses: AtomicBool::new(false),
            room: AtomicU64::new(u64::MAX),
            forgets: AtomicBool::new(false),
            pace: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            left: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.path().join(digest.to_string())
    }

    /// Leaves `bytes` of a blob of `total` as an earlier process would have.
    pub fn leave(&self, digest: &Digest, bytes: &[u8], total: usize) {
        self.left.lock().unwrap().insert(*digest, total as u64);
        fs::write(self.path(digest), bytes).unwrap();
    }

    /// What is there of the blob, whole or not.
    pub fn bytes(&self, digest: &Digest) -> Vec<u8> {
        fs::read(self.path(digest)).unwrap_or_default()
    }

    /// Somebody else is at this digest, until what comes out is dropped.
    pub fn occupy(self: &Arc<Self>, digest: &Digest) -> impl Drop + use<> {
        struct Occupied(Arc<Shelf>, Digest);
        impl Drop for Occupied {
            fn drop(&mut self) {
                self.0.busy.lock().unwrap().remove(&self.1);
            }
        }
        self.busy.lock().unwrap().insert(*digest);
        Occupied(self.clone(), *digest)
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.stored.lock().unwrap().contains_key(digest)
    }
}

impl Keep for Arc<Shelf> {
    fn blob<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Blob>> {
        ready(self.stored.lock().unwrap().get(digest).cloned()).boxed()
    }

    fn left(&self, digest: &Digest) -> Option<u64> {
        self.left.lock().unwrap().get(digest).copied()
    }

    fn begin<'a>(&'a self, digest: &'a Digest, total: u64) -> BoxFuture<'a, Result<Box<dyn Growing>, NotStored>> {
        async move {
            if self.refuses.load(Ordering::Relaxed) {
                return Err(NotStored::NoSpace);
            }
            if !self.busy.lock().unwrap().insert(*digest) {
                return Err(NotStored::Busy);
            }
            if self
                .left
                .lock()
                .unwrap()
                .remove(digest)
                .is_some_and(|left| left != total)
            {
                fs::remove_file(self.path(digest)).unwrap();
            }
            let there = self.bytes(digest);
            let mut hasher = digest.hasher();
            hasher.update(&there);
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(self.path(digest))
                .unwrap();
            let part = Part {
                shelf: self.clone(),
                digest: *digest,
                file: Arc::new(file),
                hasher,
                len: there.len() as u64,
                total,
                done: false,
            };
            Ok(Box::new(part) as Box<dyn Growing>)
        }
        .boxed()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.done {
            self.shelf.left.lock().unwrap().insert(self.digest, self.total);
        }
        self.shelf.busy.lock().unwrap().remove(&self.digest);
    }
}

impl Growing for Part {
    fn len(&self) -> u64 {
        self.len
    }

    fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    fn append(&mut self, bytes: Vec<Bytes>) -> BoxFuture<'_, Result<(), NotStored>> {
        async move {
            let pace = self.shelf.pace.load(Ordering::Relaxed);
            if pace > 0 {
                tokio::time::sleep(Duration::from_millis(pace)).await;
            }
            for chunk in bytes {
                let room = self.shelf.room.load(Ordering::Relaxed);
                let fits = (chunk.len() as u64).min(room);
                self.shelf.room.store(room - fits, Ordering::Relaxed);
                let some = &chunk[..usize::try_from(fits).unwrap()];
                self.file.write_all_at(some, self.len).unwrap();
                self.len += fits;
                if fits < chunk.len() as u64 {
                    return Err(NotStored::NoSpace);
                }
                // What else there is to do gets its turn.
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        .boxed()
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<Blob, NotStored>> {
        async move {
            assert_eq!(self.len, self.total);
            assert!(
                self.digest.matches(&self.shelf.bytes(&self.digest)),
                "stored wrong bytes"
            );
            if self.shelf.forgets.load(Ordering::Relaxed) {
                return Err(NotStored::Disk);
            }
            self.done = true;
            let blob = Blob {
                size: self.len,
                file: self.file.clone(),
            };
            self.shelf.stored.lock().unwrap().insert(self.digest, blob.clone());
            Ok(blob)
        }
        .boxed()
    }

    fn discard(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.done = true;
        fs::remove_file(self.shelf.path(&self.digest)).unwrap();
        self.shelf.discarded.fetch_add(1, Ordering::Relaxed);
        ready(()).boxed()
    }
}
