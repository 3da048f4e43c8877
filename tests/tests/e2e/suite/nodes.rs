//! What lies on the nodes, read from their disks.

use anyhow::{Context, Result};
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::{Node, wait_for};

use super::{PATIENCE, Suite};

impl Suite {
    pub fn node(&self, index: usize) -> Node {
        self.cluster.node(index)
    }

    /// The text of an upstream's hosts.toml on a node, when it is there.
    pub fn hosts_toml(&self, node: usize, upstream: &str) -> Option<String> {
        std::fs::read_to_string(self.node(node).certs_dir().join(upstream).join("hosts.toml")).ok()
    }

    /// Whether the node's hosts.toml for that upstream is ours.
    pub fn is_published(&self, node: usize, upstream: &str) -> bool {
        self.hosts_toml(node, upstream)
            .is_some_and(|text| text.contains("https://127.0.0.1:21500"))
    }

    /// Waits until these nodes have our hosts.toml for that upstream.
    pub fn wait_published(&self, upstream: &str, nodes: &[usize]) -> Result<()> {
        self.wait_nodes(upstream, nodes, true)
    }

    /// Waits until these nodes have nothing of ours for that upstream, not even the directory.
    pub fn wait_withdrawn(&self, upstream: &str, nodes: &[usize]) -> Result<()> {
        self.wait_nodes(upstream, nodes, false)
    }

    fn wait_nodes(&self, upstream: &str, nodes: &[usize], published: bool) -> Result<()> {
        let what = format!("hosts.toml of {upstream} on {nodes:?} to be there: {published}");
        wait_for(&what, PATIENCE, || {
            let states: Vec<bool> = nodes
                .iter()
                .map(|node| {
                    if published {
                        self.is_published(*node, upstream)
                    } else {
                        !self.node(*node).certs_dir().join(upstream).exists()
                    }
                })
                .collect();
            Ok(if states.iter().all(|state| *state) {
                Look::Done(())
            } else {
                Look::NotYet(format!("{states:?}"))
            })
        })
    }

    /// Everything below certs.d of a node: path and content.
    pub fn certs_tree(&self, node: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let root = self.node(node).certs_dir();
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    let name = entry.path().strip_prefix(&root)?.display().to_string();
                    found.push((name, std::fs::read(entry.path())?));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
