//! Writes the status when it changed, and tells of transitions by an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource as _};
use regcache_api::conditions::{self, READY, STALLED, reasons};
use regcache_api::{RegistryCache, RegistryCacheStatus};
use serde::Serialize;

use super::Computed;
use crate::context::{Ctx, STATUS_MANAGER};
use crate::events::Note;

/// What is applied: nothing but the status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    status: &'a RegistryCacheStatus,
}

/// Writes `new` unless it is `old`. An object that is gone is fine.
pub async fn write(
    meta: &ObjectMeta,
    old: Option<&RegistryCacheStatus>,
    new: &Computed,
    ctx: &Ctx,
) -> kube::Result<()> {
    let Computed { status, reason } = new;
    if old == Some(status) {
        return Ok(());
    }
    let name = meta.name.clone().unwrap_or_default();
    let patch = StatusPatch {
        api_version: RegistryCache::api_version(&()).into(),
        kind: RegistryCache::kind(&()).into(),
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..Default::default()
        },
        status,
    };
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match dynamic(ctx).patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => {}
        Err(error) if crate::error::is_not_found(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    if let Some(note) = transition(old.map(|old| &*old.conditions), &status.conditions, reason) {
        tracing::info!(registry_cache = name, reason = note.reason, "{}", note.text);
        ctx.events.publish(&reference(meta), note).await;
    }
    Ok(())
}

/// The status as it is stored, of an object whose spec may be unreadable.
pub async fn stored(name: &str, ctx: &Ctx) -> kube::Result<Option<RegistryCacheStatus>> {
    let object = dynamic(ctx).get(name).await?;
    let status = object.data.get("status").cloned();
    Ok(status.and_then(|status| serde_json::from_value(status).ok()))
}

fn dynamic(ctx: &Ctx) -> Api<DynamicObject> {
    Api::all_with(ctx.client.clone(), &ApiResource::erase::<RegistryCache>(&()))
}

fn reference(meta: &ObjectMeta) -> k8s_openapi::api::core::v1::ObjectReference {
    k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(RegistryCache::api_version(&()).into()),
        kind: Some(RegistryCache::kind(&()).into()),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        ..Default::default()
    }
}

/// What is told when Ready changed its value or its reason.
fn transition(old: Option<&[Condition]>, new: &[Condition], reason: &'static str) -> Option<Note> {
    let ready = conditions::get(new, READY)?;
    if let Some(before) = old.and_then(|old| conditions::get(old, READY))
        && (&before.status, &before.reason) == (&ready.status, &ready.reason)
    {
        return None;
    }
    let stalled = conditions::get(new, STALLED).is_some_and(|stalled| stalled.status == "True");
    let on_its_way = [
        reasons::CACHES_PROGRESSING,
        reasons::NODES_PROGRESSING,
        reasons::ROLLING_OUT,
        reasons::VOLUME_PENDING,
        reasons::WITHDRAWING,
    ];
    Some(Note {
        warning: stalled || ready.status != "True" && !on_its_way.contains(&reason),
        reason,
        action: "Reconcile",
        text: ready.message.clone(),
    })
}
