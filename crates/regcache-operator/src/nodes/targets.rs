//! Phase 3, pure: what each place's plan should be in the end.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use regcache_api::{NodesMode, RegistryCache, UpstreamSpec};
use regcache_mirror::plan::{CacheRef, Mode, Plan, UpstreamPlan};
use regcache_mirror::rank::{Place, rank};

use super::validate::{Cache, Facts};
use crate::cache::engine;
use crate::resolve;

/// What one place should come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The plan in the end.
    pub plan: Plan,
    /// Some live RegistryCache names the place's region: it has helpers.
    pub wanted: bool,
    /// All of them are paused: nothing but what protects pulls is written here.
    pub frozen: bool,
}

/// The target of every place that has nodes or a plan or helpers.
///
/// A place that has lost its nodes keeps its plan and its DaemonSet (of no pods) as long as a spec names its region,
/// like the caches: so an empty list of nodes, whatever its cause, removes nothing.
pub fn targets(
    registry_caches: &[RegistryCache],
    unreadable: bool,
    facts: &Facts,
    now: Timestamp,
) -> BTreeMap<Place, Target> {
    let known = facts.rollouts.keys().chain(&facts.staffed);
    let places: BTreeSet<&Place> = known.chain(&facts.populated).collect();
    let mut targets = BTreeMap::new();
    for place in places {
        let target = target(place, registry_caches, unreadable, facts, now);
        // Nobody's nodes are not ours to staff; what is there already has to be taken away in order.
        if target.wanted || facts.rollouts.contains_key(place) || facts.staffed.contains(place) {
            targets.insert(place.clone(), target);
        }
    }
    targets
}

fn target(place: &Place, registry_caches: &[RegistryCache], unreadable: bool, facts: &Facts, now: Timestamp) -> Target {
    let live = |one: &&RegistryCache| one.metadata.deletion_timestamp.is_none();
    let names_place = |one: &&RegistryCache| {
        let mut regions = one.spec.regions.iter();
        resolve::nodes_mode(one) != NodesMode::Off && regions.any(|region| region.name == place.region)
    };
    let (paused, active): (Vec<_>, Vec<_>) = registry_caches
        .iter()
        .filter(live)
        .partition(|one| resolve::is_paused(one));
    let active: Vec<&RegistryCache> = active.into_iter().filter(names_place).collect();
    let mut upstreams: BTreeMap<String, UpstreamPlan> = BTreeMap::new();
    for registry_cache in active.iter().filter(|one| !resolve::is_stopped(one)) {
        for upstream in &registry_cache.spec.upstreams {
            let owner = resolve::owner(&upstream.host, registry_caches);
            if owner.is_some_and(|owner| std::ptr::eq(owner, *registry_cache)) {
                let entry = entry(place, registry_cache, upstream, facts, now);
                upstreams.extend(entry.map(|entry| (upstream.host.clone(), entry)));
            }
        }
    }
    let mut kept = false;
    for entry in everything(place, facts).filter(|entry| is_frozen(entry, registry_caches, &paused, unreadable, facts))
    {
        kept = true;
        upstreams.entry(entry.host.clone()).or_insert_with(|| entry.clone());
    }
    Target {
        plan: Plan {
            upstreams: upstreams.into_values().collect(),
        },
        wanted: kept || unreadable || !active.is_empty() || paused.iter().any(names_place),
        frozen: active.is_empty(),
    }
}

/// Whether an entry of the present plan belongs to a paused RegistryCache (whatever its spec says by now), or may
/// belong to one that cannot be read. The kill switch works nevertheless.
fn is_frozen(
    entry: &UpstreamPlan,
    registry_caches: &[RegistryCache],
    paused: &[&RegistryCache],
    unreadable: bool,
    facts: &Facts,
) -> bool {
    let mut owners = entry
        .caches
        .iter()
        .filter_map(|cache| facts.caches.get(&cache.name)?.owner.as_ref());
    let of_paused = owners.any(|owner| {
        let mut paused = paused.iter();
        paused.any(|one| one.metadata.name.as_ref() == Some(owner) && !resolve::is_stopped(one))
    });
    of_paused || unreadable && resolve::owner(&entry.host, registry_caches).is_none()
}

