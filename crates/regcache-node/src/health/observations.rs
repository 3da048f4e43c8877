//! What is known of each cache, and what each new observation makes of it. Pure: time comes from outside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use regcache_mirror::plan::{CacheRef, Plan};

use super::penalty::{Penalty, Terms};
use crate::router::Outcome;

/// A cache that comes and goes: short, since a probe has to succeed besides.
const FLAP: Terms = terms(1, 60, 120);
/// A cache that let a request hang: its small answers pass where large ones stall, so no probe ends this early.
const SILENT: Terms = terms(60, 600, 600);
/// A cache that sent wrong bytes. The probe blob is none of its stored ones, so it proves little here: time has to do.
const CORRUPT: Terms = terms(300, 3600, 3600);
/// A cache that answers with errors: as good as none, but harmless.
const REFUSED: Terms = terms(10, 10, 10);
/// Errors in a row before [`REFUSED`] begins.
const REFUSALS: u32 = 3;

const fn terms(first: u64, most: u64, forgotten: u64) -> Terms {
    Terms {
        first: Duration::from_secs(first),
        most: Duration::from_secs(most),
        forgotten: Duration::from_secs(forgotten),
    }
}

/// Late answers to probes in a row after which a cache counts as gone: a single one may be a burst or a lost packet.
const LATE: u32 = 2;

/// How a probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// As it should.
    Answered,
    /// No connection or no answer in time.
    Late,
    /// Nobody there, or somebody who says that it cannot.
    Gone,
}

/// How the probe blob came, over a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Byte by byte as it should, which counts until then.
    Right {
        /// When the next check is due.
        until: Instant,
    },
    /// Other bytes.
    Wrong,
    /// Not all of it in time.
    Stalled,
    /// No new connection in time: a lost packet, or a cache that lives on the connections that it has.
    Late,
}

/// Why a cache is not used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has never answered a probe.
    Unproven,
    /// It answers, and its probe blob has not come yet.
    Unchecked,
    /// It did not answer the last probes, or nobody listened when a request came.
    Down,
    /// It has come back, but goes up and down too often to be trusted yet.
    Flapping,
    /// It let a request of this upstream hang, or its probe blob.
    Silent,
    /// It sent wrong bytes.
    Corrupt,
    /// It answered this upstream's requests with errors.
    Refusing,
}

/// One cache at one address: after a change of address it has to prove itself anew.
type CacheId = (String, String);

fn id(cache: &CacheRef) -> CacheId {
    (cache.name.clone(), cache.url.clone())
}

/// Whether a cache that has the probe blob is known to deliver it. Small answers pass where large ones stall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proof {
    /// Not since it was last away or wrong: not used before.
    #[default]
    Needed,
    /// It did, and has let a request hang or been late since: asked again at once, used meanwhile, unless the request's
    /// own upstream is not to.
    Doubted,
    /// It did; asked again then.
    Given { until: Instant },
}

#[derive(Debug, Default)]
struct CacheHealth {
    answered: bool,
    up: bool,
    late: u32,
    flap: Penalty,
    corrupt: Penalty,
    stalled: Penalty,
    proof: Proof,
}

#[derive(Debug, Default)]
struct PairHealth {
    silent: Penalty,
    refused: Penalty,
    refusals: u32,
}

/// Everything observed so far of the caches of one plan.
#[derive(Debug, Default)]
pub struct Observations {
    caches: HashMap<CacheId, CacheHealth>,
    pairs: HashMap<(String, CacheId), PairHealth>,
}

impl Observations {
    /// A probe ended. True when it changes whether the cache counts as there.
    pub fn probed(&mut self, cache: &CacheRef, probed: Probed, now: Instant) -> bool {
        let health = self.caches.entry(id(cache)).or_default();
        let was_up = health.up;
        match probed {
            Probed::Answered => {
                health.answered = true;
                health.up = true;
                health.late = 0;
            }
            Probed::Late => {
                health.late = health.late.saturating_add(1);
                if health.late >= LATE {
                    health.down(now);
                }
            }
            Probed::Gone => health.down(now),
        }
        was_up != health.up
    }

