//! Withdrawing: `hosts.toml` first; its CA and the directory a little later, since a pull may just have read it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use super::{CertsDir, FilesError, HOSTS_TOML};
use crate::host_dir::HostDir;
use crate::hosts_toml::InstanceId;

/// Whose files are taken away.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Only what this run of a helper wrote: at its end its successor may have published already.
    Instance(&'a InstanceId),
    /// Whatever carries our marker.
    Any,
}

/// A withdrawal to be finished by [`CertsDir::finish_withdraw`] about two seconds later.
#[must_use = "the CA and the directory stay until the withdrawal is finished"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    dir: HostDir,
    cas: Vec<InstanceId>,
    temporaries: Vec<String>,
}

impl Withdrawn {
    /// The directory's name: the host, unless somebody renamed it.
    pub fn dir(&self) -> &HostDir {
        &self.dir
    }
}

impl CertsDir {
    /// Takes `hosts.toml` away if it is whose it should be. `None`: there was nothing of theirs. Foreign files in the
    /// directory stay, and so does the directory then.
    pub fn withdraw(&self, dir: &HostDir, whose: Whose<'_>) -> Result<Option<Withdrawn>, FilesError> {
        let root = self.open_locked()?;
        let Some(handle) = self.open_host(&root, dir)? else {
            return Ok(None);
        };
        let ours = self.contents(&handle, dir)?.ours;
        let matches = |instance: &InstanceId| match whose {
            Whose::Any => true,
            Whose::Instance(own) => own == instance,
        };
        let cas: Vec<InstanceId> = ours.cas.into_iter().filter(matches).collect();
        let is_theirs = |name: &String| match whose {
            Whose::Any => true,
            Whose::Instance(own) => *name == super::temporary(own),
        };
        let temporaries: Vec<String> = ours.temporaries.into_iter().filter(is_theirs).collect();
        let published = ours.hosts_toml.is_some_and(|(instance, _)| matches(&instance));
        if published {
            self.unlink(&handle, dir, HOSTS_TOML)?;
            self.ops
                .sync_dir(&handle)
                .map_err(self.failed("sync", [dir.as_str()]))?;
        } else if cas.is_empty() && temporaries.is_empty() {
            return Ok(None);
        }
        let dir = dir.clone();
        Ok(Some(Withdrawn { dir, cas, temporaries }))
    }

    /// Removes what [`CertsDir::withdraw`] left for those who had just read `hosts.toml`, and the directory if
    /// nothing else is in it. What has been published or put there meanwhile stays.
    pub fn finish_withdraw(&self, withdrawn: &Withdrawn) -> Result<(), FilesError> {
        let dir = &withdrawn.dir;
        let root = self.open_locked()?;
        let Some(handle) = self.open_host(&root, dir)? else {
            return Ok(());
        };
        let ours = self.contents(&handle, dir)?.ours;
        let used = ours.hosts_toml.map(|(instance, _)| instance);
        for ca in ours
            .cas
            .iter()
            .filter(|ca| withdrawn.cas.contains(ca) && used.as_ref() != Some(ca))
        {
            self.unlink(&handle, dir, &ca.ca_file())?;
        }
        for name in ours
            .temporaries
            .iter()
            .filter(|name| withdrawn.temporaries.contains(name))
        {
            self.unlink(&handle, dir, name)?;
        }
        drop(handle);
        match self.ops.remove_dir(&root, OsStr::new(dir.as_str())) {
            Ok(()) => self.ops.sync_dir(&root).map_err(self.failed("sync", [])),
            // Somebody's files, or a successor's.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(())
            }
            Err(error) if super::is_no_directory(&error) => Ok(()),
            Err(error) => Err(self.failed("remove", [dir.as_str()])(error)),
        }
    }

    /// Removes one file; that it is gone already is as good.
    pub(super) fn unlink(&self, handle: &OwnedFd, dir: &HostDir, name: &str) -> Result<(), FilesError> {
        match self.ops.unlink(handle, OsStr::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", [dir.as_str(), name])(error))
            }
            _ => Ok(()),
        }
    }
}
