//! What wakes the cache controller.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Service};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt as _};
use regcache_api::RegistryCache;
use regcache_api::labels::{self, Component};

use crate::changes;
use crate::context::Ctx;

/// The main object: one that cannot be read must not stop the watch of the others.
type Main = DeserializeGuard<RegistryCache>;

/// RegistryCaches that are reconciled at the same time.
const CONCURRENCY: u16 = 4;
/// Changes that come together make one run.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// A controller that watches everything that a run looks at.
///
/// Only every StorageClass is missing, for which a run comes back by itself. RegistryCaches are watched without any filter:
/// one for the generation alone would lose deletions and kill switches.
pub(super) fn controller(ctx: &Ctx) -> Controller<Main> {
    let client = || ctx.client.clone();
    let settings = &ctx.settings;
    let caches = || watcher::Config::default().labels(&labels::selector(Component::Cache));
    let helpers = || watcher::Config::default().labels(&labels::selector(Component::Node));
    let (ours, theirs) = (&settings.namespace, &settings.nodes_namespace);
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client());
    let plans: Api<ConfigMap> = Api::namespaced(client(), theirs);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client(), theirs);
    let helper_pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client(), theirs);
    let others: Api<PartialObjectMeta<RegistryCache>> = Api::all(client());
    let region_label = settings.region_label.clone();
    Controller::new(Api::<Main>::all(client()), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        // By label and not by owner: volumes have none, and pods have another.
        .watches(Api::<Service>::namespaced(client(), ours), caches(), of_label)
        .watches(Api::<ConfigMap>::namespaced(client(), ours), caches(), of_label)
        .watches(
            Api::<PersistentVolumeClaim>::namespaced(client(), ours),
            caches(),
            of_label,
        )
        .watches(Api::<Deployment>::namespaced(client(), ours), caches(), of_label)
        .watches(Api::<Pod>::namespaced(client(), ours), caches(), of_label)
        // What follows may concern any RegistryCache.
        .reconcile_all_on(changes::of(nodes, watcher::Config::default(), move |node| {
            node.labels().get(&region_label).cloned()
        }))
        .reconcile_all_on(changes::of(plans, helpers(), |plan| {
            plan.metadata.resource_version.clone()
        }))
        .reconcile_all_on(changes::of(daemon_sets, helpers(), |set| {
            set.metadata.resource_version.clone()
        }))
        .reconcile_all_on(changes::of(helper_pods, helpers(), |pod| {
            pod.metadata.deletion_timestamp.is_some()
        }))
        // An upstream is free when its owner drops it or goes.
        .reconcile_all_on(changes::of(others, watcher::Config::default(), |other| {
            (other.metadata.generation, other.metadata.deletion_timestamp.is_some())
        }))
}

/// The RegistryCache that a child belongs to.
#[expect(clippy::needless_pass_by_value, reason = "the mapper's signature")]
fn of_label<K: Resource>(child: K) -> Option<ObjectRef<Main>> {
    let name = child.labels().get(labels::REGISTRY_CACHE)?;
    Some(ObjectRef::new(name))
}