    /// Whether the probe blob of `cache` is to be asked for now: it has one, answers, serves no time for a fault (its
    /// blob would cost the network something and change nothing), and has not delivered it lately.
    pub fn check_due(&self, cache: &CacheRef, now: Instant) -> bool {
        let due = |health: &CacheHealth| {
            let penalties = [&health.flap, &health.corrupt, &health.stalled];
            let free = penalties.iter().all(|penalty| !penalty.is_active(now));
            let lately = matches!(health.proof, Proof::Given { until } if now < until);
            health.up && free && !lately
        };
        cache.probe && self.caches.get(&id(cache)).is_some_and(due)
    }

    /// The probe blob of `cache` came, or did not. True when it may change whether the cache is used.
    pub fn checked(&mut self, cache: &CacheRef, checked: Checked, now: Instant) -> bool {
        let health = self.caches.entry(id(cache)).or_default();
        let before = std::mem::take(&mut health.proof);
        match checked {
            Checked::Right { until } => health.proof = Proof::Given { until },
            Checked::Wrong => health.corrupt.strike(now, CORRUPT),
            Checked::Stalled => health.stalled.strike(now, SILENT),
            Checked::Late => match before {
                Proof::Given { .. } => health.proof = Proof::Doubted,
                Proof::Doubted => health.down(now),
                Proof::Needed => {}
            },
        }
        (before == Proof::Needed) != (health.proof == Proof::Needed)
    }

    /// A request of `upstream` to `cache` ended.
    pub fn observed(&mut self, upstream: &str, cache: &CacheRef, outcome: Outcome, now: Instant) {
        let pair = self.pairs.entry((upstream.to_owned(), id(cache))).or_default();
        match outcome {
            Outcome::Ok => pair.refusals = 0,
            // The upstream behind it is sick; the gateway remembers the digest.
            Outcome::Short => {}
            Outcome::Silent => {
                pair.silent.strike(now, SILENT);
                let health = self.caches.entry(id(cache)).or_default();
                if matches!(health.proof, Proof::Given { .. }) {
                    health.proof = Proof::Doubted;
                }
            }
            Outcome::Refused => {
                pair.refusals += 1;
                if pair.refusals >= REFUSALS {
                    pair.refusals = 0;
                    pair.refused.strike(now, REFUSED);
                }
            }
            Outcome::Unreachable => self.caches.entry(id(cache)).or_default().down(now),
            Outcome::Corrupt => {
                let health = self.caches.entry(id(cache)).or_default();
                health.corrupt.strike(now, CORRUPT);
                health.proof = Proof::Needed;
            }
        }
    }

    /// Whether `cache` may be used for `upstream`, and if not, why.
    pub fn usable(&self, upstream: &str, cache: &CacheRef, now: Instant) -> Result<(), Why> {
        let id = id(cache);
        let health = self
            .caches
            .get(&id)
            .filter(|health| health.answered)
            .ok_or(Why::Unproven)?;
        let pair = self.pairs.get(&(upstream.to_owned(), id));
        let faults = [
            (health.corrupt.is_active(now), Why::Corrupt),
            (!health.up, Why::Down),
            (health.flap.is_active(now), Why::Flapping),
            (health.stalled.is_active(now), Why::Silent),
            (cache.probe && health.proof == Proof::Needed, Why::Unchecked),
            (pair.is_some_and(|pair| pair.silent.is_active(now)), Why::Silent),
            (pair.is_some_and(|pair| pair.refused.is_active(now)), Why::Refusing),
        ];
        faults
            .into_iter()
            .find(|(active, _)| *active)
            .map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Forgets caches that `plan` does not name.
    pub fn retain(&mut self, plan: &Plan) {
        let known: Vec<CacheId> = plan
            .upstreams
            .iter()
            .flat_map(|upstream| &upstream.caches)
            .map(id)
            .collect();
        self.caches.retain(|id, _| known.contains(id));
        self.pairs
            .retain(|(upstream, id), _| known.contains(id) && plan.upstream(upstream).is_some());
    }
}

impl CacheHealth {
    fn down(&mut self, now: Instant) {
        self.proof = Proof::Needed;
        // Only the step from up to down counts as a flap, not each probe that finds it down still.
        if std::mem::take(&mut self.up) {
            self.flap.strike(now, FLAP);
        }
    }
}
