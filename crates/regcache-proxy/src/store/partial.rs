//! A blob that grows: written under `partial/`, renamed when it is whole. What is left of one is taken up by the next.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use regcache_transfer::{Digest, Hasher};

use super::catalogue::on_disk;
use super::disk;
use super::inner::Inner;
use super::key::Key;
use super::{Blob, NotStored, lock};

/// What is shorter is not worth keeping when its fill ends early, bytes.
const KEEP_FROM: u64 = 64 * 1024;
/// The longest time that reading what is there may take; what could not be read by then is fetched again.
const TAKE_UP: Duration = Duration::from_secs(2);

/// A blob on its way into the store, in one hand. Dropped, its bytes are kept for the next fill.
pub struct Partial {
    inner: Arc<Inner>,
    key: Key,
    total: u64,
    file: Arc<File>,
    len: u64,
    hasher: Hasher,
    done: bool,
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({}, {} of {})", self.key.digest(), self.len, self.total)
    }
}

impl Partial {
    /// How many bytes are in the file: all readable, and never changed again. May be all of them from the beginning,
    /// when a fill was interrupted at its very end.
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
    /// Dropping the future is harmless as long as the same bytes are appended again, or nothing.
    pub async fn append(&mut self, bytes: Vec<Bytes>) -> Result<(), NotStored> {
        let inner = Arc::clone(&self.inner);
        let file = Arc::clone(&self.file);
        let (at, total) = (self.len, self.total);
        self.len = blocking(&self.inner, move || write(&inner, &file, at, total, &bytes)).await?;
        Ok(())
    }

    /// The digest was right and all bytes are there: permanent from now on.
    pub async fn commit(self) -> Result<Blob, NotStored> {
        let inner = Arc::clone(&self.inner);
        blocking(&inner, move || self.finish(None)).await
    }

    /// The bytes were wrong: nothing of them is kept.
    pub async fn discard(mut self) {
        let inner = Arc::clone(&self.inner);
        self.len = 0;
        _ = blocking(&inner, move || {
            drop(self);
            Ok(())
        })
        .await;
    }

    /// Makes room, and opens the file.
    pub(super) fn begin(inner: &Arc<Inner>, key: Key, total: u64) -> Result<Self, NotStored> {
        inner.health.check()?;
        let space = inner.space();
        let (victims, evicted, left, is_read) = {
            let mut catalogue = lock(&inner.catalogue);
            if catalogue.is_busy(&key) {
                return Err(NotStored::Busy);
            }
            let (limit, writable) = inner.bounds(space, &catalogue);
            let victims = catalogue.room_for(&key, total, limit, writable).inspect_err(|reason| {
                if *reason == NotStored::NoSpace {
                    inner
                        .health
                        .set_trouble(*reason, "no space left on the disk".to_owned());
                }
            })?;
            let evicted = catalogue.evict(&victims);
            let is_read = catalogue.is_read(&key);
            (victims, evicted, catalogue.reserve(&key, total), is_read)
        };
        inner.remove(&victims, evicted);
        if let Some(left) = left
            && left.total != total
        {
            disk::remove(&inner.partial_path(&key, left.total));
        }
        let mut hasher = key.digest().hasher();
        match open(inner, &key, total, is_read, &mut hasher) {
            Ok((file, len)) => {
                let mut catalogue = lock(&inner.catalogue);
                if let Some(left) = left.filter(|_| is_read && len == 0) {
                    // Those who read the old file have it until they are done.
                    catalogue.linger(&key, left.size);
                }
                catalogue.filling(&key, &file);
                drop(catalogue);
                Ok(Self {
                    inner: Arc::clone(inner),
                    key,
                    total,
                    file,
                    len,
                    hasher,
                    done: false,
                })
            }
            Err(error) => {
                disk::remove(&inner.partial_path(&key, total));
                lock(&inner.catalogue).release(&key, None);
                Err(inner.health.fail("making a file", &error))
            }
        }
    }

    pub(super) fn digest(&self) -> Digest {
        self.key.digest()
    }

    /// What is there is wrong: the next bytes are the first. Blocking.
    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    /// [`Self::append`], blocking.
    pub(super) fn push(&mut self, bytes: &[Bytes]) -> Result<(), NotStored> {
        self.len = write(&self.inner, &self.file, self.len, self.total, bytes)?;
        Ok(())
    }

