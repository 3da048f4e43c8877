//! Phase 1: everything that a run looks at.
//!
//! Nodes and helper pods, of which there may be thousands, come from the watches' stores when there are any. Plans are
//! always asked for: to advance a rollout from an old look at it would undo a step.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use regcache_api::RegistryCache;
use regcache_api::labels::{self, Component};

use crate::context::Ctx;
use crate::error::{Class, Classify};

/// Everything that a run looks at.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// All RegistryCaches that can be read.
    pub registry_caches: Vec<RegistryCache>,
    /// Whether there is one that cannot: then what it wants is not known, and nothing may go for want of an owner.
    pub unreadable: bool,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The caches' Services.
    pub services: Vec<Service>,
    /// The caches' configurations.
    pub configs: Vec<ConfigMap>,
    /// The caches' Deployments.
    pub deployments: Vec<Deployment>,
    /// The places' plans.
    pub plans: Vec<ConfigMap>,
    /// The helpers' DaemonSets.
    pub daemon_sets: Vec<DaemonSet>,
    /// The helpers.
    pub pods: Vec<Pod>,
}

/// What the watches keep up to date.
#[derive(Clone, Debug)]
pub struct Stores {
    /// All nodes, pruned.
    pub nodes: Store<Node>,
    /// The helpers, pruned.
    pub pods: Store<Pod>,
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

/// Looks at everything.
pub async fn gather(ctx: &Ctx, stores: Option<&Stores>) -> Result<Inputs, Error> {
    let (client, settings) = (&ctx.client, &ctx.settings);
    let everything = ListParams::default();
    let caches = ListParams::default().labels(&labels::selector(Component::Cache));
    let helpers = ListParams::default().labels(&labels::selector(Component::Node));

    let registry_caches: Api<DeserializeGuard<RegistryCache>> = Api::all(client.clone());
    let services: Api<Service> = Api::namespaced(client.clone(), &settings.namespace);
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &settings.namespace);
    let plans: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.nodes_namespace);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), &settings.nodes_namespace);

    let (registry_caches, services, configs, deployments, plans, daemon_sets) = tokio::try_join!(
        asked("registrycaches", registry_caches.list(&everything)),
        asked("services", services.list(&caches)),
        asked("configurations (configmaps)", configs.list(&caches)),
        asked("deployments", deployments.list(&caches)),
        asked("plans (configmaps)", plans.list(&helpers)),
        asked("daemonsets", daemon_sets.list(&helpers)),
    )?;
    let (nodes, pods) = if let Some(stores) = stores {
        (copies(&stores.nodes), copies(&stores.pods))
    } else {
        let nodes: Api<Node> = Api::all(client.clone());
        let pods: Api<Pod> = Api::namespaced(client.clone(), &settings.nodes_namespace);
        let (nodes, pods) = tokio::try_join!(
            asked("nodes", nodes.list(&everything)),
            asked("pods of helpers", pods.list(&helpers)),
        )?;
        (nodes.items, pods.items)
    };
    let all = registry_caches.items.len();
    let registry_caches: Vec<_> = registry_caches
        .items
        .into_iter()
        .filter_map(|guarded| guarded.0.ok())
        .collect();
    Ok(Inputs {
        unreadable: registry_caches.len() < all,
        registry_caches,
        nodes,
        services: services.items,
        configs: configs.items,
        deployments: deployments.items,
        plans: plans.items,
        daemon_sets: daemon_sets.items,
        pods,
    })
}

async fn asked<T>(what: &'static str, list: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    list.await.map_err(|source| Error { what, source })
}

fn copies<K>(store: &Store<K>) -> Vec<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| object.as_ref().clone()).collect()
}
