//! What is there: looks at the root and at one host's directory, and changes nothing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use super::{CertsDir, Conflict, FilesError, HOSTS_TOML, Kind, is_temporary};
use crate::host_dir::HostDir;
use crate::hosts_toml::{self, InstanceId, Owner};

/// More than any `hosts.toml` or CA of ours; what is longer is not ours.
const READ_LIMIT: u64 = 64 * 1024;

/// What is known of one upstream's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that counts; an empty directory at most.
    Absent,
    /// All of it is ours.
    Ours(OurFiles),
    /// Somebody else decides about this upstream.
    Foreign(Conflict),
}

/// Files of ours in one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OurFiles {
    /// `hosts.toml` and who wrote it; `None` when a publish or withdrawal was cut short.
    pub hosts_toml: Option<(InstanceId, Vec<u8>)>,
    /// Instances whose CA file is there, whole or not.
    pub cas: Vec<InstanceId>,
    /// Temporary files.
    pub(super) temporaries: Vec<String>,
}

impl OurFiles {
    fn is_empty(&self) -> bool {
        self.hosts_toml.is_none() && self.cas.is_empty() && self.temporaries.is_empty()
    }
}

/// A directory's entries, sorted by owner.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Ours.
    pub ours: OurFiles,
    /// The first thing that is not ours.
    pub foreign: Option<Conflict>,
}

impl CertsDir {
    /// Whose the directory of `host` is.
    pub fn inspect(&self, host: &str) -> Result<Found, FilesError> {
        let dir = HostDir::of(host)?;
        self.look(&self.open()?, &dir)
    }

    /// Every directory in the root with something of ours in it, whatever else is there.
    pub fn scan(&self) -> Result<Vec<HostDir>, FilesError> {
        let root = self.open()?;
        let mut found = Vec::new();
        for (name, kind) in self.ops.list(&root).map_err(self.failed("list", []))? {
            let Some(dir) = std::str::from_utf8(&name).ok().and_then(HostDir::found) else {
                continue;
            };
            if kind != Kind::Dir {
                continue;
            }
            let Some(handle) = self.open_host(&root, &dir)? else {
                continue;
            };
            if !self.contents(&handle, &dir)?.ours.is_empty() {
                found.push(dir);
            }
        }
        Ok(found)
    }

    /// [`CertsDir::inspect`] below an open root.
    pub(super) fn look(&self, root: &OwnedFd, dir: &HostDir) -> Result<Found, FilesError> {
        let kind_of = |name: &str| {
            self.ops
                .kind(root, OsStr::new(name))
                .map_err(self.failed("look at", [name]))
        };
        if kind_of("_backup")?.is_some() {
            let path = self.path(["_backup"]);
            return Ok(Found::Foreign(Conflict::Spegel { path }));
        }
        if kind_of("_default")?.is_some() {
            let path = self.path(["_default"]);
            return Ok(Found::Foreign(Conflict::Default { path }));
        }
        if let Some(other) = dir.other_spelling()
            && kind_of(&other)?.is_some()
        {
            let path = self.path([&other]);
            return Ok(Found::Foreign(Conflict::OtherSpelling { path }));
        }
        let path = self.path([dir.as_str()]);
        match kind_of(dir.as_str())? {
            None => return Ok(Found::Absent),
            Some(Kind::Symlink) => return Ok(Found::Foreign(Conflict::Symlink { path })),
            Some(Kind::File | Kind::Other) => return Ok(Found::Foreign(Conflict::NotADirectory { path })),
            Some(Kind::Dir) => {}
        }
        let Some(handle) = self.open_host(root, dir)? else {
            return Ok(Found::Absent);
        };
        let contents = self.contents(&handle, dir)?;
        Ok(match contents.foreign {
            Some(conflict) => Found::Foreign(conflict),
            None if contents.ours.is_empty() => Found::Absent,
            None => Found::Ours(contents.ours),
        })
    }

    /// Tells ours from others' in one host's directory.
    pub(super) fn contents(&self, handle: &OwnedFd, dir: &HostDir) -> Result<Contents, FilesError> {
        let mut contents = Contents::default();
        let mut unproven = Vec::new();
        for (name, kind) in self.ops.list(handle).map_err(self.failed("list", [dir.as_str()]))? {
            let shown = String::from_utf8_lossy(&name).into_owned();
            let path = self.path([dir.as_str(), &shown]);
            let name = std::str::from_utf8(&name).unwrap_or_default();
            let foreign = match kind {
                Kind::Symlink => Some(Conflict::Symlink { path }),
                Kind::File if name == HOSTS_TOML => match self.read_hosts_toml(handle, dir)? {
                    Some(ours) => {
                        contents.ours.hosts_toml = Some(ours);
                        None
                    }
                    None => Some(Conflict::ForeignFile { path }),
                },
                Kind::File if is_temporary(name) => {
                    contents.ours.temporaries.push(name.to_owned());
                    None
                }
                Kind::File => match InstanceId::of_ca_file(name) {
                    Some(instance) => {
                        unproven.push((instance, path));
                        None
                    }
                    None => Some(Conflict::ForeignEntry { path }),
                },
                Kind::Dir | Kind::Other => Some(Conflict::ForeignEntry { path }),
            };
            contents.foreign = contents.foreign.or(foreign);
        }
        // A CA's name is the hash of its content; one that was damaged is still ours when our hosts.toml names it.
        for (instance, path) in unproven {
            let named = contents
                .ours
                .hosts_toml
                .as_ref()
                .is_some_and(|(named, _)| *named == instance);
            if named || self.is_ca_of(handle, &instance, dir)? {
                contents.ours.cas.push(instance);
            } else {
                contents.foreign = contents.foreign.or(Some(Conflict::ForeignEntry { path }));
            }
        }
        Ok(contents)
    }

    /// `hosts.toml` when it is ours.
    pub(super) fn read_hosts_toml(
        &self,
        handle: &OwnedFd,
        dir: &HostDir,
    ) -> Result<Option<(InstanceId, Vec<u8>)>, FilesError> {
        let text = self.read_some(handle, dir, HOSTS_TOML)?;
        Ok(text.and_then(|text| match hosts_toml::owner(&text) {
            Owner::Ours { instance } => Some((instance, text)),
            Owner::Foreign => None,
        }))
    }

    /// True when the CA file of `instance` is there and whole.
    pub(super) fn is_ca_of(&self, handle: &OwnedFd, instance: &InstanceId, dir: &HostDir) -> Result<bool, FilesError> {
        let pem = self.read_some(handle, dir, &instance.ca_file())?;
        Ok(pem.is_some_and(|pem| InstanceId::of_ca(&pem) == *instance))
    }

    /// A file's beginning; `None` when there is no regular file of this name.
    fn read_some(&self, handle: &OwnedFd, dir: &HostDir, name: &str) -> Result<Option<Vec<u8>>, FilesError> {
        match self.ops.read(handle, OsStr::new(name), READ_LIMIT) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if super::is_no_directory(&error) || error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(self.failed("read", [dir.as_str(), name])(error)),
        }
    }
}
