//! A RegistryCache's life: status, kill switch, modes, deletion, uninstall.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::wait_for;
use serde_json::json;

use crate::suite::{KIB, NODES, NODES_WITH_MIRROR, PATIENCE, SYSTEM, Suite, condition, items};

pub fn status_reads_well_and_settles(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let table = suite.cluster.kubectl(&["get", "rcache", "main"])?;
    for part in ["READY", "True", "2/2", "5/5"] {
        ensure!(table.contains(part), "no {part} in\n{table}");
    }
    let object = suite.wait_ready("main")?;
    for (kind, status) in [
        ("CachesAvailable", "True"),
        ("NodesConfigured", "True"),
        ("StorageHealthy", "True"),
        ("Stalled", "False"),
        ("Reconciling", "False"),
    ] {
        let found = condition(&object, kind).with_context(|| format!("no {kind}"))?;
        ensure!(found["status"] == status, "{found}");
    }
    ensure!(
        object["status"]["sites"].as_array().map(Vec::len) == Some(2),
        "{}",
        object["status"]["sites"]
    );
    let explained = suite.cluster.kubectl(&["explain", "rcache.spec.upstreams.host"])?;
    ensure!(explained.contains("as image names spell it"), "{explained}");
    // Settled means silent: nothing is written when nothing changes.
    let version = |suite: &Suite| -> Result<String> {
        let kinds = "rcache,deployments,services,configmaps,persistentvolumeclaims,daemonsets";
        let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.generation}/{.metadata.managedFields[*].time}\n{end}";
        suite.cluster.kubectl(&[
            "get",
            kinds,
            "-A",
            "-l",
            "app.kubernetes.io/managed-by=regcache-operator",
            "-o",
            path,
        ])
    };
    let before = version(suite)?;
    ensure!(before.contains("Deployment/"), "{before}");
    // A run of both controllers: provoked by a change that asks for nothing.
    suite
        .cluster
        .kubectl(&["annotate", "rcache", "main", "example.test/touched=yes", "--overwrite"])?;
    let image = suite.push(&[64 * KIB])?;
    suite.pull(1, &image.name)?;
    ensure!(version(suite)? == before, "something was written without need");
    Ok(())
}

pub fn kill_switch(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let started = Instant::now();
    suite
        .cluster
        .kubectl(&["annotate", "rcache", "main", "regcache.dev/stop=true"])?;
    suite.wait_withdrawn("images.test", &NODES_WITH_MIRROR)?;
    eprintln!("      nodes let go after {:.0} s", started.elapsed().as_secs_f64());
    suite.wait_condition("main", "NodesConfigured", "False", Some("Stopped"))?;
    let image = suite.push(&[64 * KIB])?;
    suite.pull(1, &image.name)?;
    suite
        .cluster
        .kubectl(&["annotate", "rcache", "main", "regcache.dev/stop-"])?;
    suite.wait_ready("main")?;
    suite.wait_published("images.test", &NODES_WITH_MIRROR)
}

pub fn observe_and_disabled_write_nothing(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    for mode in ["Observe", "Disabled"] {
        suite.apply_cache(
            "main",
            &["images.test"],
            &["region-1", "region-2"],
            &json!({"nodes": {"mode": mode}}),
        )?;
        suite.wait_withdrawn("images.test", &NODES_WITH_MIRROR)?;
        if mode == "Observe" {
            wait_for("the helper to say what it would write", PATIENCE, || {
                let name = suite.helper_pod(1)?["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let log = suite.cluster.kubectl(&["logs", "-n", NODES, &name])?;
                let said = log.contains("images.test") && log.contains("would");
                Ok(if said { Look::Done(()) } else { Look::NotYet(log) })
            })?;
        }
    }
    suite.main_ready()
}

pub fn deleted_registrycache(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    for other in ["faulty", "second"] {
        suite.delete_cache(other)?;
    }
    suite.cluster.kubectl(&["delete", "rcache", "main", "--wait=false"])?;
    // The order is the point: whenever a cache is gone, no node may still point at it.
    let mut too_early = None;
    wait_for("main and its caches to be gone", PATIENCE, || {
        let caches = items(&suite.cluster.kubectl_json(&[
            "get",
            "deployments,services",
            "-n",
            SYSTEM,
            "-l",
            "app.kubernetes.io/component=cache",
        ])?);
        let pointing: Vec<usize> = NODES_WITH_MIRROR
            .into_iter()
            .filter(|node| suite.is_published(*node, "images.test"))
            .collect();
        if caches.len() < 4 && !pointing.is_empty() {
            too_early = Some(format!(
                "{} of 4 cache objects were left while {pointing:?} still used them",
                caches.len()
            ));
        }
        let objects = items(&suite.cluster.kubectl_json(&["get", "rcache"])?).len();
        let state = format!(
            "{} cache objects, nodes {pointing:?}, {objects} RegistryCaches",
            caches.len()
        );
        Ok(if caches.is_empty() && objects == 0 {
            Look::Done(())
        } else {
            Look::NotYet(state)
        })
    })?;
    if let Some(state) = too_early {
        bail!(state);
    }
    for node in NODES_WITH_MIRROR {
        let left = suite.certs_tree(node)?;
        ensure!(
            left.is_empty(),
            "left on n{node}: {:?}",
            left.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
    }
    let leftovers = suite.cluster.kubectl(&[
        "get",
        "daemonsets,configmaps,pods",
        "-n",
        NODES,
        "-l",
        "app.kubernetes.io/managed-by=regcache-operator",
        "-o",
        "name",
    ])?;
    ensure!(leftovers.trim().is_empty(), "left in {NODES}: {leftovers}");
    // The volumes stay, and are taken up again.
    let claims = |suite: &Suite| {
        suite
            .cluster
            .kubectl(&["get", "pvc", "-n", SYSTEM, "-o", "jsonpath={.items[*].metadata.uid}"])
    };
    let before = claims(suite)?;
    ensure!(!before.trim().is_empty(), "the volumes should have stayed");
    suite.main_ready()?;
    ensure!(
        claims(suite)?.contains(before.split(' ').next().unwrap_or_default()),
        "the volumes were made anew"
    );
    Ok(())
}

pub fn helm_uninstall(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.uninstall()?;
    suite.wait_withdrawn("images.test", &NODES_WITH_MIRROR)?;
    for node in NODES_WITH_MIRROR {
        ensure!(
            suite.certs_tree(node)?.is_empty(),
            "something of ours is left on n{node}"
        );
    }
    let image = suite.push(&[64 * KIB])?;
    suite.pull(2, &image.name)?;
    suite.cluster.kubectl(&["get", "rcache", "main"])?;
    // And back again, over what stayed.
    suite.main_ready()
}
