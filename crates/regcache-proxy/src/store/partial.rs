//! A blob that grows: written under `partial/`, renamed when it is whole. What is left of one is taken up by the next.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use regcache_transfer::Hasher;

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
        let (victims, evicted, left) = {
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
            (victims, evicted, catalogue.reserve(&key, total))
        };
        inner.remove(&victims, evicted);
        if let Some(left) = left
            && left.total != total
        {
            disk::remove(&inner.partial_path(&key, left.total));
        }
        let mut hasher = key.digest().hasher();
        match open(inner, &key, total, &mut hasher) {
            Ok((file, len)) => {
                lock(&inner.catalogue).filling(&key, &file);
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
        lock(&self.inner.catalogue).release(&self.key, left);
    }
}

/// Opens the partial file, reads what is there, and gets the promise of the file system for the rest.
fn open(inner: &Inner, key: &Key, total: u64, hasher: &mut Hasher) -> std::io::Result<(Arc<File>, u64)> {
    let file = inner.disk.open_partial(&inner.partial_path(key, total))?;
    let mut len = file.metadata()?.len();
    if len > total {
        file.set_len(0)?;
        len = 0;
    }
    let eaten = disk::hash(&file, len, hasher, Some(Instant::now() + TAKE_UP), || true)?;
    if eaten < len {
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
