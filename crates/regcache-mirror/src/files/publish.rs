//! Publishing: the CA first, then `hosts.toml` by one rename.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use super::{CertsDir, Conflict, FilesError, Found, HOSTS_TOML, OurFiles, temporary};
use crate::host_dir::HostDir;
use crate::hosts_toml::{self, InstanceId};

/// What one helper publishes for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The registry as image names spell it.
    pub host: String,
    /// The upstream's own address.
    pub server: String,
    /// The gateway's port on loopback.
    pub port: u16,
    /// The gateway's CA, as PEM; names the instance.
    pub ca_pem: String,
}

impl Publication {
    /// The helper's run that publishes.
    pub fn instance(&self) -> InstanceId {
        InstanceId::of_ca(self.ca_pem.as_bytes())
    }

    /// The text of `hosts.toml`.
    pub fn text(&self) -> String {
        hosts_toml::render(&self.instance(), &self.server, self.port)
    }
}

/// What a publish did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// False when everything was there already and nothing was written.
    pub wrote: bool,
    /// CAs that `hosts.toml` no longer names, for [`CertsDir::collect_garbage`] a minute later: a pull that has read
    /// the old `hosts.toml` fails when its CA is gone.
    pub stale: Vec<InstanceId>,
}

impl CertsDir {
    /// True when [`CertsDir::publish`] would write nothing.
    pub fn is_published(&self, publication: &Publication) -> Result<bool, FilesError> {
        let dir = HostDir::of(&publication.host)?;
        let root = self.open()?;
        let Found::Ours(ours) = self.look(&root, &dir)? else {
            return Ok(false);
        };
        let Some(handle) = self.open_host(&root, &dir)? else {
            return Ok(false);
        };
        self.is_done(&handle, &dir, &ours, publication)
    }

    /// Makes the directory of `publication.host` say what it should, or says whose it is. Does nothing when it says
    /// so already; takes over what an earlier instance left.
    pub fn publish(&self, publication: &Publication) -> Result<Published, FilesError> {
        let dir = HostDir::of(&publication.host)?;
        let root = self.open_locked()?;
        let ours = match self.look(&root, &dir)? {
            Found::Foreign(conflict) => return Err(conflict.into()),
            Found::Ours(ours) => ours,
            Found::Absent => OurFiles::default(),
        };
        let handle = self.ensure_dir(&root, &dir)?;
        let instance = publication.instance();
        let stale = ours.cas.iter().filter(|ca| **ca != instance).cloned().collect();
        if self.is_done(&handle, &dir, &ours, publication)? {
            return Ok(Published { wrote: false, stale });
        }

        for name in &ours.temporaries {
            self.unlink(&handle, &dir, name)?;
        }
        if !self.is_ca_of(&handle, &instance, &dir)? {
            self.stage(&handle, &dir, &instance, &publication.ca_pem)?;
            // A damaged CA is replaced; a name that is free is taken only if it is still free.
            self.place(
                &handle,
                &dir,
                &instance,
                &instance.ca_file(),
                ours.cas.contains(&instance),
            )?;
        }
        self.stage(&handle, &dir, &instance, &publication.text())?;
        // Asked again at the last moment: somebody may have written theirs while ours went to the disk.
        let replace = self.read_hosts_toml(&handle, &dir)?.is_some();
        self.place(&handle, &dir, &instance, HOSTS_TOML, replace)?;
        Ok(Published { wrote: true, stale })
    }

    /// Removes CAs that a publish reported as stale, a minute or so after it. One that `hosts.toml` names (again), or
    /// that is not what its name says, stays.
    pub fn collect_garbage(&self, host: &str, stale: &[InstanceId]) -> Result<(), FilesError> {
        let dir = HostDir::of(host)?;
        let root = self.open_locked()?;
        let Some(handle) = self.open_host(&root, &dir)? else {
            return Ok(());
        };
        let ours = self.contents(&handle, &dir)?.ours;
        let used = ours.hosts_toml.map(|(instance, _)| instance);
        for ca in ours
            .cas
            .iter()
            .filter(|ca| stale.contains(ca) && used.as_ref() != Some(ca))
        {
            self.unlink(&handle, &dir, &ca.ca_file())?;
        }
        Ok(())
    }

    fn is_done(
        &self,
        handle: &OwnedFd,
        dir: &HostDir,
        ours: &OurFiles,
        wanted: &Publication,
    ) -> Result<bool, FilesError> {
        let text = wanted.text();
        let said = ours
            .hosts_toml
            .as_ref()
            .is_some_and(|(_, found)| found == text.as_bytes());
        Ok(said && ours.temporaries.is_empty() && self.is_ca_of(handle, &wanted.instance(), dir)?)
    }

    fn ensure_dir(&self, root: &OwnedFd, dir: &HostDir) -> Result<OwnedFd, FilesError> {
        match self.ops.make_dir(root, OsStr::new(dir.as_str())) {
            Ok(()) => self.ops.sync_dir(root).map_err(self.failed("sync", []))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(self.failed("make", [dir.as_str()])(error)),
        }
        let path = self.path([dir.as_str()]);
        // Made or found a moment ago: what is no directory now has been put there by somebody else.
        self.open_host(root, dir)?
            .ok_or(FilesError::Conflict(Conflict::NotADirectory { path }))
    }

    /// Writes `text` to the temporary file, durably.
    fn stage(&self, handle: &OwnedFd, dir: &HostDir, instance: &InstanceId, text: &str) -> Result<(), FilesError> {
        let temporary = temporary(instance);
        let write = || {
            let mut file = self.ops.create(handle, OsStr::new(&temporary))?;
            self.ops.write(&mut file, text.as_bytes())?;
            self.ops.sync_file(&file)
        };
        write().map_err(self.failed("write", [dir.as_str(), &temporary]))
    }

    /// Gives the temporary file its final name. Unless `replace`, a name that is taken by now is a conflict.
    fn place(
        &self,
        handle: &OwnedFd,
        dir: &HostDir,
        instance: &InstanceId,
        name: &str,
        replace: bool,
    ) -> Result<(), FilesError> {
        let temporary = temporary(instance);
        match self
            .ops
            .rename(handle, OsStr::new(&temporary), OsStr::new(name), replace)
        {
            Ok(()) => self.ops.sync_dir(handle).map_err(self.failed("sync", [dir.as_str()])),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.unlink(handle, dir, &temporary)?;
                let path = self.path([dir.as_str(), name]);
                Err(Conflict::ForeignFile { path }.into())
            }
            Err(error) => Err(self.failed("rename", [dir.as_str(), &temporary])(error)),
        }
    }
}
