//! The PersistentVolumeClaim: what is cached.
//!
//! It stays when its cache or the whole RegistryCache goes, and is taken up again by name. Filling it anew costs the
//! very traffic that the cache is there to save.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::meta;
use crate::cache::validate::Site;

pub(super) fn build(site: &Site, namespace: &str) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: meta::of(site, namespace),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: site.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(site.size.clone()))].into()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{labels_json, site};
    use serde_json::json;

    #[test]
    fn volume_leaves_the_default_class_to_the_cluster() {
        let expected = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "rc-upstream-example-here-0", "namespace": "caches",
                "labels": labels_json(),
                "annotations": {"regcache.dev/upstream-host": "upstream.example"},
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "fast",
                "resources": {"requests": {"storage": "7Gi"}},
            },
        });
        let mut site = site();
        assert_eq!(serde_json::to_value(build(&site, "caches")).unwrap(), expected);
        site.class = None;
        let volume = build(&site, "caches");
        assert!(volume.spec.unwrap().storage_class_name.is_none());
    }
}
