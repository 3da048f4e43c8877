//! Phase 1: everything that a run looks at, asked once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use kube::core::{DeserializeGuard, ObjectList, PartialObjectMeta};
use kube::{Resource, ResourceExt as _};
use regcache_api::RegistryCache;
use regcache_api::labels::{self, Component};
use regcache_mirror::plan::{PLAN_KEY, PlanFile};

use crate::context::Ctx;
use crate::error::{Class, Classify};

/// What the default StorageClass of a cluster is marked with.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Everything that a run looks at.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// All RegistryCaches that can be read: the oldest owns an upstream.
    pub all: Vec<RegistryCache>,
    /// Nodes by region; nodes without one are counted in `nodes` only.
    pub nodes_by_region: BTreeMap<String, usize>,
    /// Nodes in all. None at all is a sign of trouble: then nothing is removed.
    pub nodes: usize,
    /// Every StorageClass of the cluster.
    pub classes: Classes,
    /// This RegistryCache's children.
    pub children: Live,
    /// What the nodes are told and how far they are.
    pub rollout: Rollout,
}

/// Every StorageClass of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Their names.
    pub names: BTreeSet<String>,
    /// Whether one of them is the default.
    pub has_default: bool,
}

/// Children by name.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Services.
    pub services: BTreeMap<String, Service>,
    /// Configurations.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Volumes; they stay when a cache goes.
    pub volumes: BTreeMap<String, PersistentVolumeClaim>,
    /// Deployments.
    pub deployments: BTreeMap<String, Deployment>,
    /// Cache pods.
    pub pods: Vec<Pod>,
}

impl Live {
    /// The names of the sites that have a child which goes with the site.
    pub fn sites(&self) -> BTreeSet<&str> {
        self.metas().filter_map(|meta| meta.name.as_deref()).collect()
    }

    /// The regions that have such a child.
    pub fn regions(&self) -> BTreeSet<&str> {
        self.metas()
            .filter_map(|meta| meta.labels.as_ref()?.get(labels::REGION))
            .map(String::as_str)
            .collect()
    }

    fn metas(&self) -> impl Iterator<Item = &ObjectMeta> {
        let services = self.services.values().map(Resource::meta);
        let config_maps = self.config_maps.values().map(Resource::meta);
        let deployments = self.deployments.values().map(Resource::meta);
        services.chain(config_maps).chain(deployments)
    }
}

/// What the nodes are told and how far they are.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// The plans of all places.
    pub plans: Vec<LivePlan>,
    /// The helpers' DaemonSets.
    pub daemon_sets: Vec<DaemonSet>,
    /// The helpers' pods.
    pub helpers: Vec<ObjectMeta>,
}

/// A plan as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePlan {
    /// The name of its ConfigMap.
    pub name: String,
    /// The region of its nodes.
    pub region: Option<String>,
    /// Their zone.
    pub zone: Option<String>,
    /// Its content; nothing when it cannot be read, and then it may name anything.
    pub file: Option<PlanFile>,
    /// When its content last changed.
    pub changed_at: Option<Timestamp>,
}

impl From<&ConfigMap> for LivePlan {
    fn from(config_map: &ConfigMap) -> Self {
        let text = config_map.data.as_ref().and_then(|data| data.get(PLAN_KEY));
        let told = config_map.annotations().get(labels::CHANGED_AT);
        Self {
            name: config_map.name_any(),
            region: config_map.labels().get(labels::REGION).cloned(),
            zone: config_map.labels().get(labels::ZONE).cloned(),
            file: text.and_then(|text| serde_json::from_str(text).ok()),
            changed_at: told
                .and_then(|text| text.parse().ok())
                .or_else(|| config_map.creation_timestamp().map(|time| time.0)),
        }
    }
}

/// Something could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {what}")]
pub struct Error {
    what: &'static str,
    #[source]
    source: kube::Error,
}

