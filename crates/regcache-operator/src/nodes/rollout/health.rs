//! Whether a plan that is being tried does harm.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use regcache_mirror::plan::Plan;

use super::Rollout;
use crate::nodes::validate::Cache;

/// How long a helper may be not ready before its plan is blamed: kubelets restart helpers, and helpers start.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its node.
    pub node: String,
    /// Whether the node itself works; what runs on one that does not says nothing.
    pub node_ready: bool,
    /// Whether it is ending.
    pub leaving: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Since when it is (not) ready.
    pub since: Option<Timestamp>,
}

/// How a place takes its canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Good,
    /// It cannot be said yet.
    Waiting(String),
    /// Badly.
    Bad(String),
}

/// Judges a place that tries, or is about to try, `target`.
///
/// A helper counts when it follows the canary and has not been not ready since before: one node that is broken for
/// reasons of its own must not stop everybody's plans. Yet where no follower at all is ready, nothing is proved.
pub fn judge(
    rollout: &Rollout,
    target: &Plan,
    helpers: &[Helper],
    caches: &BTreeMap<String, Cache>,
    now: Timestamp,
) -> Health {
    let named = target.upstreams.iter().flat_map(|upstream| &upstream.caches);
    let mut down = named.filter(|cache| !caches.get(&cache.name).is_some_and(|cache| cache.available));
    if let Some(cache) = down.next() {
        return Health::Bad(format!("cache {} is not available", cache.name));
    }
    let (Some(canary), Some(start)) = (&rollout.file.canary, rollout.canary_since) else {
        return Health::Good;
    };
    let followers: Vec<&Helper> = helpers
        .iter()
        .filter(|helper| helper.node_ready && !helper.leaving && rollout.file.for_node(&helper.node) == canary)
        .collect();
    let suspects = followers
        .iter()
        .filter(|helper| !helper.ready && helper.since.is_none_or(|since| since >= start));
    let mut verdict = Health::Good;
    for helper in suspects {
        let age = helper
            .since
            .and_then(|since| Duration::try_from(now.duration_since(since)).ok());
        let text = format!("the helper on node {} is not ready", helper.node);
        if age.unwrap_or_default() >= PATIENCE {
            return Health::Bad(text);
        }
        verdict = Health::Waiting(text);
    }
    if verdict == Health::Good && !followers.is_empty() && followers.iter().all(|helper| !helper.ready) {
        return Health::Waiting("none of the nodes that try it has a helper that is ready".into());
    }
    verdict
}
