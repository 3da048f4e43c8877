//! Phase 2: what the spec means here: defaults resolved, regions and upstreams expanded to sites. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use regcache_api::conditions::reasons;
use regcache_api::{Engine, RegionSpec, RegistryCache, SitePhase, StorageSpec, UpstreamSpec, names};

use super::gather::Inputs;
use crate::apply::drift::quantity;
use crate::context::Settings;
use crate::resolve;

/// The size of a volume when nobody says.
const DEFAULT_SIZE: &str = "50Gi";

/// What the spec means in this cluster; the only input of `build`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validated {
    /// The caches that are to be.
    pub sites: Vec<Site>,
    /// Pairs of region and upstream that get none, in the order of the spec, and why.
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
    /// The registry that it caches, as image names spell it.
    pub host: String,
    /// The registry's own address.
    pub url: String,
    /// The program.
    pub engine: Engine,
    /// Its image.
    pub image: String,
    /// Its image's pull policy.
    pub image_pull_policy: String,
    /// Its CPU and memory.
    pub resources: ResourceRequirements,
    /// The size of its volume.
    pub size: String,
    /// The StorageClass of its volume; nothing: the cluster's default.
    pub class: Option<String>,
}

/// A pair of region and upstream without a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The name that its children have or would have.
    pub name: String,
    /// The region.
    pub region: String,
    /// The upstream's host.
    pub host: String,
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
    let upstreams: Vec<_> = upstreams
        .into_iter()
        .map(|upstream| (upstream, taken_by(registry_cache, upstream, inputs, &mut validated)))
        .collect();
    for region in regions {
        let nodes = inputs.nodes_by_region.get(&region.name).copied().unwrap_or_default();
        // Sticky: a region that lost its last node (a replacement, an outage) keeps its caches.
        let local = nodes > 0 || inputs.children.regions().contains(region.name.as_str());
        for (upstream, taken) in &upstreams {
            let skip = |phase, message, keep| Skipped {
                name: names::site(&registry_cache.name_any(), &region.name, &upstream.host),
                region: region.name.clone(),
                host: upstream.host.clone(),
                phase,
                message,
                keep,
            };
            if let Some(message) = taken {
                let skipped = skip(SitePhase::UpstreamTaken, message.clone(), false);
                validated.skipped.push(skipped);
            } else if !local {
                let label = &settings.region_label;
                let message = format!("no node of this cluster has the label {label}={}", region.name);
                validated.skipped.push(skip(SitePhase::NotLocal, message, false));
            } else {
                let mut site = site(registry_cache, region, upstream, nodes == 0, settings);
                let volume = inputs.children.volumes.get(&site.name);
                let problem = storage_problem(&site, volume, inputs);
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
        }
    }
    validated
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

/// Says who else serves `upstream`, if somebody does.
fn taken_by(
    registry_cache: &RegistryCache,
    upstream: &UpstreamSpec,
    inputs: &Inputs,
    validated: &mut Validated,
) -> Option<String> {
    let owner = resolve::owner(&upstream.host, inputs.all.iter().chain([registry_cache]))?;
    // By name: what the list shows of this object may be newer or older than the object in hand.
    if owner.name_any() == registry_cache.name_any() {
        return None;
    }
    let (host, owner) = (&upstream.host, owner.name_any());
    let message =
        format!("{host} is served by the older RegistryCache {owner}: remove {host} from spec.upstreams here or there");
    validated.problems.push(Problem {
        reason: reasons::UPSTREAM_TAKEN,
        message: message.clone(),
    });
    Some(message)
}

fn site(
    registry_cache: &RegistryCache,
    region: &RegionSpec,
    upstream: &UpstreamSpec,
    idle: bool,
    settings: &Settings,
) -> Site {
    let cache = registry_cache.spec.cache.clone().unwrap_or_default();
    let engine = cache.engine.unwrap_or_default();
    let default_image = match engine {
        Engine::Distribution => &settings.distribution_image,
    };
    let storage = |pick: fn(&StorageSpec) -> &Option<String>| {
        let here = region.storage.as_ref().and_then(|storage| pick(storage).clone());
        here.or_else(|| cache.storage.as_ref().and_then(|storage| pick(storage).clone()))
    };
    Site {
        name: names::site(&registry_cache.name_any(), &region.name, &upstream.host),
        registry_cache: registry_cache.name_any(),
        region: region.name.clone(),
        region_label: settings.region_label.clone(),
        idle,
        host: upstream.host.clone(),
        url: resolve::upstream_url(upstream),
        engine,
        image: cache.image.clone().unwrap_or_else(|| default_image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        resources: cache.resources.clone().unwrap_or_else(default_resources),
        size: storage(|storage| &storage.size).unwrap_or_else(|| DEFAULT_SIZE.into()),
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

/// Why no volume can be had for `site`.
///
/// A claim is not made before its class exists: the class of a claim cannot be changed, so a mistyped one would have to
/// be deleted by hand. A claim that has its class already is left to Kubernetes.
fn storage_problem(site: &Site, volume: Option<&PersistentVolumeClaim>, inputs: &Inputs) -> Option<Problem> {
    if quantity(&site.size).is_none_or(|size| size <= 0) {
        return Some(Problem {
            reason: reasons::INVALID_SPEC,
            message: format!(
                "the storage size {:?} of region {} is no quantity greater than zero: write for example 50Gi",
                site.size, site.region
            ),
        });
    }
    let has_class = |class: &str| {
        volume
            .and_then(|volume| volume.spec.as_ref()?.storage_class_name.as_deref())
            .is_some_and(|has| has == class)
    };
    let message = match &site.class {
        Some(class) if !inputs.classes.names.contains(class) && !has_class(class) => format!(
            "StorageClass {class} (for region {}) does not exist: create it, or name another one in \
             spec.cache.storage.storageClassName; see kubectl get storageclass",
            site.region
        ),
        None if !inputs.classes.has_default && volume.is_none() => format!(
            "the cluster has no default StorageClass (for region {}): name one in \
             spec.cache.storage.storageClassName; see kubectl get storageclass",
            site.region
        ),
        _ => return None,
    };
    Some(Problem {
        reason: reasons::STORAGE_CLASS_NOT_FOUND,
        message,
    })
}

#[cfg(test)]
mod tests;
