//! Files that somebody else put on a node.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::suite::{KIB, NODES_WITH_MIRROR, Suite};

const THEIRS: &str = "# ours, do not touch\nserver = \"https://other.test\"\n\n[host.\"https://other.test\"]\n  capabilities = [\"pull\", \"resolve\"]\n";

pub fn foreign_files_survive(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.delete_cache("second")?;
    suite.wait_withdrawn("other.test", &NODES_WITH_MIRROR)?;
    // On n1 a hosts.toml of somebody else; on n2 Docker's layout; on n3 another registry's directory, which is not ours
    // to judge.
    let put = |node: usize, path: &str, text: &str| -> Result<()> {
        let path = suite.node(node).certs_dir().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(path, text)?)
    };
    put(1, "other.test/hosts.toml", THEIRS)?;
    put(1, "other.test/corp.pem", "a certificate")?;
    put(2, "other.test/ca.crt", "a certificate")?;
    put(3, "unrelated.test/hosts.toml", THEIRS)?;
    let theirs = |suite: &Suite| -> Result<Vec<(String, Vec<u8>)>> {
        let mut all = Vec::new();
        for node in [1, 2, 3] {
            let tree = suite.certs_tree(node)?;
            let foreign = |name: &str| match node {
                3 => name.starts_with("unrelated.test"),
                _ => name.starts_with("other.test"),
            };
            all.extend(tree.into_iter().filter(|(name, _)| foreign(name)));
        }
        Ok(all)
    };
    let before = theirs(suite)?;
    ensure!(before.len() == 4, "{before:?}");

    suite.apply_cache("second", &["other.test"], &["region-1", "region-2"], &json!({}))?;
    suite.wait_ready("second")?;
    suite.wait_published("other.test", &[3, 4])?;
    ensure!(theirs(suite)? == before, "changed by publishing");
    // Such nodes pull as they did before.
    let image = suite.cluster.internet("other.test")?.push("team/app", &[64 * KIB])?;
    suite.pull(1, &image.name)?;

    suite.helm_upgrade("next")?;
    suite.cluster.kubectl(&[
        "rollout",
        "status",
        "daemonset",
        "-n",
        crate::suite::NODES,
        "--timeout=180s",
    ])?;
    ensure!(theirs(suite)? == before, "changed by an update");

    suite.uninstall()?;
    suite.wait_withdrawn("images.test", &NODES_WITH_MIRROR)?;
    suite.wait_withdrawn("other.test", &[3, 4])?;
    ensure!(theirs(suite)? == before, "changed by the uninstall");

    for node in [1, 2] {
        std::fs::remove_dir_all(suite.node(node).certs_dir().join("other.test"))?;
    }
    std::fs::remove_dir_all(suite.node(3).certs_dir().join("unrelated.test"))?;
    suite.main_ready()
}
