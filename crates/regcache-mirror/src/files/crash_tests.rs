//! Publish and withdraw cut short at each system call: containerd sees the old state or the new one, and the next
//! start puts right what is left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::tests::{publication, published, remove_all, tree};
use super::*;

/// Carries out `left` changing calls and then none: as if the process had been killed there. A write that is cut
/// short leaves half of its bytes.
struct Dying {
    left: AtomicUsize,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        let spent = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spent) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("killed")),
        }
    }
}

impl Ops for Dying {
    fn open_root(&self, path: &Path) -> io::Result<OwnedFd> {
        Real.open_root(path)
    }
    fn open_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        Real.open_dir(dir, name)
    }
    fn lock(&self, dir: &OwnedFd, patience: Duration) -> io::Result<bool> {
        Real.lock(dir, patience)
    }
    fn list(&self, dir: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Kind)>> {
        Real.list(dir)
    }
    fn kind(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<Option<Kind>> {
        Real.kind(dir, name)
    }
    fn read(&self, dir: &OwnedFd, name: &OsStr, limit: u64) -> io::Result<Vec<u8>> {
        Real.read(dir, name, limit)
    }
    fn make_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.step()?;
        Real.make_dir(dir, name)
    }
    fn create(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<File> {
        self.step()?;
        Real.create(dir, name)
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step() {
            Real.write(file, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        Real.write(file, bytes)
    }
    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.step()?;
        Real.sync_file(file)
    }
    fn sync_dir(&self, dir: &OwnedFd) -> io::Result<()> {
        self.step()?;
        Real.sync_dir(dir)
    }
    fn rename(&self, dir: &OwnedFd, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        self.step()?;
        Real.rename(dir, from, to, replace)
    }
    fn unlink(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.step()?;
        Real.unlink(dir, name)
    }
    fn remove_dir(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.step()?;
        Real.remove_dir(dir, name)
    }
}

/// What containerd makes of a host's directory.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// No usable `hosts.toml`: straight to the upstream.
    Upstream,
    /// This text, with this CA.
    Mirror(String, String),
}

/// Reads the directory as containerd does, and panics where a pull would fail.
fn seen(root: &Path, host: &str) -> Seen {
    let dir = root.join(host);
    let Ok(text) = fs::read_to_string(dir.join("hosts.toml")) else {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let loaded = [".crt", ".cert", ".key"].iter().any(|ending| name.ends_with(ending));
            assert!(!loaded, "containerd would load {name} as a certificate");
        }
        return Seen::Upstream;
    };
    let table: toml::Table = text.parse().expect("never a torn file");
    let host = table["host"].as_table().unwrap().values().next().unwrap();
    let ca = fs::read_to_string(dir.join(host["ca"].as_str().unwrap())).expect("never a missing CA");
    Seen::Mirror(text, ca)
}

/// Runs `prepare`, then `change` killed after k calls for every k up to its end, then `check`.
fn killed_at_each_call(
    prepare: impl Fn(&CertsDir),
    change: impl Fn(&CertsDir) -> Result<(), FilesError>,
    check: impl Fn(&Path, &CertsDir),
) -> usize {
    for calls in 0.. {
        let root = tempfile::tempdir().unwrap();
        let healthy = CertsDir::new(root.path(), root.path());
        prepare(&healthy);
        let left = AtomicUsize::new(calls);
        let dying = CertsDir::with_ops(root.path(), root.path(), Arc::new(Dying { left }));
        let result = change(&dying);
        check(root.path(), &healthy);
        if result.is_ok() {
            return calls;
        }
    }
    unreachable!()
}

/// `publication` again after the crash, with the CA that the next start would have.
fn next_start(healthy: &CertsDir, root: &Path) {
    let next = publication("docker.io", "next");
    let stale = healthy.publish(&next).unwrap().stale;
    healthy.collect_garbage("docker.io", &stale).unwrap();
    assert_eq!(tree(root), published(&next), "the next start puts it right");
    remove_all(healthy);
    assert_eq!(tree(root), BTreeMap::new());
}

