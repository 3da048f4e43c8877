//! The store as a whole, in a directory of its own.

mod budget;
mod crash;
mod known;
mod partials;
mod start;
mod trouble;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use regcache_transfer::Digest;
use tempfile::TempDir;

use super::{Blob, Options, Store, StoreMetrics};

/// What the index and the directories may take in tests with small budgets, bytes.
const OVERHEAD: u64 = 4 << 20;

fn options(directory: &Path) -> Options {
    Options {
        max_bytes: Some(64 << 20),
        every: Duration::from_millis(20),
        ..Options::new(directory)
    }
}

fn open(directory: &Path) -> Arc<Store> {
    Store::open(options(directory), &StoreMetrics::default())
}

fn fresh() -> (TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    (directory, store)
}

/// Bytes that differ by `seed`.
fn content(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(step).take(len.div_ceil(8));
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(len);
    bytes.into()
}

async fn put(store: &Store, bytes: &Bytes) -> Digest {
    let digest = Digest::sha256(bytes);
    let mut partial = store.begin(&digest, bytes.len() as u64).await.unwrap();
    let rest = bytes.slice(usize::try_from(partial.len()).unwrap()..);
    partial.append(vec![rest]).await.unwrap();
    partial.commit().await.unwrap();
    digest
}

fn read(blob: &Blob) -> Bytes {
    let mut bytes = vec![0; usize::try_from(blob.size).unwrap()];
    blob.file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.into()
}

async fn get(store: &Store, digest: &Digest) -> Option<Bytes> {
    store.blob(digest).await.map(|blob| read(&blob))
}

/// Waits for what another thread is about to do.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Everything is on disk.
async fn written(store: &Store) {
    until("all is written", async || {
        let dirty = super::lock(&store.inner.catalogue).dirty();
        let index = store.inner.index();
        // A handle beside the store's own and this one: the keeper is writing.
        dirty == 0
            && super::lock(&store.inner.facts).waiting() == 0
            && index.is_some_and(|index| Arc::strong_count(&index) == 2)
    })
    .await;
}

/// What a kill at this moment would leave.
fn image(directory: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(directory, image.path());
    image
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    super::layout::Layout::new(directory.to_owned()).blob(&digest.into())
}