    /// [`Self::commit`], blocking; a manifest has a media type.
    pub(super) fn finish(mut self, media: Option<&str>) -> Result<Blob, NotStored> {
        if self.len != self.total {
            return Err(NotStored::Length);
        }
        if self.inner.health.is_closed() {
            return Err(NotStored::Unusable);
        }
        let blob = Blob {
            size: self.total,
            file: Arc::clone(&self.file),
        };
        if lock(&self.inner.catalogue)
            .get(&self.key)
            .is_some_and(|entry| entry.verified)
        {
            // The index speaks for the file that is there: one that is not synced yet must not take its place.
            self.len = 0;
            return Ok(blob);
        }
        if lock(&self.inner.catalogue).is_vouched(&self.key) {
            let synced = self.inner.disk.sync_now(&self.file);
            synced.map_err(|error| self.inner.health.fail("syncing a file", &error))?;
        }
        let from = self.inner.partial_path(&self.key, self.total);
        let to = self.inner.layout.blob(&self.key);
        let published = self
            .file
            .set_len(self.total)
            .and_then(|()| self.inner.disk.publish(&from, &to));
        published.map_err(|error| self.inner.health.fail("renaming a file", &error))?;
        lock(&self.inner.catalogue).commit(&self.key, self.total, media, &self.file);
        self.done = true;
        Ok(blob)
    }
}

impl Drop for Partial {
    // Short system calls: whoever begins again right after has to find this done.
    fn drop(&mut self) {
        if self.done || self.inner.health.is_closed() {
            return;
        }
        let left = (self.len >= KEEP_FROM)
            .then(|| self.file.set_len(self.len).and_then(|()| self.file.metadata()).ok())
            .flatten()
            .map(|metadata| (self.total, on_disk(metadata.blocks() * 512)));
        if left.is_none() {
            disk::remove(&self.inner.partial_path(&self.key, self.total));
        }
        // One that was met, or found wrong, while this fill was to put its own in that place.
        let other = std::fs::symlink_metadata(self.inner.layout.blob(&self.key)).ok();
        let mut catalogue = lock(&self.inner.catalogue);
        catalogue.release(&self.key, left);
        let now = catalogue.now();
        let unknown = other.is_some_and(|other| catalogue.add_unknown(&self.key, other.len(), now));
        drop(catalogue);
        if unknown {
            lock(&self.inner.urgent).push(self.key.clone());
        }
    }
}

/// Opens the partial file, reads what is there, and gets the promise of the file system for the rest. While somebody
/// still reads it, it is replaced rather than cut: other bytes, or none, would come where that reader is.
fn open(inner: &Inner, key: &Key, total: u64, is_read: bool, hasher: &mut Hasher) -> std::io::Result<(Arc<File>, u64)> {
    let path = inner.partial_path(key, total);
    let mut file = inner.disk.open_partial(&path)?;
    let len = file.metadata()?.len();
    let mut eaten = 0;
    if len <= total {
        eaten = disk::hash(&file, len, hasher, Some(Instant::now() + TAKE_UP), || true)?;
    }
    if eaten < len && is_read {
        *hasher = key.digest().hasher();
        eaten = 0;
        disk::remove(&path);
        file = inner.disk.open_partial(&path)?;
    } else if eaten < len {
        file.set_len(eaten)?;
    }
    inner.disk.reserve(&file, total)?;
    Ok((Arc::new(file), eaten))
}

/// Writes at `at` and returns the new length.
fn write(inner: &Inner, file: &File, at: u64, total: u64, bytes: &[Bytes]) -> Result<u64, NotStored> {
    if inner.health.is_closed() {
        return Err(NotStored::Unusable);
    }
    let end = bytes
        .iter()
        .fold(at, |end, chunk| end.saturating_add(chunk.len() as u64));
    if end > total {
        return Err(NotStored::Length);
    }
    let written = inner.disk.write(file, at, bytes);
    written.map_err(|error| inner.health.fail("writing a file", &error))?;
    Ok(end)
}

/// Runs blocking work, and counts when it ends without storing.
pub(super) async fn blocking<T: Send + 'static>(
    inner: &Inner,
    work: impl FnOnce() -> Result<T, NotStored> + Send + 'static,
) -> Result<T, NotStored> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(NotStored::Unusable));
    if let Err(reason) = &done {
        inner.metrics.not_stored(*reason);
    }
    done
}
