//! Names and labels of every child.
//!
//! Children have no ownerReference. With one, a deletion in the foreground (Argo CD's default) takes all of them in the
//! same second, finalizer or not, while nodes still use them. The finalizer removes them in an order that protects
//! pulls; were it taken off by force, they would stay and harm nobody.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regcache_api::labels::{self, Component};
use regcache_api::names;

use crate::cache::engine;
use crate::cache::validate::{Site, Upstream};

/// The labels of a site's children; also the Deployment's selector, which can never be changed: nothing goes in here
/// that may differ one day.
pub(in crate::cache) fn labels(site: &Site) -> BTreeMap<String, String> {
    let mut all = labels::base(Component::Cache);
    all.insert(labels::REGISTRY_CACHE.into(), site.registry_cache.clone());
    all.insert(labels::REGION.into(), site.region.clone());
    let (key, value) = distinction(site);
    all.insert(key.into(), value);
    all
}

/// The label that tells a site's children from those of the other sites of its region, with whatever engine: while one
/// follows another both are there.
pub(in crate::cache) fn distinction(site: &Site) -> (&'static str, String) {
    match only_upstream(site) {
        Some(upstream) => (labels::UPSTREAM, names::upstream_label(&upstream.host)),
        None => (labels::SITE, site.name.clone()),
    }
}

/// Metadata of a child of `site`.
pub(super) fn of(site: &Site, namespace: &str) -> ObjectMeta {
    let host = only_upstream(site).map(|upstream| (labels::UPSTREAM_HOST.to_owned(), upstream.host.clone()));
    ObjectMeta {
        name: Some(site.name.clone()),
        namespace: Some(namespace.into()),
        labels: Some(labels(site)),
        annotations: host.map(|host| [host].into()),
        ..Default::default()
    }
}

/// The upstream of a site that can have but one.
fn only_upstream(site: &Site) -> Option<&Upstream> {
    let several = engine::of(site.engine).capabilities().several_upstreams;
    site.upstreams.first().filter(|_| !several)
}
