//! Caches that misbehave, in the place of the real ones: the operator runs them, only their image is another.
//!
//! Each fault has an upstream of its own, and so a cache of its own: what the helper learns in one test does not help it
//! in the next. All are the same registry, `images.test`, under other names.

use anyhow::{Result, ensure};
use regcache_api::names::site;
use regcache_tests::bed::{PullResult, images};
use regcache_tests::faulty::fault::{Fault, Kind};
use serde_json::json;

use crate::suite::{KIB, MIB, SYSTEM, Suite};

/// Hosts of the upstreams, one for each test.
const HOSTS: [&str; 6] = [
    "silent.test",
    "nobody.test",
    "stall.test",
    "reset.test",
    "wrong-small.test",
    "wrong-large.test",
];

pub fn silent(suite: &mut Suite) -> Result<()> {
    four_at_once(suite, "silent.test", &Fault::new(Kind::Silent), &[64 * KIB, MIB])
}

pub fn headers_then_no_body(suite: &mut Suite) -> Result<()> {
    let sizes = [64 * KIB, 2 * MIB, 2 * MIB, 2 * MIB, 2 * MIB];
    four_at_once(suite, "nobody.test", &Fault::of_blobs(Kind::HeadersOnly, 0), &sizes)
}

pub fn half_then_stall(suite: &mut Suite) -> Result<()> {
    let sizes = [64 * KIB, 8 * MIB, 2 * MIB];
    four_at_once(suite, "stall.test", &Fault::of_blobs(Kind::HalfStall, 0), &sizes)
}

pub fn half_then_reset(suite: &mut Suite) -> Result<()> {
    four_at_once(
        suite,
        "reset.test",
        &Fault::of_blobs(Kind::HalfReset, 0),
        &[64 * KIB, 8 * MIB, 2 * MIB],
    )
}

pub fn wrong_bytes_small(suite: &mut Suite) -> Result<()> {
    let sizes = [64 * KIB, 200 * KIB, 900 * KIB];
    four_at_once(suite, "wrong-small.test", &Fault::of_blobs(Kind::WrongBytes, 0), &sizes)
}

pub fn wrong_bytes_large(suite: &mut Suite) -> Result<()> {
    let host = "wrong-large.test";
    faulty_ready(suite)?;
    fault(suite, host, &Fault::of_blobs(Kind::WrongBytes, MIB as u64))?;
    let image = pushed(suite, host, &[64 * KIB, 8 * MIB])?;
    let result = suite.pull_whatever(1, &image)?;
    ensure!(
        result.failed_attempts <= 1,
        "more than kubelet's first retry was needed: {:?}",
        result.failures
    );
    // The cache is out now: nobody else meets it.
    let next = pushed(suite, host, &[64 * KIB, 8 * MIB])?;
    suite.pull(1, &next)?;
    honest_again(suite, host)
}

/// Four pulls of images with that fault and, at the same time, one of a registry that has nothing to do with it.
fn four_at_once(suite: &mut Suite, host: &str, kind: &Fault, layers: &[usize]) -> Result<()> {
    faulty_ready(suite)?;
    suite.healthy_seconds()?;
    fault(suite, host, kind)?;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(pushed(suite, host, layers)?);
    }
    let innocent = suite.push(&[64 * KIB, MIB])?;
    let mut pulls: Vec<(usize, &str)> = names.iter().map(|name| (1, name.as_str())).collect();
    pulls.push((1, &innocent.name));
    let results = suite.pull_together(&pulls)?;
    no_failures(&results)?;
    let (sick, well) = results.split_at(4);
    for result in sick {
        suite.check_delay(&format!("pull through {host}'s sick cache"), result.seconds, 10.0)?;
    }
    for result in well {
        suite.check_delay("pull of another registry at the same time", result.seconds, 6.0)?;
    }
    let next = pushed(suite, host, &[64 * KIB])?;
    let seconds = suite.pull(1, &next)?;
    suite.check_delay("the next pull", seconds, 10.0)?;
    honest_again(suite, host)
}

fn no_failures(results: &[PullResult]) -> Result<()> {
    let failures: Vec<&String> = results.iter().flat_map(|result| &result.failures).collect();
    ensure!(failures.is_empty(), "pulls failed first: {failures:?}");
    Ok(())
}

/// The RegistryCache whose caches misbehave, Ready, and `main` beside it.
fn faulty_ready(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let cache = json!({"engine": "Distribution", "image": images::FAULTY, "storage": {"size": "1Gi"}});
    suite.apply_cache("faulty", &HOSTS, &["region-1"], &json!({"cache": cache}))?;
    suite.wait_ready("faulty")?;
    HOSTS.iter().try_for_each(|host| suite.wait_published(host, &[1, 3]))
}

/// Pushes to images.test and names the image by another of its names.
fn pushed(suite: &Suite, host: &str, layers: &[usize]) -> Result<String> {
    Ok(suite.push(layers)?.name.replacen("images.test", host, 1))
}

/// Tells the cache of that upstream to misbehave.
fn fault(suite: &Suite, host: &str, kind: &Fault) -> Result<()> {
    suite
        .cluster
        .set_faults(&address(suite, host)?, std::slice::from_ref(kind))
}

/// Ends the misbehaviour, which must have happened: a pull that never met the fault proves nothing.
fn honest_again(suite: &Suite, host: &str) -> Result<()> {
    let address = address(suite, host)?;
    let requests = suite.cluster.faulty_requests(&address)?;
    ensure!(
        requests.iter().any(|request| request.fault.is_some()),
        "{host}'s cache was never asked: {requests:?}"
    );
    suite.cluster.set_faults(&address, &[])
}

fn address(suite: &Suite, host: &str) -> Result<String> {
    let cache = site("faulty", "region-1", host);
    suite.cluster.pod_ip(SYSTEM, &suite.cache_pod(&cache)?)
}
