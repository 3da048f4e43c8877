//! Takes a cluster away: every process, network namespace, mount, cgroup and file of it, and no other's.
//!
//! Works from what a cluster leaves behind (journal, names), not from anything in memory, so that it also cleans up
//! after a run that was killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::cgroups::list;
use super::process::{self, Journal, Recorded};
use super::wait::wait_until;
use super::{cgroups, names, paths, shell};

/// How long the kernel may take to let go of something.
const PATIENCE: Duration = Duration::from_secs(20);

/// Removes everything of the cluster. Succeeds when there is nothing.
pub fn remove(cluster: &str) -> Result<()> {
    // Ctrl-C and a value that goes out of scope may come together.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    names::check_cluster(cluster)?;
    let work = paths::work(cluster);
    // PID 1 of each node first: with it the kernel ends everything of the node, pods included.
    for unshare in Journal::of(&work).all().iter().filter(|process| process.is_alive()) {
        if let Some(first) = process::first_child(unshare.pid).and_then(|pid| process::look_up(pid, "child")) {
            first.signal(Signal::KILL);
        }
        unshare.signal(Signal::KILL);
    }
    let netnses = network_namespaces(cluster);
    // What the journal does not know of: started between a spawn and its record, or by hand inside a namespace.
    for process in netnses.iter().flat_map(|netns| processes_in(netns)) {
        process.signal(Signal::KILL);
    }
    wait_until(
        &format!("the end of all processes of cluster {cluster}"),
        PATIENCE,
        || {
            Journal::of(&work).all().iter().all(|process| !process.is_alive())
                && netnses.iter().all(|netns| processes_in(netns).is_empty())
        },
    )?;
    for netns in &netnses {
        shell::ip(&format!("netns delete {netns}"))?;
    }
    cgroups::remove(&containers(&work))?;
    remove_directory(&work)
}

/// What is still there of a cluster, one line each; empty when it is gone.
pub fn leftovers(cluster: &str) -> Vec<String> {
    let work = paths::work(cluster);
    let netnses = network_namespaces(cluster);
    let recorded = Journal::of(&work).all().into_iter().filter(Recorded::is_alive);
    let inside = netnses.iter().flat_map(|netns| processes_in(netns));
    let mut found: Vec<String> = recorded
        .chain(inside)
        .map(|process| format!("process {} ({})", process.pid, process.role))
        .collect();
    found.extend(
        processes_naming(&work)
            .into_iter()
            .map(|pid| format!("process {pid}, which names {}", work.display())),
    );
    found.extend(netnses.iter().map(|name| format!("network namespace {name}")));
    let cgroups = cgroups::existing(&containers(&work));
    found.extend(cgroups.iter().map(|path| format!("cgroup {}", path.display())));
    found.extend(mounts_below(&work).into_iter().map(|path| format!("mount {path}")));
    if work.exists() {
        found.push(format!("directory {}", work.display()));
    }
    found
}

/// The clusters that have a work directory or a network namespace.
pub fn known_clusters() -> Vec<String> {
    let directories = list(&paths::root().join("work"));
    let netnses = list(Path::new("/run/netns"));
    let of_netns = netnses
        .iter()
        .filter_map(|name| name.strip_prefix(names::PREFIX)?.split('.').next());
    let mut found: Vec<String> = directories.into_iter().chain(of_netns.map(str::to_owned)).collect();
    found.sort();
    found.dedup();
    found
}

/// All processes whose network namespace has that name. Pods have their own, but are in their node's PID namespace.
pub fn processes_in(netns: &str) -> Vec<Recorded> {
    let Ok(wanted) = fs::metadata(format!("/run/netns/{netns}")) else {
        return Vec::new();
    };
    let is_inside = |pid: &i32| {
        fs::metadata(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let pids = process::all_pids().into_iter().filter(is_inside);
    pids.filter_map(|pid| process::look_up(pid, netns))
        .filter(Recorded::is_alive)
        .collect()
}

/// The ids of all containers of a cluster, by its work directory.
pub fn containers(work: &Path) -> BTreeSet<String> {
    list(work)
        .into_iter()
        .flat_map(|name| cgroups::containers(&work.join(name)))
        .collect()
}

fn network_namespaces(cluster: &str) -> Vec<String> {
    list(Path::new("/run/netns"))
        .into_iter()
        .filter(|name| names::belongs_to(cluster, name))
        .collect()
}

/// Processes with the work directory on their command line: for [`leftovers`] only, never a reason to kill.
fn processes_naming(work: &Path) -> Vec<i32> {
    let needle = format!("{}/", work.display());
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    let names_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != me && String::from_utf8_lossy(&line).contains(&needle)
    };
    process::all_pids().into_iter().filter(names_it).collect()
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let prefix = dir.display().to_string();
    let places = text.lines().filter_map(|line| line.split(' ').nth(4));
    places
        .filter(|place| Path::new(place).starts_with(&prefix))
        .map(str::to_owned)
        .collect()
}

fn remove_directory(dir: &Path) -> Result<()> {
    // Anything mounted there is not ours to delete.
    let mounts = mounts_below(dir);
    if !mounts.is_empty() {
        bail!(
            "{} is left, since something is mounted in it: {}",
            dir.display(),
            mounts.join(" ")
        );
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
