//! Names and labels of every child.
//!
//! Children have no ownerReference. With one, a deletion in the foreground (Argo CD's default) takes all of them in the
//! same second, finalizer or not, while nodes still use them. The finalizer removes them in an order that protects
//! pulls; were it taken off by force, they would stay and harm nobody.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regcache_api::labels::{self, Component};
use regcache_api::names;

use crate::cache::validate::Site;

/// The labels of a site's children; also the Deployment's selector, which can never be changed: nothing goes in here
/// that may differ one day.
pub(super) fn labels(site: &Site) -> BTreeMap<String, String> {
    let mut all = labels::base(Component::Cache);
    all.insert(labels::REGISTRY_CACHE.into(), site.registry_cache.clone());
    all.insert(labels::REGION.into(), site.region.clone());
    all.insert(labels::UPSTREAM.into(), names::upstream_label(&site.host));
    all
}

/// Metadata of a child of `site`.
pub(super) fn of(site: &Site, namespace: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(site.name.clone()),
        namespace: Some(namespace.into()),
        labels: Some(labels(site)),
        annotations: Some([(labels::UPSTREAM_HOST.to_owned(), site.host.clone())].into()),
        ..Default::default()
    }
}
