//! Whether a volume can be had.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use regcache_api::conditions::reasons;

use super::{Problem, Site};
use crate::apply::drift::quantity;
use crate::cache::gather::Inputs;

impl Site {
    /// The bytes of its volume: as many as the spec asks for, and no more than are there.
    ///
    /// A volume that cannot be made smaller, or not yet be made larger, is used as if it were, or is what it is.
    pub fn volume_bytes(&self) -> i128 {
        let bytes = |text: &str| quantity(text).map(|thousandths| thousandths / 1000);
        let asked = bytes(&self.size);
        let there = self.capacity.as_deref().and_then(bytes);
        asked.into_iter().chain(there).min().unwrap_or_default()
    }
}

/// Why no volume can be had for `site`.
///
/// A claim is not made before its class exists: the class of a claim cannot be changed, so a mistyped one would have to
/// be deleted by hand. A claim that has its class already is left to Kubernetes.
pub(super) fn problem(site: &Site, volume: Option<&PersistentVolumeClaim>, inputs: &Inputs) -> Option<Problem> {
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
