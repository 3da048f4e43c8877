//! The CustomResourceDefinition as it is applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use crate::conditions::{READY, reasons};
use crate::registry_cache::RegistryCache;

/// The CRD of [`RegistryCache`].
///
/// Beyond what is derived it says `Ready=Unknown` from the first moment on: a tool that asks before the operator has
/// looked must not take an object without conditions for a healthy one (kstatus does).
pub fn registry_cache() -> CustomResourceDefinition {
    let mut crd = RegistryCache::crd();
    for version in &mut crd.spec.versions {
        if let Some(status) = status_schema(version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut())) {
            status.default = Some(JSON(json!({
                "conditions": [{
                    "type": READY,
                    "status": "Unknown",
                    "reason": reasons::PENDING,
                    "message": "the operator has not looked at this object yet: is it running?",
                    "lastTransitionTime": "1970-01-01T00:00:00Z",
                }]
            })));
        }
    }
    crd
}

fn status_schema(root: Option<&mut JSONSchemaProps>) -> Option<&mut JSONSchemaProps> {
    root?.properties.as_mut()?.get_mut("status")
}
