//! When a cache may go, and its end: only after every node has let go of it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Api;

use super::gather::{Live, Rollout};
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
/// No plan may name it, in any place, stable or canary. And the helpers must have read the plans as they are now: they
/// report nothing yet, so either no helper runs, or every plan has been as it is for `grace`.
pub fn of(name: &str, rollout: &Rollout, grace: Duration, now: Timestamp) -> Withdrawal {
    let names_it = |plan: &&super::gather::LivePlan| match &plan.file {
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
    let after = |time: Timestamp| time.saturating_add(grace).unwrap_or(Timestamp::MAX);
    // A helper withdraws when it is told to end; what is still there after the grace is on a node that is gone.
    let ending = rollout
        .helpers
        .iter()
        .map(|helper| helper.deletion_timestamp.as_ref().map(|time| after(time.0)));
    let helpers: Vec<_> = ending.filter(|end| end.is_none_or(|end| end > now)).collect();
    if helpers.is_empty() {
        return Withdrawal::Done;
    }
    let until = match rollout.plans.iter().map(|plan| plan.changed_at.map(after)).max() {
        // No plan left, but helpers: they are ending.
        None => helpers.into_iter().flatten().max(),
        Some(latest) => latest,
    };
    match until {
        Some(until) if until <= now && !rollout.plans.is_empty() => Withdrawal::Done,
        until => Withdrawal::Waiting {
            message: format!("nodes are letting go of cache {name}"),
            until,
        },
    }
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