#[test]
fn first_publish() {
    let new = publication("docker.io", "new");
    let calls = killed_at_each_call(
        |_| {},
        |dying| dying.publish(&new).map(drop),
        |root, healthy| {
            let now = seen(root, "docker.io");
            assert!(
                now == Seen::Upstream || now == Seen::Mirror(new.text(), new.ca_pem.clone()),
                "{now:?}"
            );
            next_start(healthy, root);
        },
    );
    assert_eq!(calls, 12, "each call was cut short once");
}

#[test]
fn publish_over_a_predecessors_file() {
    let (old, new) = (publication("docker.io", "old"), publication("docker.io", "new"));
    killed_at_each_call(
        |healthy| drop(healthy.publish(&old).unwrap()),
        |dying| {
            let stale = dying.publish(&new)?.stale;
            dying.collect_garbage("docker.io", &stale)
        },
        |root, healthy| {
            let now = seen(root, "docker.io");
            let old_state = Seen::Mirror(old.text(), old.ca_pem.clone());
            assert!(
                now == old_state || now == Seen::Mirror(new.text(), new.ca_pem.clone()),
                "{now:?}"
            );
            next_start(healthy, root);
        },
    );
}

#[test]
fn withdraw() {
    let old = publication("docker.io", "old");
    let dir = HostDir::of("docker.io").unwrap();
    let take_away = |dying: &CertsDir| match dying.withdraw(&dir, Whose::Any)? {
        Some(withdrawn) => dying.finish_withdraw(&withdrawn),
        None => Ok(()),
    };
    let check_seen = |root: &Path| {
        let now = seen(root, "docker.io");
        assert!(
            now == Seen::Upstream || now == Seen::Mirror(old.text(), old.ca_pem.clone()),
            "{now:?}"
        );
    };
    let prepare = |healthy: &CertsDir| drop(healthy.publish(&old).unwrap());
    killed_at_each_call(prepare, take_away, |root, healthy| {
        check_seen(root);
        next_start(healthy, root);
    });
    // The plan no longer names the host: the next start finds what is left by scanning. An empty directory tells
    // containerd nothing and is nobody's, so it may stay.
    killed_at_each_call(prepare, take_away, |root, healthy| {
        check_seen(root);
        remove_all(healthy);
        let left = tree(root);
        assert!(left.is_empty() || left.keys().eq(["docker.io/"]), "{left:?}");
    });
}

#[test]
fn a_crash_of_the_predecessor_never_costs_the_successor_its_files() {
    let (old, new) = (publication("docker.io", "old"), publication("docker.io", "new"));
    let dir = HostDir::of("docker.io").unwrap();
    killed_at_each_call(
        |healthy| {
            healthy.publish(&old).unwrap();
            healthy.publish(&new).unwrap();
        },
        |dying| match dying.withdraw(&dir, Whose::Instance(&old.instance()))? {
            Some(withdrawn) => dying.finish_withdraw(&withdrawn),
            None => Ok(()),
        },
        |root, _| assert_eq!(seen(root, "docker.io"), Seen::Mirror(new.text(), new.ca_pem.clone())),
    );
}

#[test]
fn two_helpers_at_work_in_threads_leave_the_last_ones_file() {
    let root = tempfile::tempdir().unwrap();
    let dir = HostDir::of("docker.io").unwrap();
    for round in 0..20 {
        let old = publication("docker.io", &format!("old {round}"));
        let new = publication("docker.io", &format!("new {round}"));
        let certs = CertsDir::new(root.path(), root.path());
        certs.publish(&old).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let own = old.instance();
                if let Some(withdrawn) = certs.withdraw(&dir, Whose::Instance(&own)).unwrap() {
                    certs.finish_withdraw(&withdrawn).unwrap();
                }
            });
            scope.spawn(|| certs.publish(&new).unwrap());
        });
        assert_eq!(
            seen(root.path(), "docker.io"),
            Seen::Mirror(new.text(), new.ca_pem.clone())
        );
    }
}
