//! Phase 4, pure: the next step of a place's plan towards its target.
//!
//! What protects pulls comes at once and everywhere, in `stable` and `canary` alike: what is no longer wanted goes, a
//! cache's new address replaces the old one ([`cut`]). Everything else is tried first: by `canaryPercent` of the
//! place's nodes for `soak`, then by all of them for `soak`, then it is stable; and back to none of them when it does
//! harm ([`health`]). Regions take turns ([`turn`]). All times are kept in the plan's annotations, so that a restart
//! of the operator loses none.

pub mod cut;
pub mod health;
pub mod turn;

use std::time::Duration;

use jiff::Timestamp;
use regcache_mirror::plan::{Plan, PlanFile};

pub use health::{Health, Helper};

/// How many soaks pass before a canary that was taken back is tried again.
const PENALTY: u32 = 5;

/// A plan and its times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// What the helpers read.
    pub file: PlanFile,
    /// When its content last changed.
    pub changed_at: Option<Timestamp>,
    /// Since when the canary has been tried by the present share of nodes.
    pub canary_since: Option<Timestamp>,
    /// When the canary was taken back.
    pub failed_at: Option<Timestamp>,
}

/// How fast plans roll out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Share of nodes, 1 to 100, that try a plan first.
    pub canary_percent: u8,
    /// How long a share tries it.
    pub soak: Duration,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target is reached.
    Settled,
    /// It is another region's turn, or the time is not ripe.
    Waiting(String),
    /// Some nodes try the target.
    Trying,
    /// The canary was taken back in this very step.
    TakenBack(String),
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The plan and its times after it.
    pub next: Rollout,
    /// When to look again, if nothing else happens.
    pub look_again: Option<Duration>,
    /// What it came to.
    pub outcome: Outcome,
}

/// The next step of `current` towards `target`. Without the place's `turn` only what protects pulls is done.
pub fn step(current: &Rollout, target: &Plan, health: &Health, turn: bool, pace: Pace, now: Timestamp) -> Step {
    let mut next = current.clone();
    cut::apply(&mut next.file, target);
    if next.file.percent > 0 && next.file.canary != current.file.canary {
        // Another canary is drawn by other nodes: they are to try it as long as the first ones.
        next.canary_since = Some(now);
    }
    let (outcome, look_again) = if next.file.stable == *target {
        settle(&mut next, target.clone());
        (Outcome::Settled, None)
    } else if !turn {
        (Outcome::Waiting("another region's turn".into()), None)
    } else if next.file.canary.as_ref() == Some(target) && next.file.percent > 0 {
        advance(&mut next, target, health, pace, now)
    } else {
        start(&mut next, target, health, pace, now)
    };
    if next.file != current.file {
        next.changed_at = Some(now);
    }
    Step {
        next,
        look_again,
        outcome,
    }
}

fn settle(next: &mut Rollout, target: Plan) {
    next.file = PlanFile {
        stable: target,
        canary: None,
        percent: 0,
    };
    next.canary_since = None;
    next.failed_at = None;
}

/// The target is being tried: on to the next share, or back.
fn advance(
    next: &mut Rollout,
    target: &Plan,
    health: &Health,
    pace: Pace,
    now: Timestamp,
) -> (Outcome, Option<Duration>) {
    if let Health::Bad(why) = health {
        next.file.percent = 0;
        next.canary_since = None;
        next.failed_at = Some(now);
        return (Outcome::TakenBack(why.clone()), Some(pace.soak * PENALTY));
    }
    let left = left(next.canary_since, pace.soak, now);
    if !left.is_zero() {
        next.canary_since.get_or_insert(now);
        return (Outcome::Trying, Some(left));
    }
    match health {
        // A pod's or a Deployment's change brings the next look; this is for the patience that runs out by the clock.
        Health::Waiting(_) => (Outcome::Trying, Some(health::PATIENCE)),
        _ if next.file.percent < 100 => {
            next.file.percent = 100;
            next.canary_since = Some(now);
            (Outcome::Trying, Some(pace.soak))
        }
        _ => {
            settle(next, target.clone());
            (Outcome::Settled, None)
        }
    }
}

/// The target is new, or was taken back some time ago.
fn start(
    next: &mut Rollout,
    target: &Plan,
    health: &Health,
    pace: Pace,
    now: Timestamp,
) -> (Outcome, Option<Duration>) {
    let again = next.failed_at.is_some() && next.file.canary.as_ref() == Some(target);
    if !again {
        let old = next.file.canary.take();
        if let Some(everybodys) = old.filter(|_| next.file.percent == 100) {
            // All nodes have it: to go back from it to the one before would change them twice.
            next.file.stable = everybodys;
        }
        next.failed_at = None;
    }
    next.file.percent = 0;
    next.canary_since = None;
    if let Health::Waiting(why) | Health::Bad(why) = health {
        return (Outcome::Waiting(why.clone()), None);
    }
    let left = left(next.failed_at, pace.soak * PENALTY, now);
    if again && !left.is_zero() {
        return (
            Outcome::Waiting("it was taken back a short time ago".into()),
            Some(left),
        );
    }
    next.file.canary = Some(target.clone());
    next.file.percent = pace.canary_percent.clamp(1, 100);
    next.canary_since = Some(now);
    next.failed_at = None;
    (Outcome::Trying, Some(pace.soak))
}

/// What is left of `whole` since `since`; a time that is missing or lies ahead (clocks differ) counts as now.
fn left(since: Option<Timestamp>, whole: Duration, now: Timestamp) -> Duration {
    let passed = since.map(|since| now.duration_since(since));
    let passed = passed
        .and_then(|passed| Duration::try_from(passed).ok())
        .unwrap_or_default();
    whole.saturating_sub(passed)
}

#[cfg(test)]
mod tests;
