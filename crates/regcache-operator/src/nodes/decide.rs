//! All decisions of a run in one place, pure: facts and time into what is to be written and taken away.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use regcache_api::RegistryCache;
use regcache_mirror::rank::Place;

use super::build;
use super::rollout::health::judge;
use super::rollout::turn::{self, Waiting};
use super::rollout::{Health, Outcome, Pace, Rollout, Step, step};
use super::targets::{Target, targets};
use super::validate::Facts;

/// What becomes of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its plan.
    pub rollout: Rollout,
    /// Its DaemonSet.
    pub daemon_set: Fate,
    /// What the step came to, for logs and events.
    pub outcome: Outcome,
}

/// What becomes of a place's DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is applied.
    Applied,
    /// It is left as it is: everybody who wants it is paused.
    Left,
    /// It goes, and then the plan.
    Removed,
}

/// Decides for all places; the time is that until the next look.
pub fn decide(
    registry_caches: &[RegistryCache],
    unreadable: bool,
    facts: &Facts,
    pace: Pace,
    now: Timestamp,
) -> (BTreeMap<Place, Decision>, Option<Duration>) {
    let targets = targets(registry_caches, unreadable, facts, now);
    let nothing = Rollout::default();
    let rollout = |place: &Place| facts.rollouts.get(place).unwrap_or(&nothing);
    let health: BTreeMap<&Place, Health> = targets
        .iter()
        .map(|(place, target)| {
            let helpers = facts.helpers.get(&build::name(place)).map_or(&[][..], Vec::as_slice);
            (place, judge(rollout(place), &target.plan, helpers, &facts.caches, now))
        })
        .collect();
    let waiting: BTreeMap<&Place, Waiting<'_>> = targets
        .iter()
        .filter(|(_, target)| target.wanted && !target.frozen)
        .map(|(place, target)| {
            let startable = health.get(place) == Some(&Health::Good);
            (
                place,
                Waiting {
                    rollout: rollout(place),
                    target: &target.plan,
                    startable,
                },
            )
        })
        .collect();
    let region = turn::region(&waiting);
    let mut look_again: Option<Duration> = next_upstream(facts, now);
    let mut decisions = BTreeMap::new();
    for (place, target) in &targets {
        let known = facts.rollouts.contains_key(place) || facts.staffed.contains(place);
        if target.frozen && target.wanted && !known {
            // Nodes of a new place while everybody is paused: nothing to protect, and nothing new is made.
            continue;
        }
        let turn = waiting.contains_key(place) && region == Some(place.region.as_str());
        let health = health.get(place).unwrap_or(&Health::Good);
        let Step {
            next,
            look_again: later,
            outcome,
        } = step(rollout(place), &target.plan, health, turn, pace, now);
        look_again = look_again.into_iter().chain(later).min();
        let mut next = next;
        // A plan without a time of its own: from before it had one.
        next.changed_at.get_or_insert(now);
        let decision = Decision {
            rollout: next,
            daemon_set: fate(target),
            outcome,
        };
        decisions.insert(place.clone(), decision);
    }
    (decisions, look_again)
}

/// When the next cache has surely read that it serves another upstream.
fn next_upstream(facts: &Facts, now: Timestamp) -> Option<Duration> {
    let times = facts.caches.values().flat_map(|cache| cache.serves_from.values());
    let ahead = times.filter(|from| **from > now).min()?;
    Duration::try_from(ahead.duration_since(now)).ok()
}

fn fate(target: &Target) -> Fate {
    match target {
        Target { wanted: false, .. } => Fate::Removed,
        Target { frozen: true, .. } => Fate::Left,
        Target { .. } => Fate::Applied,
    }
}