impl Classify for Error {
    fn reason(&self) -> &'static str {
        self.source.reason()
    }

    fn class(&self) -> Class {
        self.source.class()
    }
}

/// Asks for everything that concerns the RegistryCache `name`.
pub async fn gather(name: &str, ctx: &Ctx) -> Result<Inputs, Error> {
    let (client, settings) = (&ctx.client, &ctx.settings);
    let everything = ListParams::default();
    let ours = ListParams::default().labels(&format!(
        "{},{}={name}",
        labels::selector(Component::Cache),
        labels::REGISTRY_CACHE
    ));
    let helpers = ListParams::default().labels(&labels::selector(Component::Node));
    let (caches, nodes_ns) = (&settings.namespace, &settings.nodes_namespace);

    let all: Api<DeserializeGuard<RegistryCache>> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    let classes: Api<StorageClass> = Api::all(client.clone());
    let services: Api<Service> = Api::namespaced(client.clone(), caches);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), caches);
    let volumes: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), caches);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), caches);
    let pods: Api<Pod> = Api::namespaced(client.clone(), caches);
    let plans: Api<ConfigMap> = Api::namespaced(client.clone(), nodes_ns);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), nodes_ns);
    let helper_pods: Api<Pod> = Api::namespaced(client.clone(), nodes_ns);

    let (all, nodes, classes) = tokio::try_join!(
        asked("registrycaches", all.list(&everything)),
        asked("nodes", nodes.list_metadata(&everything)),
        asked("storageclasses", classes.list_metadata(&everything)),
    )?;
    let (services, config_maps, volumes, deployments, pods) = tokio::try_join!(
        asked("services", services.list(&ours)),
        asked("configmaps", config_maps.list(&ours)),
        asked("persistentvolumeclaims", volumes.list(&ours)),
        asked("deployments", deployments.list(&ours)),
        asked("pods of caches", pods.list(&ours)),
    )?;
    let (plans, daemon_sets, helpers) = tokio::try_join!(
        asked("plans (configmaps)", plans.list(&helpers)),
        asked("daemonsets", daemon_sets.list(&helpers)),
        asked("pods of helpers", helper_pods.list_metadata(&helpers)),
    )?;

    Ok(Inputs {
        all: all.items.into_iter().filter_map(|guarded| guarded.0.ok()).collect(),
        nodes: nodes.items.len(),
        nodes_by_region: by_region(&nodes, &settings.region_label),
        classes: classes_of(&classes),
        children: Live {
            services: by_name(services),
            config_maps: by_name(config_maps),
            volumes: by_name(volumes),
            deployments: by_name(deployments),
            pods: pods.items,
        },
        rollout: Rollout {
            plans: plans.iter().map(LivePlan::from).collect(),
            daemon_sets: daemon_sets.items,
            helpers: helpers.items.into_iter().map(|pod| pod.metadata).collect(),
        },
    })
}

async fn asked<T>(what: &'static str, list: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    list.await.map_err(|source| Error { what, source })
}

fn by_name<K: Resource + Clone>(list: ObjectList<K>) -> BTreeMap<String, K> {
    list.items
        .into_iter()
        .map(|object| (object.meta().name.clone().unwrap_or_default(), object))
        .collect()
}

fn by_region(nodes: &ObjectList<PartialObjectMeta<Node>>, label: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for region in nodes.iter().filter_map(|node| node.labels().get(label)) {
        *counts.entry(region.clone()).or_default() += 1;
    }
    counts
}

fn classes_of(classes: &ObjectList<PartialObjectMeta<StorageClass>>) -> Classes {
    let is_default = |class: &PartialObjectMeta<StorageClass>| {
        class
            .annotations()
            .get(DEFAULT_CLASS)
            .is_some_and(|value| value == "true")
    };
    Classes {
        names: classes.iter().map(kube::ResourceExt::name_any).collect(),
        has_default: classes.iter().any(is_default),
    }
}
