//! When a cache may go, and its end: only after every node has let go of it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use regcache_api::labels;

use super::gather::{Live, LivePlan, Rollout};
use crate::apply::{self, delete};
use crate::context::Ctx;

/// Whether a cache may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// No node uses it.
    Done,
    /// Nodes may use it still.
    Waiting {
        /// For what.
        message: String,
        /// When to look again, if no watch tells.
        until: Option<Timestamp>,
    },
}

/// Whether the cache `name` may go.
///
/// No plan may name it, in any place, stable or canary. And every helper must have read its plan as it is now: helpers
/// report nothing yet, so their plan must have been as it is for `grace`, or they must be gone.
pub fn of(name: &str, rollout: &Rollout, grace: Duration, now: Timestamp) -> Withdrawal {
    let names_it = |plan: &&LivePlan| match &plan.file {
        Some(file) => file.caches().any(|cache| cache.name == name),
        // Unreadable for us, but perhaps not for a helper of another version.
        None => true,
    };
    if let Some(plan) = rollout.plans.iter().find(names_it) {
        let message = match plan.file {
            Some(_) => format!("plan {} still names cache {name}", plan.name),
            None => format!(
                "plan {} cannot be read: delete the ConfigMap, it is made anew",
                plan.name
            ),
        };
        return Withdrawal::Waiting { message, until: None };
    }
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    let waits = rollout
        .helpers
        .iter()
        .map(|helper| lets_go(helper, &rollout.plans, grace));
    let waits: Vec<_> = waits.filter(|end| end.is_none_or(|end| end > now)).collect();
    if waits.is_empty() {
        return Withdrawal::Done;
    }
    Withdrawal::Waiting {
        message: format!("nodes are letting go of cache {name}"),
        until: waits.into_iter().flatten().max(),
    }
}

/// When `helper` has surely let go of whatever its plan does not name; nothing: only its end will tell.
fn lets_go(helper: &ObjectMeta, plans: &[LivePlan], grace: SignedDuration) -> Option<Timestamp> {
    let label = |key: &str| helper.labels.as_ref()?.get(key).cloned();
    let (region, zone) = (label(labels::REGION), label(labels::ZONE));
    let plan = plans.iter().find(|plan| (&plan.region, &plan.zone) == (&region, &zone));
    let ended = helper.deletion_timestamp.as_ref().map(|time| time.0);
    // A helper withdraws when it is told to end; one that is there long after that is on a node that is gone. One
    // whose plan is gone goes on with what it read last.
    let since = match (plan.and_then(|plan| plan.changed_at), ended) {
        (Some(changed), Some(ended)) => changed.min(ended),
        (changed, ended) => changed.or(ended)?,
    };
    Some(since.saturating_add(grace).unwrap_or(Timestamp::MAX))
}

/// What a removal left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// For what the first cache waits.
    pub message: Option<String>,
    /// When to look again, if no watch tells.
    pub until: Option<Timestamp>,
}

/// Removes every site of `live` that is not in `wanted` and that no node uses any more. Volumes stay.
pub async fn remove(
    live: &Live,
    wanted: &BTreeSet<&str>,
    rollout: &Rollout,
    ctx: &Ctx,
) -> Result<Waiting, apply::Error> {
    let mut waiting = Waiting::default();
    for name in live.sites().difference(wanted) {
        match of(name, rollout, ctx.settings.withdraw_grace, ctx.now()) {
            Withdrawal::Done => remove_site(name, live, ctx).await?,
            Withdrawal::Waiting { message, until } => {
                waiting.message.get_or_insert(message);
                waiting.until = match (waiting.until, until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    Ok(waiting)
}

/// The Deployment first, so that it drains while its address still works.
async fn remove_site(name: &str, live: &Live, ctx: &Ctx) -> Result<(), apply::Error> {
    let namespace = &ctx.settings.namespace;
    if let Some(deployment) = live.deployments.get(name) {
        delete(&Api::namespaced(ctx.client.clone(), namespace), deployment).await?;
    }
    if let Some(service) = live.services.get(name) {
        delete(&Api::namespaced(ctx.client.clone(), namespace), service).await?;
    }
    if let Some(config_map) = live.config_maps.get(name) {
        delete(&Api::namespaced(ctx.client.clone(), namespace), config_map).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
