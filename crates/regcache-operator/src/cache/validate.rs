//! Phase 2: what the spec means here: defaults resolved, regions and upstreams expanded to sites. Pure.

mod groups;
mod storage;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use regcache_api::conditions::reasons;
use regcache_api::{Engine, RegionSpec, RegistryCache, SitePhase, StorageSpec};

use self::groups::{Group, groups};
use super::gather::Inputs;
use crate::context::Settings;
use crate::resolve;

/// The size of a volume when nobody says.
const DEFAULT_SIZE: &str = "50Gi";

/// What the spec means in this cluster; the only input of `build`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validated {
    /// The caches that are to be.
    pub sites: Vec<Site>,
    /// Caches that are not made, and why.
    pub skipped: Vec<Skipped>,
    /// What a person has to put right.
    pub problems: Vec<Problem>,
}

/// One cache that is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The name of all its children.
    pub name: String,
    /// The RegistryCache that wants it.
    pub registry_cache: String,
    /// The region that it serves.
    pub region: String,
    /// The node label that names the region.
    pub region_label: String,
    /// The region has lost its last node.
    pub idle: bool,
    /// The registries that it caches; never empty, and one only when its engine serves but one.
    pub upstreams: Vec<Upstream>,
    /// Upstreams of the spec that it does not serve, and why.
    pub left_out: Option<String>,
    /// The program.
    pub engine: Engine,
    /// Its image.
    pub image: String,
    /// Its image's pull policy.
    pub image_pull_policy: String,
    /// Secrets that its image is pulled with.
    pub image_pull_secrets: Vec<String>,
    /// ConfigMap with authorities that it believes beside the public ones.
    pub upstream_ca: Option<String>,
    /// Its CPU and memory.
    pub resources: ResourceRequirements,
    /// The size of its volume.
    pub size: String,
    /// What its volume really holds, once there is one.
    pub capacity: Option<String>,
    /// The StorageClass of its volume; nothing: the cluster's default.
    pub class: Option<String>,
}

/// A registry that a cache caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// As image names spell it.
    pub host: String,
    /// Its own address.
    pub url: String,
}

/// A cache that is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The name that its children have or would have.
    pub name: String,
    /// The region.
    pub region: String,
    /// Its upstreams' hosts.
    pub hosts: Vec<String>,
    /// How it stands in the status.
    pub phase: SitePhase,
    /// Why.
    pub message: String,
    /// Children that exist stay: it is only that nothing can be done about them now.
    pub keep: bool,
}

/// What a person has to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A constant of `regcache_api::conditions::reasons`.
    pub reason: &'static str,
    /// The thing and the next step.
    pub message: String,
}

impl Validated {
    /// The names of the sites whose children must not be removed.
    pub fn wanted(&self) -> BTreeSet<&str> {
        let kept = self.skipped.iter().filter(|skipped| skipped.keep);
        let sites = self.sites.iter().map(|site| site.name.as_str());
        sites.chain(kept.map(|skipped| skipped.name.as_str())).collect()
    }
}

/// What `registry_cache` means in this cluster.
pub fn validate(registry_cache: &RegistryCache, inputs: &Inputs, settings: &Settings) -> Validated {
    let mut validated = Validated::default();
    let upstreams = once_each(
        &registry_cache.spec.upstreams,
        |upstream| &upstream.host,
        "spec.upstreams",
        &mut validated,
    );
    let regions = once_each(
        &registry_cache.spec.regions,
        |region| &region.name,
        "spec.regions",
        &mut validated,
    );
    let (groups, taken) = groups(registry_cache, &upstreams, inputs);
    validated.problems.extend(taken);
    for region in regions {
        for group in &groups {
            place(registry_cache, region, group, inputs, settings, &mut validated);
        }
    }
    validated
}

