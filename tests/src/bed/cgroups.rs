//! The cgroups of containers. containerd keeps those of all nodes and clusters side by side, named after the containers;
//! which are a node's is read from the runtime's state in the node's `/run`, which survives its processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait::wait_until;

/// Where containerd puts containers that name no parent.
const PARENT: &str = "k8s.io";
/// The runtime's state of containers, below a node's `/run`.
const STATE: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io";

/// The ids of a node's containers, by the node's directory. Also after a power cut, before `/run` is emptied.
pub fn containers(node: &Path) -> BTreeSet<String> {
    // Ids only: what else could lie there must never become part of a path that is removed.
    let is_id = |name: &String| name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit());
    list(&node.join(STATE)).into_iter().filter(is_id).collect()
}

/// The cgroups of these containers that exist.
pub fn existing(ids: &BTreeSet<String>) -> Vec<PathBuf> {
    let parents = parents();
    let all = ids
        .iter()
        .flat_map(|id| parents.iter().map(move |parent| parent.join(id)));
    all.filter(|path| path.is_dir()).collect()
}

/// Removes the cgroups of these containers, whose processes are dead or dying.
pub fn remove(ids: &BTreeSet<String>) -> Result<()> {
    let mut last = String::new();
    wait_until("cgroups to become empty", Duration::from_secs(20), || {
        existing(ids).iter().all(|path| match remove_tree(path) {
            Ok(()) => true,
            Err(error) => {
                last = format!("{}: {error}", path.display());
                false
            }
        })
    })
    .with_context(|| format!("remove cgroups: {last}"))?;
    for parent in parents() {
        // Refused by the kernel while any other container is in it.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// containerd's parent cgroup in each hierarchy: version 1 has a directory for each controller, version 2 only the root.
fn parents() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let roots = list(&root)
        .into_iter()
        .map(|name| root.join(name))
        .chain([root.clone()]);
    roots.map(|dir| dir.join(PARENT)).filter(|dir| dir.is_dir()).collect()
}

/// A cgroup is removed by removing its directory, children first; the files in it are not real.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Names in a directory; none when it does not exist.
pub(super) fn list(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_container_ids_count() {
        let dir = tempfile::tempdir().unwrap();
        let id = "0a".repeat(32);
        for name in [id.as_str(), "..%2f", "short", &"z".repeat(64)] {
            fs::create_dir_all(dir.path().join(STATE).join(name)).unwrap();
        }
        assert_eq!(containers(dir.path()), BTreeSet::from([id]));
    }
}