/// An upstream's entry; none while there is no cache to name.
fn entry(
    place: &Place,
    owner: &RegistryCache,
    upstream: &UpstreamSpec,
    facts: &Facts,
    now: Timestamp,
) -> Option<UpstreamPlan> {
    let host = &upstream.host;
    let engine = engine::of(resolve::engine(owner)).capabilities();
    let sites = owner.spec.regions.iter().filter_map(|region| {
        let name = resolve::site_name(owner, &region.name, host);
        let known = named(place, host, facts).find(|cache| cache.name == name);
        let cache = facts.caches.get(&name);
        let address = cache.and_then(|cache| cache.url.clone());
        let serves = |cache: &Cache| {
            let from = cache.serves_from.get(host);
            cache.available && (!engine.several_upstreams || from.is_some_and(|from| *from <= now))
        };
        // Once in, it stays through outages: the helpers see for themselves and ask upstream meanwhile.
        let url = match known {
            Some(known) => address.unwrap_or_else(|| known.url.clone()),
            None => address.filter(|_| cache.is_some_and(serves))?,
        };
        Some(CacheRef {
            name,
            url,
            region: region.name.clone(),
            ns: engine.ns,
            probe: engine.probe_blob && engine.node_table,
        })
    });
    let mut caches = rank(place, &sites.collect::<Vec<_>>());
    caches.extend(predecessors(place, owner, host, &caches, facts));
    (!caches.is_empty()).then(|| UpstreamPlan {
        host: host.clone(),
        server: resolve::upstream_url(upstream),
        mode: match resolve::nodes_mode(owner) {
            NodesMode::Observe => Mode::Observe,
            NodesMode::Enforce | NodesMode::Off => Mode::Enforce,
        },
        caches,
    })
}

/// The caches of another engine that the plan names, as long as they are needed: behind `successors`.
///
/// When the engine changes, the region's cache is another one. Until that serves, the old one stays whatever happens to
/// it, as any cache does. While the new one is tried by a share of the nodes, the old one stays for all others, if it is
/// well; one that is not would only hold up its successor. When the stable plan names the successor, it leaves.
fn predecessors(
    place: &Place,
    owner: &RegistryCache,
    host: &str,
    successors: &[CacheRef],
    facts: &Facts,
) -> Vec<CacheRef> {
    let own = |name: &str| owner.metadata.name.as_deref() == Some(name);
    let wanted = |name: &str| {
        let mut regions = owner.spec.regions.iter();
        regions.any(|region| resolve::site_name(owner, &region.name, host) == name)
    };
    let stable = facts.rollouts.get(place).map(|rollout| &rollout.file.stable);
    let stable = stable.and_then(|plan| plan.upstream(host));
    let is_followed =
        |successor: &CacheRef| stable.is_some_and(|entry| entry.caches.iter().any(|one| one.name == successor.name));
    if !owner.spec.regions.iter().any(|region| region.name == place.region) || successors.iter().any(is_followed) {
        return Vec::new();
    }
    let old = named(place, host, facts).filter_map(|known| {
        let cache = facts.caches.get(&known.name)?;
        let ours = cache.owner.as_deref().is_some_and(own) && !wanted(&known.name);
        let needed = successors.is_empty() || cache.available;
        (ours && needed).then(|| CacheRef {
            url: cache.url.clone().unwrap_or_else(|| known.url.clone()),
            ..known.clone()
        })
    });
    rank(place, &old.collect::<Vec<_>>())
}

/// The caches that the place's plan names for `host`, the canary's first.
fn named<'a>(place: &Place, host: &str, facts: &'a Facts) -> impl Iterator<Item = &'a CacheRef> {
    let entries = everything(place, facts).filter(move |entry| entry.host == host);
    entries.flat_map(|entry| &entry.caches)
}

/// All entries of the place's plan, the canary's first.
fn everything<'a>(place: &Place, facts: &'a Facts) -> impl Iterator<Item = &'a UpstreamPlan> {
    let file = facts.rollouts.get(place).map(|rollout| &rollout.file);
    let plans = file
        .into_iter()
        .flat_map(|file| file.canary.iter().chain([&file.stable]));
    plans.flat_map(|plan| &plan.upstreams)
}

#[cfg(test)]
mod tests;
