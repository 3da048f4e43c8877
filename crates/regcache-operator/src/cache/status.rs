//! Phase 5: what people and tools are told. Computed without a client, written only when it changed.
//!
//! kstatus reads it: `Reconciling` and `Stalled` are true only when something is the matter. Stalled means that a person
//! has to act; everything else that is not ready is on its way.

pub mod nodes;
pub mod site;
pub mod write;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use regcache_api::conditions::{self, reasons};
use regcache_api::{RegistryCache, RegistryCacheStatus, SitePhase, SiteStatus};

use self::site::SiteView;
use super::validate::Validated;
use crate::resolve;

/// What is the matter, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A constant of `regcache_api::conditions::reasons`.
    pub reason: &'static str,
    /// The thing and the next step.
    pub message: String,
    /// A person has to act.
    pub stalled: bool,
}

impl Finding {
    /// Something that is on its way.
    pub fn progress(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            stalled: false,
        }
    }

    /// Something that a person has to put right.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            stalled: true,
        }
    }
}

/// A status, and the reason of its Ready condition as the constant that it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// What is written.
    pub status: RegistryCacheStatus,
    /// The reason of Ready.
    pub reason: &'static str,
}

/// One condition that says whether something is well.
struct Verdict {
    type_: &'static str,
    /// What is the matter; nothing: all is well.
    finding: Option<Finding>,
    /// What is said when all is well.
    well: (&'static str, String),
}

/// The status of a RegistryCache that is to be there.
pub fn compute(
    registry_cache: &RegistryCache,
    validated: &Validated,
    sites: &[SiteView<'_>],
    nodes: &nodes::View,
    now: Timestamp,
) -> Computed {
    let active = || sites.iter().filter(|view| !view.site.idle);
    let ready = active().filter(|view| view.phase() == SitePhase::Ready).count();
    let total = active().count()
        + validated
            .skipped
            .iter()
            .filter(|skipped| skipped.phase == SitePhase::Pending)
            .count();
    let elsewhere = |skipped: &super::validate::Skipped| skipped.phase == SitePhase::NotLocal;
    let local = !(sites.is_empty() && validated.skipped.iter().all(elsewhere));
    let verdicts = [
        Verdict {
            type_: conditions::CACHES_AVAILABLE,
            finding: caches(validated, sites),
            well: well(local, format!("{ready} of {total} caches are ready")),
        },
        Verdict {
            type_: conditions::NODES_CONFIGURED,
            finding: if local { nodes.finding.clone() } else { None },
            well: match (local, nodes.reason) {
                (true, Some(reason)) => (reason, nodes.message.clone()),
                _ => well(local, nodes.message.clone()),
            },
        },
        Verdict {
            type_: conditions::STORAGE_HEALTHY,
            finding: storage(validated, sites),
            well: well(local, format!("{} volumes are bound", active().count())),
        },
    ];
    let summary = summary(registry_cache, validated, &verdicts);
    let mut status = RegistryCacheStatus {
        observed_generation: registry_cache.metadata.generation,
        conditions: old_conditions(registry_cache),
        sites: site_list(registry_cache, validated, sites),
        caches_ready: Some(format!("{ready}/{total}")),
        nodes_ready: Some(format!("{}/{}", nodes.ready, nodes.desired)),
    };
    let generation = registry_cache.metadata.generation;
    for verdict in verdicts {
        let (reason, message) = match &verdict.finding {
            Some(finding) => (finding.reason, finding.message.clone()),
            None => verdict.well,
        };
        let value = Some(verdict.finding.is_none());
        conditions::set(
            &mut status.conditions,
            verdict.type_,
            value,
            reason,
            message,
            generation,
            now,
        );
    }
    let well = match (local, resolve::is_paused(registry_cache)) {
        (_, true) => (
            reasons::PAUSED,
            "paused, and all is well: nothing is changed until spec.paused is false".into(),
        ),
        (false, _) => (reasons::NO_LOCAL_REGION, no_local_region(registry_cache)),
        (true, _) => (
            reasons::AS_DESIRED,
            format!("{ready} of {total} caches are ready; {}", nodes.message),
        ),
    };
    summarise(status, summary.as_ref(), well, generation, now)
}

/// The status of a RegistryCache that is being deleted.
pub fn withdrawing(registry_cache: &RegistryCache, message: &str, now: Timestamp) -> Computed {
    let mut status = registry_cache.status.clone().unwrap_or_default();
    status.observed_generation = registry_cache.metadata.generation;
    let finding = Finding::progress(reasons::WITHDRAWING, format!("being deleted: {message}"));
    let unused = (reasons::WITHDRAWING, String::new());
    summarise(status, Some(&finding), unused, registry_cache.metadata.generation, now)
}

/// `old` with nothing changed but that a run could not do its work.
pub fn broken(
    old: Option<RegistryCacheStatus>,
    generation: Option<i64>,
    finding: &Finding,
    now: Timestamp,
) -> Computed {
    let mut status = old.unwrap_or_default();
    status.observed_generation = generation;
    let unused = (finding.reason, String::new());
    summarise(status, Some(finding), unused, generation, now)
}

/// Sets Ready, Reconciling and Stalled.
fn summarise(
    mut status: RegistryCacheStatus,
    finding: Option<&Finding>,
    well: (&'static str, String),
    generation: Option<i64>,
    now: Timestamp,
) -> Computed {
    let (reason, message) = match finding {
        Some(finding) => (finding.reason, finding.message.clone()),
        None => well,
    };
    let stalled = finding.is_some_and(|finding| finding.stalled);
    let reconciling = finding.is_some() && !stalled;
    let mut set = |type_, value, message: &str| {
        let reason = if value || type_ == conditions::READY {
            reason
        } else {
            reasons::AS_DESIRED
        };
        conditions::set(
            &mut status.conditions,
            type_,
            Some(value),
            reason,
            message,
            generation,
            now,
        );
    };
    set(conditions::READY, finding.is_none(), &message);
    set(
        conditions::RECONCILING,
        reconciling,
        if reconciling { &message } else { "" },
    );
    set(conditions::STALLED, stalled, if stalled { &message } else { "" });
    Computed { status, reason }
}

/// What stands in the way of Ready: what a person has to do first, then the rest.
fn summary(registry_cache: &RegistryCache, validated: &Validated, verdicts: &[Verdict]) -> Option<Finding> {
    let findings: Vec<&Finding> = verdicts.iter().filter_map(|verdict| verdict.finding.as_ref()).collect();
    let problem = validated.problems.first().map(|problem| {
        let others = validated.problems.len() - 1;
        let more = if others == 0 {
            String::new()
        } else {
            format!(" (and {others} more: see status.sites)")
        };
        Finding::stalled(problem.reason, format!("{}{more}", problem.message))
    });
    let found = problem
        .or_else(|| {
            findings
                .iter()
                .find(|finding| finding.stalled)
                .map(|finding| (*finding).clone())
        })
        .or_else(|| findings.first().map(|finding| (*finding).clone()))?;
    if resolve::is_paused(registry_cache) {
        let message = format!(
            "paused, and not ready: {}; nothing is changed until spec.paused is false",
            found.message
        );
        return Some(Finding::stalled(reasons::PAUSED, message));
    }
    Some(found)
}

fn caches(validated: &Validated, sites: &[SiteView<'_>]) -> Option<Finding> {
    let blocked = validated
        .skipped
        .iter()
        .filter(|skipped| skipped.phase == SitePhase::Pending);
    let mut findings: Vec<Finding> = sites.iter().filter_map(SiteView::finding).collect();
    findings.extend(blocked.map(|skipped| {
        Finding::stalled(
            reasons::CACHES_PROGRESSING,
            format!("cache {} is not made: {}", skipped.name, skipped.message),
        )
    }));
    worst(findings)
}

fn storage(validated: &Validated, sites: &[SiteView<'_>]) -> Option<Finding> {
    let missing = validated
        .problems
        .iter()
        .filter(|problem| problem.reason == reasons::STORAGE_CLASS_NOT_FOUND)
        .map(|problem| Finding::stalled(problem.reason, problem.message.clone()));
    worst(missing.chain(sites.iter().filter_map(SiteView::storage)).collect())
}

/// One finding for many: what stalls first, then in the order of the sites; the others are counted.
fn worst(mut findings: Vec<Finding>) -> Option<Finding> {
    findings.sort_by_key(|finding| (!finding.stalled, finding.reason == reasons::CACHES_PROGRESSING));
    let others = findings.len().saturating_sub(1);
    let mut first = findings.into_iter().next()?;
    if others > 0 {
        first.message = format!("{} (and {others} more: see status.sites)", first.message);
    }
    Some(first)
}

fn well(local: bool, message: String) -> (&'static str, String) {
    if local {
        (reasons::AS_DESIRED, message)
    } else {
        (
            reasons::NO_LOCAL_REGION,
            "nothing to do: no region of the spec is one of this cluster's".into(),
        )
    }
}

fn no_local_region(registry_cache: &RegistryCache) -> String {
    let names: Vec<&str> = registry_cache
        .spec
        .regions
        .iter()
        .map(|region| region.name.as_str())
        .collect();
    format!(
        "no node of this cluster is in one of the regions {}: nothing is made here; see kubectl get nodes \
         -L topology.kubernetes.io/region",
        names.join(", ")
    )
}

/// The conditions as they were, without the server's default, which nobody has set.
fn old_conditions(registry_cache: &RegistryCache) -> Vec<Condition> {
    registry_cache
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default()
}

/// One entry for each cache, in the order of the spec: by region, then by its first upstream.
fn site_list(registry_cache: &RegistryCache, validated: &Validated, sites: &[SiteView<'_>]) -> Vec<SiteStatus> {
    let mut list: Vec<SiteStatus> = sites.iter().map(SiteView::status).collect();
    list.extend(validated.skipped.iter().map(|skipped| SiteStatus {
        name: skipped.name.clone(),
        region: skipped.region.clone(),
        upstreams: skipped.hosts.clone(),
        endpoint: None,
        phase: skipped.phase,
        message: Some(skipped.message.clone()),
    }));
    let spec = &registry_cache.spec;
    list.sort_by_key(|entry| {
        (
            spec.regions.iter().position(|region| region.name == entry.region),
            spec.upstreams
                .iter()
                .position(|upstream| entry.upstreams.contains(&upstream.host)),
        )
    });
    list
}

#[cfg(test)]
mod tests;
