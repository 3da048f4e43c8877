//! What wakes the controller: relevant changes of what it looks at, each told by a fingerprint.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeStatus, Pod, PodSpec, PodStatus, Service};
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, reflector};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt as _};
use regcache_api::RegistryCache;
use regcache_api::labels::{self, Component};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::gather::Stores;
use crate::context::Ctx;

/// Running watches. Dropped, they end; one that ends by itself ends the program.
pub struct Watches {
    /// The watches.
    pub tasks: JoinSet<()>,
    /// Told at every relevant change.
    pub changed: Arc<Notify>,
    /// Nodes and helpers as last seen.
    pub stores: Stores,
}

/// Starts watching.
pub fn start(ctx: &Ctx) -> Watches {
    let (client, settings) = (&ctx.client, &ctx.settings);
    let everything = watcher::Config::default();
    let caches = watcher::Config::default().labels(&labels::selector(Component::Cache));
    let helpers = watcher::Config::default().labels(&labels::selector(Component::Node));
    let (system, places) = (&settings.namespace, &settings.nodes_namespace);

    let registry_caches: Api<DeserializeGuard<RegistryCache>> = Api::all(client.clone());
    let services: Api<Service> = Api::namespaced(client.clone(), system);
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), system);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), system);
    let plans: Api<ConfigMap> = Api::namespaced(client.clone(), places);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), places);
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), places);

    let changed = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let told = || Arc::clone(&changed);
    tasks.spawn(follow(
        watch(registry_caches, everything.clone()),
        registry_cache,
        told(),
    ));
    tasks.spawn(follow(watch(services, caches.clone()), service, told()));
    tasks.spawn(follow(watch(configs, caches.clone()), config, told()));
    tasks.spawn(follow(watch(deployments, caches), deployment, told()));
    tasks.spawn(follow(watch(plans, helpers.clone()), plan, told()));
    tasks.spawn(follow(watch(daemon_sets, helpers.clone()), daemon_set, told()));
    let (node_store, writer) = reflector::store();
    let pruned = watch(nodes, everything).map(|event| event.map(|event| event.modify(prune_node)));
    tasks.spawn(follow(reflector(writer, pruned), node, told()));
    let (pod_store, writer) = reflector::store();
    let pruned = watch(pods, helpers).map(|event| event.map(|event| event.modify(prune_pod)));
    tasks.spawn(follow(reflector(writer, pruned), pod, told()));
    Watches {
        tasks,
        changed,
        stores: Stores {
            nodes: node_store,
            pods: pod_store,
        },
    }
}

fn watch<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).default_backoff()
}

/// Tells of every change of a fingerprint, and of what comes and goes.
async fn follow<K: Resource>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    fingerprint: fn(&K) -> u64,
    changed: Arc<Notify>,
) {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let relevant = match event {
            Ok(Event::Init) => {
                seen.clear();
                false
            }
            Ok(Event::InitApply(object)) => {
                seen.insert(object.name_any(), fingerprint(&object));
                false
            }
            Ok(Event::InitDone) => true,
            Ok(Event::Apply(object)) => {
                let now = fingerprint(&object);
                seen.insert(object.name_any(), now) != Some(now)
            }
            Ok(Event::Delete(object)) => {
                seen.remove(&object.name_any());
                true
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a watch failed, it starts again"
                );
                false
            }
        };
        if relevant {
            changed.notify_one();
        }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Its spec, its end, its annotations; never its status, which changes by our own doing.
fn registry_cache(object: &DeserializeGuard<RegistryCache>) -> u64 {
    let meta = object.meta();
    hash((
        meta.generation,
        meta.deletion_timestamp.is_some(),
        &meta.annotations,
        &meta.uid,
    ))
}

fn service(object: &Service) -> u64 {
    let address = object.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref());
    hash((address, object.metadata.deletion_timestamp.is_some()))
}

/// Which upstreams it names, and since when.
fn config(object: &ConfigMap) -> u64 {
    hash((
        object.annotations().get(labels::NAMED_SINCE),
        object.metadata.deletion_timestamp.is_some(),
    ))
}

fn deployment(object: &Deployment) -> u64 {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let available = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Available");
    hash((
        available.map(|condition| &condition.status),
        object.metadata.deletion_timestamp.is_some(),
    ))
}

fn plan(object: &ConfigMap) -> u64 {
    let meta = &object.metadata;
    hash((
        &object.data,
        &meta.annotations,
        &meta.labels,
        meta.deletion_timestamp.is_some(),
    ))
}

fn daemon_set(object: &DaemonSet) -> u64 {
    let meta = &object.metadata;
    hash((
        meta.generation,
        &meta.labels,
        &meta.annotations,
        meta.deletion_timestamp.is_some(),
    ))
}

fn node(object: &Node) -> u64 {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().map(|condition| &condition.status);
    hash((&object.metadata.labels, ready.collect::<Vec<_>>()))
}

fn pod(object: &Pod) -> u64 {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().map(|condition| &condition.status);
    let node = object.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    hash((
        &object.metadata.uid,
        node,
        object.metadata.deletion_timestamp.is_some(),
        ready.collect::<Vec<_>>(),
    ))
}

fn prune_node(node: &mut Node) {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
    node.spec = None;
    node.status = node.status.take().map(|mut status| NodeStatus {
        conditions: status.conditions.take().map(|mut all| {
            all.retain(|condition| condition.type_ == "Ready");
            all
        }),
        ..Default::default()
    });
}

fn prune_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        node_name: spec.node_name,
        ..Default::default()
    });
    pod.status = pod.status.take().map(|mut status| PodStatus {
        conditions: status.conditions.take().map(|mut all| {
            all.retain(|condition| condition.type_ == "Ready");
            all
        }),
        ..Default::default()
    });
}
