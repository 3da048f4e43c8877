//! Caches and operator that go away.

use anyhow::{Result, ensure};
use regcache_api::names::shared_site;
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::{PodRequest, wait_for};
use rustix::process::Signal;
use serde_json::json;

use crate::suite::{KIB, MIB, NODES_WITH_MIRROR, PATIENCE, SYSTEM, Suite, items, restarts};

pub fn cache_killed_in_a_large_layer(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let internet = suite.images()?;
    let image = suite.push(&[64 * KIB, 24 * MIB])?;
    let cache = shared_site("main", "region-1");
    let cache = suite.cache_pod(&cache)?;
    let home = suite
        .cluster
        .kubectl(&["get", "pod", "-n", SYSTEM, &cache, "-o", "jsonpath={.spec.nodeName}"])?;
    let home: usize = home.trim_start_matches('n').parse()?;
    internet.limit(Some(6 * MIB as u64))?;
    let before = internet.bytes_through();
    let mut pod = PodRequest::new(&suite.fresh("pull"), "n1", &image.name);
    pod.timeout = PATIENCE;
    suite.cluster.start_pull(&pod)?;
    wait_for("8 MiB to have left upstream", PATIENCE, || {
        let sent = internet.bytes_through().saturating_sub(before);
        Ok(if sent > 8 * MIB as u64 {
            Look::Done(())
        } else {
            Look::NotYet(format!("{sent} bytes"))
        })
    })?;
    suite.node(home).signal_container_processes(&cache, Signal::KILL)?;
    internet.limit(None)?;
    let result = suite.cluster.finish_pull(&pod)?;
    suite.cluster.kubectl(&["delete", "pod", &pod.name, "--wait=false"])?;
    ensure!(
        result.failed_attempts == 0,
        "the pull failed first: {:?}",
        result.failures
    );
    Ok(())
}

pub fn all_caches_gone(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.healthy_seconds()?;
    // The operator would put them right.
    suite.without_operator(|suite| {
        let sites = ["region-1", "region-2"].map(|region| shared_site("main", region));
        for site in &sites {
            suite.scale(SYSTEM, site, 0)?;
        }
        for node in [1, 2, 3] {
            let image = suite.push(&[64 * KIB, 2 * MIB])?;
            let seconds = suite.pull(node, &image.name)?;
            suite.check_delay(&format!("pull on n{node} without any cache"), seconds, 1.0)?;
        }
        Ok(())
    })?;
    suite.wait_ready("main").map(drop)
}

pub fn operator_down(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    // A test before this one may have taken the caches away, and helpers ask them anew only after a while.
    suite.wait_served(&[1, 2])?;
    suite.without_operator(|suite| {
        for node in [1, 2] {
            ensure!(
                suite.is_served(node)?,
                "n{node} went past its cache while the operator was down"
            );
        }
        Ok(())
    })
}

pub fn outage_during_a_plan_change(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.apply_cache("second", &["other.test"], &["region-1", "region-2"], &json!({}))?;
    suite.wait_ready("second")?;
    suite.wait_published("other.test", &NODES_WITH_MIRROR)?;
    let before: Vec<_> = helpers(suite)?;
    // Caches that cannot come back: their pods are gone and no node takes new ones.
    let nodes = ["n1", "n2", "n3", "n4", "n5"];
    for node in nodes {
        suite.cluster.kubectl(&["cordon", node])?;
    }
    let caches = "app.kubernetes.io/component=cache";
    suite.cluster.kubectl(&[
        "delete",
        "pods",
        "-n",
        SYSTEM,
        "-l",
        caches,
        "--force",
        "--grace-period=0",
    ])?;
    suite.cluster.kubectl(&["delete", "rcache", "second", "--wait=false"])?;
    suite.wait_withdrawn("other.test", &NODES_WITH_MIRROR)?;
    let image = suite.push(&[64 * KIB])?;
    suite.pull(1, &image.name)?;
    let after = helpers(suite)?;
    for node in nodes {
        suite.cluster.kubectl(&["uncordon", node])?;
    }
    ensure!(before == after, "helpers before {before:?}, after {after:?}");
    suite.wait_ready("main")?;
    suite
        .cluster
        .kubectl(&["wait", "--for=delete", "rcache/second", "--timeout=120s"])?;
    Ok(())
}

/// Names and restarts of all helpers.
fn helpers(suite: &Suite) -> Result<Vec<(String, u64)>> {
    let pods = items(
        &suite
            .cluster
            .kubectl_json(&["get", "pods", "-n", crate::suite::NODES])?,
    );
    let mut found: Vec<(String, u64)> = pods
        .iter()
        .map(|pod| (pod["metadata"]["name"].to_string(), restarts(pod)))
        .collect();
    found.sort();
    Ok(found)
}