/// Decides what becomes of the cache of `group` in `region`.
fn place(
    registry_cache: &RegistryCache,
    region: &RegionSpec,
    group: &Group,
    inputs: &Inputs,
    settings: &Settings,
    validated: &mut Validated,
) {
    let nodes = inputs.nodes_by_region.get(&region.name).copied().unwrap_or_default();
    // Sticky: a region that lost its last node (a replacement, an outage) keeps its caches.
    let local = nodes > 0 || inputs.children.regions().contains(region.name.as_str());
    let skip = |phase, message, keep| Skipped {
        name: group.name(registry_cache, &region.name),
        region: region.name.clone(),
        hosts: group.hosts.clone(),
        phase,
        message,
        keep,
    };
    if let (true, Some(message)) = (group.free.is_empty(), &group.taken) {
        let skipped = skip(SitePhase::UpstreamTaken, message.clone(), false);
        validated.skipped.push(skipped);
        return;
    }
    if !local {
        let label = &settings.region_label;
        let message = format!("no node of this cluster has the label {label}={}", region.name);
        validated.skipped.push(skip(SitePhase::NotLocal, message, false));
        return;
    }
    let mut site = site(registry_cache, region, group, settings);
    site.idle = nodes == 0;
    let volume = inputs.children.volumes.get(&site.name);
    site.capacity = volume
        .and_then(|volume| volume.status.as_ref()?.capacity.as_ref()?.get("storage"))
        .map(|quantity| quantity.0.clone());
    let problem = storage::problem(&site, volume, inputs);
    match (&problem, volume.and_then(|volume| volume.spec.as_ref())) {
        (None, _) => validated.sites.push(site),
        // A cache that has a volume already goes on with it.
        (Some(problem), Some(volume)) if problem.reason == reasons::STORAGE_CLASS_NOT_FOUND => {
            site.class.clone_from(&volume.storage_class_name);
            validated.sites.push(site);
        }
        (Some(problem), _) => {
            let skipped = skip(SitePhase::Pending, problem.message.clone(), true);
            validated.skipped.push(skipped);
        }
    }
    if let Some(problem) = problem.filter(|problem| !validated.problems.contains(problem)) {
        validated.problems.push(problem);
    }
}

/// The elements of a list without the repetitions, which the API server should have refused.
fn once_each<'a, T>(list: &'a [T], key: impl Fn(&T) -> &String, field: &str, validated: &mut Validated) -> Vec<&'a T> {
    let mut seen = BTreeSet::new();
    let mut once = Vec::new();
    for element in list {
        if seen.insert(key(element).clone()) {
            once.push(element);
        } else {
            validated.problems.push(Problem {
                reason: reasons::INVALID_SPEC,
                message: format!("{field} names {} twice: remove one", key(element)),
            });
        }
    }
    once
}

fn site(registry_cache: &RegistryCache, region: &RegionSpec, group: &Group, settings: &Settings) -> Site {
    let cache = registry_cache.spec.cache.clone().unwrap_or_default();
    let engine = resolve::engine(registry_cache);
    let default_image = match engine {
        Engine::Builtin => &settings.image,
        Engine::Distribution => &settings.distribution_image,
    };
    let storage = |pick: fn(&StorageSpec) -> &Option<String>| {
        let here = region.storage.as_ref().and_then(|storage| pick(storage).clone());
        here.or_else(|| cache.storage.as_ref().and_then(|storage| pick(storage).clone()))
    };
    Site {
        name: group.name(registry_cache, &region.name),
        registry_cache: registry_cache.name_any(),
        region: region.name.clone(),
        region_label: settings.region_label.clone(),
        idle: false,
        upstreams: group.free.clone(),
        left_out: group.taken.clone(),
        engine,
        image: cache.image.clone().unwrap_or_else(|| default_image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        image_pull_secrets: settings.image_pull_secrets.clone(),
        upstream_ca: settings.upstream_ca.clone(),
        resources: cache.resources.clone().unwrap_or_else(default_resources),
        size: storage(|storage| &storage.size).unwrap_or_else(|| DEFAULT_SIZE.into()),
        capacity: None,
        class: storage(|storage| &storage.storage_class_name),
    }
}

fn default_resources() -> ResourceRequirements {
    let requests = [("cpu", "50m"), ("memory", "128Mi")];
    ResourceRequirements {
        requests: Some(
            requests
                .map(|(name, amount)| (name.into(), Quantity(amount.into())))
                .into(),
        ),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
