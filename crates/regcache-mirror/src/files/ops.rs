//! The system calls that publishing needs, so that a test can stop after each of them.
//!
//! All are relative to an open directory and follow no symlink: whoever plants one below the root leads us nowhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, whatever it points to.
    Symlink,
    /// A pipe, socket or device.
    Other,
}

/// The file operations. `dir` is always an open directory, names never contain a slash.
pub trait Ops: Send + Sync {
    /// Opens the root itself; the one place where a symlink is followed, since the mount decides what it is.
    fn open_root(&self, path: &Path) -> io::Result<OwnedFd>;
    /// Opens a directory below `dir`; an error when it is a symlink.
    fn open_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd>;
    /// Takes the lock that regcache's helpers share, waiting for at most `patience`. False: somebody keeps it.
    fn lock(&self, dir: &OwnedFd, patience: Duration) -> io::Result<bool>;
    /// Names and kinds of all entries, sorted.
    fn list(&self, dir: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Kind)>>;
    /// What `name` stands for; `None`: nothing.
    fn kind(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<Option<Kind>>;
    /// The first `limit` bytes of a regular file.
    fn read(&self, dir: &OwnedFd, name: &OsStr, limit: u64) -> io::Result<Vec<u8>>;
    /// Makes a directory, mode 0755.
    fn make_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()>;
    /// Makes a new file, mode 0644; an error when the name is taken.
    fn create(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<File>;
    /// Writes all of `bytes`.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's content durable.
    fn sync_file(&self, file: &File) -> io::Result<()>;
    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &OwnedFd) -> io::Result<()>;
    /// Gives a file another name. Unless `replace`, fails when the new name is taken.
    fn rename(&self, dir: &OwnedFd, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()>;
    /// Removes a file or symlink.
    fn unlink(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Ops for Real {
    fn open_root(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(path, DIR_FLAGS, Mode::empty())?)
    }

    fn open_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(
            dir,
            name,
            DIR_FLAGS | OFlags::NOFOLLOW,
            Mode::empty(),
        )?)
    }

    fn lock(&self, dir: &OwnedFd, patience: Duration) -> io::Result<bool> {
        let end = Instant::now() + patience;
        loop {
            match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn list(&self, dir: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Kind)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(dir)? {
            let name = entry?.file_name().to_owned().into_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            // None: gone between the two calls.
            if let Some(kind) = self.kind(dir, OsStr::from_bytes(&name))? {
                entries.push((name, kind));
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn kind(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<Option<Kind>> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Dir,
                FileType::Symlink => Kind::Symlink,
                _ => Kind::Other,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, dir: &OwnedFd, name: &OsStr, limit: u64) -> io::Result<Vec<u8>> {
        // NONBLOCK, or opening a pipe that somebody put there would wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn make_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?)
    }

    fn create(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            dir,
            name,
            flags,
            Mode::from_raw_mode(0o644),
        )?))
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&self, dir: &OwnedFd) -> io::Result<()> {
        Ok(rustix::fs::fsync(dir)?)
    }

    fn rename(&self, dir: &OwnedFd, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        if replace {
            return Ok(rustix::fs::renameat(dir, from, dir, to)?);
        }
        match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
            // A file system that cannot promise it: a second name fails when it is taken, which does as well.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(dir, from, AtFlags::empty())?)
            }
            result => Ok(result?),
        }
    }

    fn unlink(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }
}
