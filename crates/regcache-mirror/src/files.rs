//! Our files below containerd's `certs.d`: published, withdrawn, and never anybody else's touched.
//!
//! One directory per upstream holds `hosts.toml` (ours by its first line), `ca-<id>.pem` (ours by its name and
//! content) and, for a moment, a temporary file (ours by its name). Whatever else is there is foreign, and so is the
//! whole directory then. An *empty* directory is nobody's: there is nothing in it to lose.
//!
//! Every change leaves containerd the old state or the new one, wherever it is cut short: the CA is complete before
//! `hosts.toml` names it, `hosts.toml` changes by one rename, goes by one unlink, and the CA outlives it for those
//! who have just read it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::host_dir::{BadHost, HostDir};
use crate::hosts_toml::InstanceId;

mod conflict;
mod look;
mod ops;
mod publish;
mod withdraw;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

pub use conflict::Conflict;
pub use look::{Found, OurFiles};
pub use ops::{Kind, Ops, Real};
pub use publish::{Publication, Published};
pub use withdraw::{Whose, Withdrawn};

/// The file that containerd reads.
const HOSTS_TOML: &str = "hosts.toml";
/// How long another helper's change is waited for; changes take milliseconds, and a frozen helper is killed soon.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Why files could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The host can have no directory.
    #[error(transparent)]
    BadHost(#[from] BadHost),
    /// Somebody else decides here; nothing was changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The file system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what, as the node knows it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The root of containerd's registry directories on one node.
#[derive(Clone)]
pub struct CertsDir {
    root: PathBuf,
    shown: PathBuf,
    ops: Arc<dyn Ops>,
}

impl CertsDir {
    /// `root` is where the directory is seen from here, `shown` how the node calls it (used in messages only).
    pub fn new(root: impl Into<PathBuf>, shown: impl Into<PathBuf>) -> Self {
        Self::with_ops(root, shown, Arc::new(Real))
    }

    /// The same over other system calls, for tests.
    pub fn with_ops(root: impl Into<PathBuf>, shown: impl Into<PathBuf>, ops: Arc<dyn Ops>) -> Self {
        Self {
            root: root.into(),
            shown: shown.into(),
            ops,
        }
    }

    /// The root's path as the node knows it.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    fn open(&self) -> Result<OwnedFd, FilesError> {
        self.ops.open_root(&self.root).map_err(self.failed("open", []))
    }

    /// The root, locked against other helpers for as long as the handle lives. A lock that somebody keeps is passed
    /// over: it is a courtesy among helpers, and every change checks again what it finds.
    fn open_locked(&self) -> Result<OwnedFd, FilesError> {
        let root = self.open()?;
        match self.ops.lock(&root, LOCK_PATIENCE) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(directory = %self.shown.display(), "another process keeps the directory locked");
            }
            Err(error) => tracing::debug!(%error, "this file system knows no locks"),
        }
        Ok(root)
    }

    /// The error for `action` on `names` below the root.
    fn failed<const N: usize>(
        &self,
        action: &'static str,
        names: [&str; N],
    ) -> impl FnOnce(io::Error) -> FilesError + use<N> {
        let path = self.path(names);
        move |source| FilesError::Io { action, path, source }
    }

    /// The path of `names` below the root, as the node knows it.
    fn path<const N: usize>(&self, names: [&str; N]) -> PathBuf {
        names.into_iter().fold(self.shown.clone(), |path, name| path.join(name))
    }

    /// Opens a host's directory; `None` when there is no real directory.
    fn open_host(&self, root: &OwnedFd, dir: &HostDir) -> Result<Option<OwnedFd>, FilesError> {
        match self.ops.open_dir(root, OsStr::new(dir.as_str())) {
            Ok(handle) => Ok(Some(handle)),
            Err(error) if is_no_directory(&error) => Ok(None),
            Err(error) => Err(self.failed("open", [dir.as_str()])(error)),
        }
    }
}

/// Absent, a symlink (which NOFOLLOW refuses), or a file.
fn is_no_directory(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::MLINK)
    )
}

/// True for the name of a temporary file of ours.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMP_PREFIX)
        .and_then(|rest| rest.strip_suffix(TEMP_SUFFIX))
        .is_some_and(|id| InstanceId::parse(id).is_some())
}

/// The temporary file of `instance`. The ending matters: in a directory without `hosts.toml` containerd would load
/// anything that ends in `.crt`, `.cert` or `.key`.
fn temporary(instance: &InstanceId) -> String {
    format!("{TEMP_PREFIX}{instance}{TEMP_SUFFIX}")
}

const TEMP_PREFIX: &str = ".regcache-";
const TEMP_SUFFIX: &str = ".tmp";
