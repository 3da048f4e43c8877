//! The finalizer: set before the first child, removed after the last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMetaExt as _;
use regcache_api::RegistryCache;
use regcache_api::labels::FINALIZER;

use crate::context::{CACHE_MANAGER, Ctx};

/// True when `meta` has the finalizer.
pub fn is_set(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// Sets it, unless it is set.
pub async fn set(meta: &ObjectMeta, ctx: &Ctx) -> kube::Result<()> {
    if is_set(meta) {
        return Ok(());
    }
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.push(FINALIZER.to_owned());
    patch(meta, finalizers, ctx).await
}

/// Removes it; an object that is gone already is fine.
pub async fn remove(meta: &ObjectMeta, ctx: &Ctx) -> kube::Result<()> {
    if !is_set(meta) {
        return Ok(());
    }
    let finalizers = meta.finalizers.iter().flatten().filter(|name| *name != FINALIZER);
    match patch(meta, finalizers.cloned().collect(), ctx).await {
        Err(error) if crate::error::is_not_found(&error) => Ok(()),
        result => result,
    }
}

/// Replaces the list, only if nobody changed the object in between. By metadata alone, so that it works for an object
/// whose spec cannot be read.
async fn patch(meta: &ObjectMeta, finalizers: Vec<String>, ctx: &Ctx) -> kube::Result<()> {
    let api: Api<RegistryCache> = Api::all(ctx.client.clone());
    let patch = ObjectMeta {
        resource_version: meta.resource_version.clone(),
        finalizers: Some(finalizers),
        ..Default::default()
    };
    let params = PatchParams {
        field_manager: Some(CACHE_MANAGER.to_owned()),
        ..Default::default()
    };
    let name = meta.name.as_deref().unwrap_or_default();
    let patch = Patch::Merge(patch.into_request_partial::<RegistryCache>());
    api.patch_metadata(name, &params, &patch).await?;
    Ok(())
}
