//! Phase 2, pure: Kubernetes objects into the few facts that plans are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use kube::{Resource, ResourceExt};
use regcache_api::labels;
use regcache_mirror::plan::PLAN_KEY;
use regcache_mirror::rank::Place;

use super::gather::Inputs;
use super::rollout::{Helper, Rollout};
use crate::cache::engine::PORT;
use crate::context::Settings;
use crate::named_since;

/// Label of a helper: the name of its place. It alone tells the places' helpers apart.
pub const PLACE: &str = "regcache.dev/place";
/// Annotation of a plan: since when its canary has been tried by the present share of nodes, RFC 3339.
pub const CANARY_SINCE: &str = "regcache.dev/canary-since";
/// Annotation of a plan: when its canary was taken back, RFC 3339.
pub const CANARY_FAILED_AT: &str = "regcache.dev/canary-failed-at";

/// A cache as far as plans are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Where nodes reach it.
    pub url: Option<String>,
    /// Whether it serves.
    pub available: bool,
    /// The RegistryCache that it belongs to.
    pub owner: Option<String>,
    /// Of a cache of several upstreams: from when on it has surely read that it serves each of them.
    pub serves_from: BTreeMap<String, Timestamp>,
}

/// What the cluster is, in a run's eyes.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Places that have nodes.
    pub populated: BTreeSet<Place>,
    /// Places that have a plan, and how far it is.
    pub rollouts: BTreeMap<Place, Rollout>,
    /// Places that have a DaemonSet.
    pub staffed: BTreeSet<Place>,
    /// Caches by name.
    pub caches: BTreeMap<String, Cache>,
    /// Helpers by the name of their place.
    pub helpers: BTreeMap<String, Vec<Helper>>,
}

/// Reads the facts.
pub fn validate(inputs: &Inputs, settings: &Settings) -> Facts {
    let usable = inputs.nodes.iter().filter(|node| is_usable(node));
    let ready: BTreeSet<String> = inputs
        .nodes
        .iter()
        .filter(|node| is_ready(node))
        .map(ResourceExt::name_any)
        .collect();
    let mut helpers: BTreeMap<String, Vec<Helper>> = BTreeMap::new();
    for pod in &inputs.pods {
        if let (Some(place), Some(helper)) = (pod.labels().get(PLACE), helper(pod, &ready)) {
            helpers.entry(place.clone()).or_default().push(helper);
        }
    }
    Facts {
        populated: usable.filter_map(|node| place_of_node(node, settings)).collect(),
        rollouts: inputs
            .plans
            .iter()
            .filter_map(|plan| Some((place_of_child(plan)?, rollout(plan))))
            .collect(),
        staffed: inputs.daemon_sets.iter().filter_map(place_of_child).collect(),
        caches: caches(inputs, settings),
        helpers,
    }
}

/// Linux, and a real node: virtual kubelets have no containerd.
fn is_usable(node: &Node) -> bool {
    let label = |key: &str| node.labels().get(key).map(String::as_str);
    label("kubernetes.io/os") == Some("linux") && label("type") != Some("virtual-kubelet")
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn place_of_node(node: &Node, settings: &Settings) -> Option<Place> {
    let label = |key: &str| node.labels().get(key).filter(|value| !value.is_empty()).cloned();
    Some(Place {
        region: label(&settings.region_label)?,
        zone: label(&settings.zone_label).unwrap_or_default(),
    })
}

fn place_of_child<K: kube::Resource>(child: &K) -> Option<Place> {
    Some(Place {
        region: child.labels().get(labels::REGION)?.clone(),
        zone: child.labels().get(labels::ZONE).cloned().unwrap_or_default(),
    })
}

/// A plan that nobody can read counts as empty: its helpers cannot read it either.
fn rollout(plan: &ConfigMap) -> Rollout {
    let text = plan.data.as_ref().and_then(|data| data.get(PLAN_KEY));
    let file = text.and_then(|text| match serde_json::from_str(text) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(plan = plan.name_any(), %error, "the plan cannot be read: it is made anew");
            None
        }
    });
    let time = |key: &str| {
        plan.annotations()
            .get(key)
            .and_then(|text| text.parse::<Timestamp>().ok())
    };
    Rollout {
        file: file.unwrap_or_default(),
        changed_at: time(labels::CHANGED_AT),
        canary_since: time(CANARY_SINCE),
        failed_at: time(CANARY_FAILED_AT),
    }
}

fn helper(pod: &Pod, ready_nodes: &BTreeSet<String>) -> Option<Helper> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let condition = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    let since = condition.and_then(|condition| condition.last_transition_time.clone());
    Some(Helper {
        node_ready: ready_nodes.contains(&node),
        node,
        // One that ends is replaced: it says nothing about the plan.
        leaving: pod.metadata.deletion_timestamp.is_some(),
        ready: condition.is_some_and(|condition| condition.status == "True"),
        since: since.or_else(|| pod.creation_timestamp()).map(|time| time.0),
    })
}

fn caches(inputs: &Inputs, settings: &Settings) -> BTreeMap<String, Cache> {
    let mut caches: BTreeMap<String, Cache> = BTreeMap::new();
    for service in there(&inputs.services) {
        let cache = caches.entry(service.name_any()).or_default();
        cache.url = url(service);
        cache.owner = service.labels().get(labels::REGISTRY_CACHE).cloned();
    }
    for deployment in there(&inputs.deployments) {
        let cache = caches.entry(deployment.name_any()).or_default();
        cache.available = is_available(deployment);
        let owner = deployment.labels().get(labels::REGISTRY_CACHE);
        cache.owner = cache.owner.take().or_else(|| owner.cloned());
    }
    for config in there(&inputs.configs) {
        let named = named_since::read(config).into_iter();
        let from = named.map(|(host, since)| (host, read_by(since, settings.withdraw_grace)));
        caches.entry(config.name_any()).or_default().serves_from = from.collect();
    }
    caches
}

/// Those that are not being deleted.
fn there<K: Resource>(list: &[K]) -> impl Iterator<Item = &K> {
    list.iter().filter(|one| one.meta().deletion_timestamp.is_none())
}

/// When what a ConfigMap says `since` then has surely been read.
fn read_by(since: Option<Timestamp>, grace: Duration) -> Timestamp {
    since.map_or(Timestamp::MIN, |since| {
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        since.saturating_add(grace).unwrap_or(Timestamp::MAX)
    })
}

fn url(service: &Service) -> Option<String> {
    let address = service.spec.as_ref()?.cluster_ip.as_deref()?;
    match address {
        "" | "None" => None,
        address if address.contains(':') => Some(format!("http://[{address}]:{PORT}")),
        address => Some(format!("http://{address}:{PORT}")),
    }
}

fn is_available(deployment: &Deployment) -> bool {
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Available" && condition.status == "True")
}
