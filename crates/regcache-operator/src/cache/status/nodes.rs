//! How far the nodes are: helpers ready, and plans naming the caches.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt as _;
use regcache_api::conditions::reasons;
use regcache_api::{NodesMode, RegistryCache, labels};
use regcache_mirror::plan::Plan;

use super::Finding;
use crate::cache::gather::{LivePlan, Rollout};
use crate::cache::validate::{Site, Validated};
use crate::resolve;

/// How far the nodes of the RegistryCache's regions are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Nodes whose helper is ready.
    pub ready: i32,
    /// Nodes that should have one.
    pub desired: i32,
    /// What is the matter; nothing: all is well.
    pub finding: Option<Finding>,
    /// The reason when all is well, if it is not the usual one.
    pub reason: Option<&'static str>,
    /// What is said when all is well.
    pub message: String,
}

/// How far the nodes are. `namespace` is the helpers', for hints.
pub fn view(registry_cache: &RegistryCache, validated: &Validated, rollout: &Rollout, namespace: &str) -> View {
    let regions: BTreeSet<&str> = validated
        .sites
        .iter()
        .filter(|site| !site.idle)
        .map(|site| site.region.as_str())
        .collect();
    let ours: Vec<&DaemonSet> = rollout
        .daemon_sets
        .iter()
        .filter(|set| region_of(set).is_some_and(|region| regions.contains(region)))
        .collect();
    let count = |pick: fn(&DaemonSet) -> (i32, i32)| {
        ours.iter().map(|set| pick(set)).fold((0_i32, 0_i32), |sum, next| {
            (sum.0.saturating_add(next.0), sum.1.saturating_add(next.1))
        })
    };
    let (ready, desired) = count(ready_and_desired);
    let mode = resolve::nodes_mode(registry_cache);
    let stopped = resolve::is_stopped(registry_cache);
    let (reason, message) = match mode {
        NodesMode::Off => (
            Some(reasons::NODES_OFF),
            "the nodes are left alone, as spec.nodes.mode says".into(),
        ),
        NodesMode::Observe => (
            Some(reasons::OBSERVING),
            format!("{ready} of {desired} nodes log what they would do and write nothing, as spec.nodes.mode says"),
        ),
        NodesMode::Enforce => (None, format!("{ready} of {desired} nodes are configured")),
    };
    let finding = if stopped {
        Some(Finding::stalled(
            reasons::STOPPED,
            format!(
                "the kill switch is on, nodes pull from upstream: remove the annotation {} to go on",
                labels::STOP
            ),
        ))
    } else if mode == NodesMode::Off {
        None
    } else {
        regions
            .iter()
            .find_map(|region| missing_helper(region, &ours, namespace))
            .or_else(|| plan_finding(validated, &regions, &rollout.plans))
    };
    View {
        ready,
        desired,
        finding,
        reason,
        message,
    }
}

fn region_of(set: &DaemonSet) -> Option<&str> {
    set.labels().get(labels::REGION).map(String::as_str)
}

/// Helpers ready and wanted; those of a template that the controller has not seen yet are not ready.
fn ready_and_desired(set: &DaemonSet) -> (i32, i32) {
    let Some(status) = &set.status else { return (0, 0) };
    let seen = status.observed_generation >= set.metadata.generation;
    (
        if seen { status.number_ready } else { 0 },
        status.desired_number_scheduled,
    )
}

fn missing_helper(region: &str, sets: &[&DaemonSet], namespace: &str) -> Option<Finding> {
    let mut sets = sets.iter().filter(|set| region_of(set) == Some(region)).peekable();
    if sets.peek().is_none() {
        return Some(Finding::progress(
            reasons::NODES_PROGRESSING,
            format!("region {region} has no node helper yet"),
        ));
    }
    let late = sets.find_map(|set| {
        let unseen = set
            .status
            .as_ref()
            .is_none_or(|status| status.observed_generation < set.metadata.generation);
        let (ready, desired) = ready_and_desired(set);
        (unseen || ready < desired).then(|| (set.name_any(), ready, desired))
    });
    late.map(|(name, ready, desired)| {
        Finding::progress(
            reasons::NODES_PROGRESSING,
            format!(
                "region {region}: {ready} of {desired} node helpers are ready; what the others say: kubectl -n {namespace} \
                 describe pods, or kubectl -n {namespace} logs ds/{name}"
            ),
        )
    })
}

/// Whether every plan of the regions names the caches, for all of its nodes.
fn plan_finding(validated: &Validated, regions: &BTreeSet<&str>, plans: &[LivePlan]) -> Option<Finding> {
    regions.iter().find_map(|region| {
        let mut here = plans
            .iter()
            .filter(|plan| plan.region.as_deref() == Some(region))
            .peekable();
        if here.peek().is_none() {
            return Some(Finding::progress(
                reasons::NODES_PROGRESSING,
                format!("region {region} has no plan yet"),
            ));
        }
        here.find_map(|plan| unnamed(validated, region, plan))
    })
}

fn unnamed(validated: &Validated, region: &str, plan: &LivePlan) -> Option<Finding> {
    let Some(file) = &plan.file else {
        return Some(Finding::progress(
            reasons::NODES_PROGRESSING,
            format!(
                "plan {} cannot be read: delete the ConfigMap, it is made anew",
                plan.name
            ),
        ));
    };
    let names = |plan: &Plan, site: &Site, host: &str| {
        plan.upstream(host)
            .is_some_and(|upstream| upstream.caches.iter().any(|named| named.name == site.name))
    };
    let sites = validated.sites.iter().filter(|site| site.region == region);
    // Each cache for each of its upstreams.
    let wanted: Vec<(&Site, &str)> = sites
        .flat_map(|site| {
            site.upstreams
                .iter()
                .map(move |upstream| (site, upstream.host.as_str()))
        })
        .collect();
    let left_out = |plan: &Plan| {
        let missing = wanted.iter().find(|(site, host)| !names(plan, site, host));
        missing.map(|(site, host)| not_named(region, site, host))
    };
    let rolling = || {
        Finding::progress(
            reasons::ROLLING_OUT,
            format!("region {region}: {} % of the nodes try the new plan", file.percent),
        )
    };
    match &file.canary {
        Some(canary) if file.percent < 100 => {
            // A canary without a cache of ours is somebody else's, or a cache's end: not for this object to wait for.
            let concerned = |(site, host): &(&Site, &str)| names(canary, site, host) != names(&file.stable, site, host);
            if wanted.iter().any(concerned) {
                return Some(rolling());
            }
            left_out(&file.stable)
        }
        Some(canary) => left_out(canary),
        None => left_out(&file.stable),
    }
}

fn not_named(region: &str, site: &Site, host: &str) -> Finding {
    let cache = &site.name;
    Finding::progress(
        reasons::NODES_PROGRESSING,
        format!("nodes of region {region} are not told of cache {cache} for {host} yet"),
    )
}

#[cfg(test)]
mod tests;
