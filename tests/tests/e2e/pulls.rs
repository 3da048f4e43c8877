//! The main job: pulls come from the region's own cache.

use anyhow::{Result, ensure};
use regcache_api::names::{shared_site, site};
use serde_json::json;

use crate::suite::{KIB, MIB, NODES, NODES_WITH_MIRROR, PATIENCE, SYSTEM, Suite, items};

/// Of the built-in engine, by upstream, kind and result.
const REQUESTS: &str = "regcache_requests_total";
const ANY: &str = "";
const MISSES: &str = "result=\"miss\"";
const BLOB_HITS: &str = "kind=\"blob\",result=\"hit\"";

pub fn nearest_cache_is_used_in_each_region(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let internet = suite.images()?;
    for (node, mine, other) in [(1, "region-1", "region-2"), (2, "region-2", "region-1")] {
        let sites = [mine, other].map(|region| shared_site("main", region));
        let before = [
            suite.cache_counter(&sites[0], REQUESTS, MISSES)?,
            suite.cache_counter(&sites[1], REQUESTS, ANY)?,
        ];
        let image = suite.push(&[64 * KIB, 2 * MIB, 300 * KIB])?;
        let since = internet.marker();
        suite.pull(node, &image.name)?;
        let after = [
            suite.cache_counter(&sites[0], REQUESTS, MISSES)?,
            suite.cache_counter(&sites[1], REQUESTS, ANY)?,
        ];
        // Three layers and the configuration, besides the manifest.
        ensure!(
            after[0] - before[0] >= 4.0,
            "{mine}'s cache counted {} misses",
            after[0] - before[0]
        );
        ensure!((after[1] - before[1]).abs() < 0.5, "{other}'s cache was asked too");
        let requests = internet.requests(since);
        let own: Vec<_> = requests
            .iter()
            .filter(|request| request.is_of(&image.repository))
            .collect();
        ensure!(!own.is_empty(), "upstream saw nothing of the pull");
        ensure!(
            own.iter().all(|request| !request.is_from_containerd()),
            "the node asked upstream itself: {own:?}"
        );
        for layer in &image.layers {
            let gets = internet.blob_gets(since, &image.repository);
            let count = gets.iter().filter(|get| get.path.ends_with(&layer.digest)).count();
            ensure!(count == 1, "upstream sent {} {count} times", layer.digest);
        }
    }
    Ok(())
}

pub fn second_node_of_a_region_costs_upstream_no_blob(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let internet = suite.images()?;
    for (first, second, region) in [(1, 3, "region-1"), (2, 4, "region-2")] {
        let image = suite.push(&[64 * KIB, 2 * MIB])?;
        suite.pull(first, &image.name)?;
        let cache = shared_site("main", region);
        let hits = suite.cache_counter(&cache, REQUESTS, BLOB_HITS)?;
        let since = internet.marker();
        suite.pull(second, &image.name)?;
        let gets = internet.blob_gets(since, &image.repository);
        ensure!(
            gets.is_empty(),
            "the second pull in {region} fetched blobs from upstream: {gets:?}"
        );
        ensure!(
            suite.cache_counter(&cache, REQUESTS, BLOB_HITS)? - hits >= 3.0,
            "{region}'s cache counted no hits"
        );
    }
    Ok(())
}

pub fn two_registrycaches_share_one_helper_per_node(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let before = items(&suite.cluster.kubectl_json(&["get", "pods", "-n", NODES])?).len();
    suite.apply_cache("second", &["other.test"], &["region-1", "region-2"], &json!({}))?;
    suite.wait_ready("second")?;
    suite.wait_published("other.test", &NODES_WITH_MIRROR)?;
    let pods = items(&suite.cluster.kubectl_json(&["get", "pods", "-n", NODES])?);
    ensure!(pods.len() == before, "{before} helpers became {}", pods.len());
    let internet = suite.cluster.internet("other.test")?;
    let since = internet.marker();
    let image = internet.push("team/app", &[64 * KIB, MIB])?;
    let from_main = suite.push(&[64 * KIB])?;
    suite.pull(3, &image.name)?;
    suite.pull(3, &from_main.name)?;
    let direct = internet
        .requests(since)
        .into_iter()
        .any(|it| it.is_of(&image.repository) && it.is_from_containerd());
    ensure!(!direct, "the node asked other.test itself");
    Ok(())
}

/// The engine of a RegistryCache changes while pods pull: no pull fails, and then the other engine serves.
pub fn engine_changes_under_pulls(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.wait_served(&[1, 2])?;
    for engine in ["Distribution", "Builtin"] {
        let cache = json!({"cache": {"engine": engine, "storage": {"size": "1Gi"}}});
        suite.apply_cache("main", &["images.test"], &["region-1", "region-2"], &cache)?;
        let started = std::time::Instant::now();
        let old = match engine {
            "Distribution" => shared_site("main", "region-1"),
            _ => site("main", "region-1", "images.test"),
        };
        loop {
            let image = suite.push(&[64 * KIB, 300 * KIB])?;
            suite.pull(1, &image.name)?;
            let there = suite.cluster.kubectl(&[
                "get",
                "deployment",
                "-n",
                SYSTEM,
                "--ignore-not-found",
                "-o",
                "name",
                &old,
            ])?;
            if there.trim().is_empty() {
                break;
            }
            ensure!(started.elapsed() < PATIENCE, "{old} is still there");
        }
        suite.wait_ready("main")?;
        suite.wait_served(&[1, 2])?;
        let (cache, metric, labels) = match engine {
            "Distribution" => (
                site("main", "region-1", "images.test"),
                "registry_proxy_misses_total",
                ANY,
            ),
            _ => (shared_site("main", "region-1"), REQUESTS, MISSES),
        };
        let before = suite.cache_counter(&cache, metric, labels)?;
        ensure!(suite.is_served(1)?, "n1 went past its cache of engine {engine}");
        ensure!(
            suite.cache_counter(&cache, metric, labels)? > before,
            "the cache of engine {engine} counted nothing"
        );
    }
    Ok(())
}
