//! The main job: pulls come from the region's own cache.

use anyhow::{Result, ensure};
use regcache_api::names::site;
use serde_json::json;

use crate::suite::{KIB, MIB, NODES, NODES_WITH_MIRROR, Suite, items};

const HITS: &str = "registry_proxy_hits_total";
const MISSES: &str = "registry_proxy_misses_total";

pub fn nearest_cache_is_used_in_each_region(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let internet = suite.images()?;
    for (node, mine, other) in [(1, "region-1", "region-2"), (2, "region-2", "region-1")] {
        let sites = [mine, other].map(|region| site("main", region, "images.test"));
        let before = [
            suite.cache_counter(&sites[0], MISSES)?,
            suite.cache_counter(&sites[1], MISSES)?,
        ];
        let image = suite.push(&[64 * KIB, 2 * MIB, 300 * KIB])?;
        let since = internet.marker();
        suite.pull(node, &image.name)?;
        let after = [
            suite.cache_counter(&sites[0], MISSES)?,
            suite.cache_counter(&sites[1], MISSES)?,
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
        let cache = site("main", region, "images.test");
        let hits = suite.cache_counter(&cache, HITS)?;
        let since = internet.marker();
        suite.pull(second, &image.name)?;
        let gets = internet.blob_gets(since, &image.repository);
        ensure!(
            gets.is_empty(),
            "the second pull in {region} fetched blobs from upstream: {gets:?}"
        );
        ensure!(
            suite.cache_counter(&cache, HITS)? - hits >= 3.0,
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
