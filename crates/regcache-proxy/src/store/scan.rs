//! Puts files and index together after a start, behind the serving: files that the index does not know are read and
//! then served or removed; entries without a file are dropped. Nothing else is read.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, UNIX_EPOCH};

use super::inner::Inner;
use super::key::Key;
use super::lock;

/// Walks over all files once, and verifies what nobody vouches for. On a thread of its own.
pub(super) fn run(inner: &Arc<Inner>, walk: bool) {
    if walk {
        let started = Instant::now();
        match walk_all(inner) {
            // A directory that could not be read says nothing about what is in it.
            Err(error) => tracing::warn!(%error, "cannot look through the store"),
            Ok(unknown) if !inner.stopping.load(Ordering::Relaxed) => {
                let lost = lock(&inner.catalogue).forget_unseen();
                let seconds = started.elapsed().as_secs_f64();
                tracing::info!(unknown, lost, seconds, "looked through the store");
            }
            Ok(_) => return,
        }
    }
    // In rounds, for others may turn up: the list of a round is as old as its first file.
    loop {
        let mut queue = lock(&inner.catalogue).unverified();
        if queue.is_empty() {
            return;
        }
        loop {
            let urgent = lock(&inner.urgent).pop();
            let Some(next) = urgent.or_else(|| queue.pop()) else {
                break;
            };
            if inner.stopping.load(Ordering::Relaxed) {
                return;
            }
            if lock(&inner.catalogue).is_unverified(&next) {
                inner.verify(&next, half_pace());
            }
        }
    }
}

/// Sleeps as long as the work between two calls took: the disk is for others first.
fn half_pace() -> impl FnMut() {
    let mut before = Instant::now();
    move || {
        std::thread::sleep(before.elapsed());
        before = Instant::now();
    }
}

/// Tells the catalogue of every file. Returns how many it did not know.
fn walk_all(inner: &Inner) -> io::Result<usize> {
    let mut unknown = 0;
    for algorithm in list(&inner.layout.blobs())? {
        for directory in list(&algorithm)? {
            for file in list(&directory)? {
                if inner.stopping.load(Ordering::Relaxed) {
                    return Ok(unknown);
                }
                unknown += usize::from(meet(inner, &file));
            }
        }
    }
    Ok(unknown)
}

/// One file; files that are not named by a digest in its own place are nobody's business. `true` when it is unknown.
fn meet(inner: &Inner, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let algorithm = path.parent().and_then(Path::parent).and_then(name);
    let key = algorithm
        .zip(name(path))
        .and_then(|(algorithm, hash)| Key::from_hex(&algorithm, &hash));
    let Some(key) = key.filter(|key| inner.layout.blob(key) == path) else {
        return false;
    };
    if lock(&inner.catalogue).see(&key) {
        return false;
    }
    // Gone in between: evicted.
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return false;
    };
    if !metadata.is_file() {
        return false;
    }
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let used = modified
        .and_then(|time| u64::try_from(time.as_millis()).ok())
        .unwrap_or_default();
    lock(&inner.catalogue).add_unknown(&key, metadata.len(), used)
}

/// What is in a directory; none is as good as an empty one.
fn list(directory: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}
