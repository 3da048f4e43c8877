//! System calls on the store's files. Tests let them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use regcache_transfer::Hasher;
use rustix::fs::{FallocateFlags, fallocate};

/// One read while hashing, bytes.
const STEP: usize = 256 * 1024;

/// Below it asking for the room beforehand is not worth a system call.
const PREALLOCATE_FROM: u64 = 1 << 20;

/// The way to the disk; what writes goes through here.
#[derive(Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    fault: std::sync::Mutex<Option<ErrorKind>>,
    /// How many files were synced before they got their names.
    #[cfg(test)]
    pub(super) synced: std::sync::atomic::AtomicUsize,
}

impl Disk {
    /// From now on everything that writes fails like this.
    #[cfg(test)]
    pub(super) fn inject(&self, fault: Option<ErrorKind>) {
        *self.fault.lock().unwrap() = fault;
    }

    #[cfg(test)]
    pub(super) fn check(&self) -> io::Result<()> {
        (*self.fault.lock().unwrap()).map_or(Ok(()), |kind| Err(kind.into()))
    }

    #[cfg(not(test))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "tests let it fail")]
    pub(super) const fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Opens a file that grows, with what is in it.
    pub(super) fn open_partial(&self, path: &Path) -> io::Result<File> {
        self.check()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(path)
    }

    /// Asks for the room of a whole blob, so that a full disk shows before the first byte and not in the middle. File
    /// systems that cannot do this are no worse off.
    pub(super) fn reserve(&self, file: &File, total: u64) -> io::Result<()> {
        self.check()?;
        if total < PREALLOCATE_FROM {
            return Ok(());
        }
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, total).map_err(io::Error::from) {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes all of it at `offset`.
    pub(super) fn write(&self, file: &File, mut offset: u64, chunks: &[Bytes]) -> io::Result<()> {
        for chunk in chunks {
            self.check()?;
            file.write_all_at(chunk, offset)?;
            offset += chunk.len() as u64;
        }
        Ok(())
    }

    /// Gives a finished file its permanent name; the directory is made when it is the first one there.
    pub(super) fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        match fs::rename(from, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(directory) = to.parent() {
                    fs::create_dir_all(directory)?;
                }
                fs::rename(from, to)
            }
            done => done,
        }
    }

    /// Waits until the file's bytes would outlive a power failure. A file that is gone is no concern.
    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => opened?.sync_data(),
        }
    }

    /// [`Self::sync`] for a file that has not its name yet.
    pub(super) fn sync_now(&self, file: &File) -> io::Result<()> {
        self.check()?;
        #[cfg(test)]
        self.synced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        file.sync_data()
    }

    /// Whether the disk takes bytes again.
    pub(super) fn probe(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        let file = File::create(path)?;
        file.write_all_at(&[0; 4096], 0)?;
        file.sync_data()?;
        fs::remove_file(path)
    }
}

/// Removes a file; one that is not there is as good.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a file of the store");
    }
}

/// Feeds the first `len` bytes of `file` to `hasher`, until `deadline`. Returns how many it has eaten; `step` is called
/// between reads and ends it early by `false`.
pub(super) fn hash(
    file: &File,
    len: u64,
    hasher: &mut Hasher,
    deadline: Option<Instant>,
    mut step: impl FnMut() -> bool,
) -> io::Result<u64> {
    let mut buffer = vec![0; STEP];
    let mut eaten = 0;
    while eaten < len && deadline.is_none_or(|deadline| Instant::now() < deadline) && step() {
        let want = usize::try_from(len - eaten).unwrap_or(STEP).min(STEP);
        let Some(room) = buffer.get_mut(..want) else { break };
        let count = file.read_at(room, eaten)?;
        if count == 0 {
            break;
        }
        hasher.update(room.get(..count).unwrap_or_default());
        eaten += count as u64;
    }
    Ok(eaten)
}
