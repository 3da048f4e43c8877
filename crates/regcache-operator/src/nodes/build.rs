//! Phase 5, pure: the objects of a place.

pub mod daemon_set;
pub mod plan;
pub mod pod;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regcache_api::labels::{self, Component};
use regcache_api::names;
use regcache_mirror::rank::Place;

use super::validate::PLACE;
use crate::context::Settings;

/// The name of the plan and the DaemonSet of `place`.
pub fn name(place: &Place) -> String {
    names::place(&place.region, zone(place))
}

fn zone(place: &Place) -> Option<&str> {
    (!place.zone.is_empty()).then_some(place.zone.as_str())
}

/// Labels of everything of `place`, its pods included.
fn labels_of(place: &Place) -> BTreeMap<String, String> {
    let mut all = labels::base(Component::Node);
    all.insert(PLACE.into(), name(place));
    all.insert(labels::REGION.into(), place.region.clone());
    all.extend(zone(place).map(|zone| (labels::ZONE.to_owned(), zone.to_owned())));
    all
}

fn metadata(place: &Place, settings: &Settings) -> ObjectMeta {
    ObjectMeta {
        name: Some(name(place)),
        namespace: Some(settings.nodes_namespace.clone()),
        labels: Some(labels_of(place)),
        ..Default::default()
    }
}
