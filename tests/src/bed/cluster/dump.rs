//! What one wants to read after a failed test, copied before the cluster goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::Cluster;
use crate::bed::{paths, shell};

/// Name of the file and the kubectl command that fills it.
const VIEWS: [(&str, &str); 6] = [
    ("pods.txt", "get pods -A -o wide"),
    ("nodes.txt", "describe nodes"),
    ("describe-pods.txt", "describe pods -A"),
    ("events.txt", "get events -A --sort-by=.lastTimestamp"),
    (
        "workloads.yaml",
        "get deployments,daemonsets,services,configmaps,pvc -A -o yaml",
    ),
    ("registrycaches.yaml", "get registrycaches -o yaml"),
];

impl Cluster {
    /// The logs of everything that the cluster consists of.
    pub fn logs(&self) -> Vec<PathBuf> {
        let mut logs: Vec<PathBuf> = self.nodes().iter().flat_map(crate::bed::Node::logs).collect();
        let control = fs::read_dir(self.work().join("logs")).into_iter().flatten().flatten();
        logs.extend(control.map(|entry| entry.path()));
        logs
    }

    /// Copies logs, pod logs, `hosts.toml` files and the objects of interest into a new directory.
    pub fn dump(&self) -> Result<PathBuf> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let dir = paths::dumps().join(format!("{}-{seconds}", self.spec().name));
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        for (file, words) in VIEWS {
            let arguments: Vec<&str> = words.split(' ').chain(["--request-timeout=5s"]).collect();
            let text = self.kubectl(&arguments).unwrap_or_else(|error| format!("{error:#}"));
            fs::write(dir.join(file), text)?;
        }
        for log in self.logs() {
            copy_flat(self.work(), &log, &dir);
        }
        for node in self.nodes() {
            for (tree, name) in [(node.dir().join("log-pods"), "pods"), (node.certs_dir(), "certs.d")] {
                let target = dir.join(format!("{}-{name}", node.name()));
                // Best effort: a tree that is not there is no news.
                let _ = shell::run(shell::plain("cp").arg("-rL").arg(tree).arg(target));
            }
        }
        Ok(dir)
    }
}

/// Copies `work/n1/kubelet.log` as `dir/n1-kubelet.log`. A log that is not there is left out.
fn copy_flat(work: &Path, log: &Path, dir: &Path) {
    if let Ok(relative) = log.strip_prefix(work) {
        let _ = fs::copy(log, dir.join(relative.display().to_string().replace('/', "-")));
    }
}
