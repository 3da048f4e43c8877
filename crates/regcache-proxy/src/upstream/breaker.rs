//! Rest for an upstream that fails, so that not everybody finds it out anew, and the end of that rest.
//!
//! Unreachable, silent for two seconds, or 503: it rests at once, one second at first, doubling up to thirty. 500, 502
//! and 504: after three in a row, for one broken image must not cost all others. While it rests a probe asks every half
//! second, and ends the rest as soon as it is answered; when the rest ends by itself, one request may try. 429 stops
//! only what was limited (manifests or blobs: Docker Hub counts the former) and is not probed, since no probe could
//! tell. What a `Retry-After` asks for is kept to, up to five minutes. 401, 403 and 404 are answers like any other.

mod pause;
mod probe;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tracing::{info, warn};

use self::pause::Pause;
pub(crate) use self::probe::Probe;
use super::error::Error;
use super::metrics::Meter;

/// Silence of this length is a failure, once the one who waited has left.
const SILENCE: Duration = Duration::from_secs(2);
/// As many 500, 502 or 504 in a row are a failure.
const STRIKES: u32 = 3;

/// What a request is about, as far as limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Manifests,
    Blobs,
}

struct State {
    /// Nothing works.
    reach: Pause,
    /// Too many requests of the one kind or the other.
    manifests: Pause,
    blobs: Pause,
    strikes: u32,
    probing: bool,
    /// When somebody last wanted something.
    wanted: Instant,
    /// Since when each one waits for headers.
    waiting: BTreeMap<u64, Instant>,
    next: u64,
    /// When upstream last said anything.
    heard: Option<Instant>,
}

impl State {
    fn limit(&mut self, subject: Subject) -> &mut Pause {
        match subject {
            Subject::Manifests => &mut self.manifests,
            Subject::Blobs => &mut self.blobs,
        }
    }
}

pub(crate) struct Breaker {
    state: Mutex<State>,
    meter: Meter,
    probe: Probe,
    /// Called when connections that are kept may be dead.
    doubt: Box<dyn Fn() + Send + Sync>,
}

impl Breaker {
    pub(crate) fn new(meter: Meter, probe: Probe, doubt: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        let state = State {
            reach: Pause::default(),
            manifests: Pause::default(),
            blobs: Pause::default(),
            strikes: 0,
            probing: false,
            wanted: Instant::now(),
            waiting: BTreeMap::new(),
            next: 0,
            heard: None,
        };
        // One with other settings, that this takes the place of, may have ended while it rested.
        meter.resting(false);
        Arc::new(Self {
            state: Mutex::new(state),
            meter,
            probe,
            doubt,
        })
    }

    /// May upstream be asked? If not, how much longer it rests at most. Silence sends it to rest only when it meets one
    /// who has the `last_word`: the others have another way to try.
    pub(crate) fn enter(self: &Arc<Self>, subject: Subject, last_word: bool) -> Result<Attempt, Duration> {
        let now = Instant::now();
        let mut state = self.state();
        state.wanted = now;
        // The limit first: whoever it stops must not use up the one try that an ended rest allows.
        if let Some(remaining) = state.limit(subject).remaining(now) {
            return Err(remaining);
        }
        state.reach.enter(now)?;
        state.limit(subject).enter(now)?;
        let id = state.next;
        state.next += 1;
        state.waiting.insert(id, now);
        Ok(Attempt {
            breaker: self.clone(),
            subject,
            id,
            since: now,
            last_word,
            over: false,
        })
    }

    /// How much longer manifests cannot be asked for.
    pub(crate) fn resting(&self) -> Option<Duration> {
        let now = Instant::now();
        let state = self.state();
        state.reach.remaining(now).max(state.manifests.remaining(now))
    }

    /// How long nothing was heard while somebody waits. Who began to wait before somebody else was answered is no
    /// sign: that connection hangs, or that image, and not upstream. One that failed counts as silent beyond its rest,
    /// as long as it is probed and was not found well.
    pub(crate) fn silent(&self) -> Option<Duration> {
        let state = self.state();
        if state.probing && state.reach.begun() {
            return Some(SILENCE);
        }
        let counts = |since: &&Instant| state.heard.is_none_or(|heard| **since >= heard);
        state.waiting.values().filter(counts).min().map(Instant::elapsed)
    }

    /// Upstream does not work: it rests, and is probed.
    fn rest(self: &Arc<Self>, state: &mut State, asked: Option<Duration>, why: &str) {
        if state.reach.begin(Instant::now(), asked) {
            warn!(upstream = self.meter.upstream(), why, "upstream rests");
            self.meter.resting(true);
        }
        if !state.probing {
            state.probing = probe::start(self);
        }
    }

    /// Upstream works.
    fn well(&self, state: &mut State) {
        state.strikes = 0;
        if state.reach.clear(Instant::now()) {
            info!(upstream = self.meter.upstream(), "upstream is well again");
            self.meter.resting(false);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request on its way. Dropped before it is over, it counts as a failure when upstream was silent for long.
pub(crate) struct Attempt {
    breaker: Arc<Breaker>,
    subject: Subject,
    id: u64,
    since: Instant,
    last_word: bool,
    over: bool,
}

impl Attempt {
    /// The upstream itself has sent headers.
    pub(crate) fn heard(&mut self, status: StatusCode, retry_after: Option<Duration>) {
        let now = Instant::now();
        self.since = now;
        let breaker = self.breaker.clone();
        let mut state = breaker.state();
        state.heard = Some(now);
        // Whatever it waits for from now on, it does so from now on.
        if let Some(since) = state.waiting.get_mut(&self.id) {
            *since = now;
        }
        match status.as_u16() {
            429 => {
                if state.limit(self.subject).begin(now, retry_after) {
                    warn!(
                        upstream = breaker.meter.upstream(),
                        ?retry_after,
                        "upstream limits our requests"
                    );
                }
            }
            503 => breaker.rest(&mut state, retry_after, "status 503"),
            500 | 502 | 504 => {
                state.strikes += 1;
                if state.strikes >= STRIKES {
                    state.strikes = 0;
                    breaker.rest(&mut state, retry_after, "status 5xx, several times");
                }
            }
            _ => {
                breaker.well(&mut state);
                // An answer to the challenge is not yet one to the question.
                if status != StatusCode::UNAUTHORIZED {
                    state.limit(self.subject).clear(now);
                }
            }
        }
    }

    /// What comes now does not depend on the upstream itself any more.
    pub(crate) fn over(&mut self) {
        self.over = true;
        self.breaker.state().waiting.remove(&self.id);
    }

    /// There is no answer. Statuses have been counted when they were heard; those of a token server are new.
    pub(crate) fn failed(&mut self, error: &Error) {
        if self.over {
            return;
        }
        self.over();
        let breaker = self.breaker.clone();
        let mut state = breaker.state();
        match error {
            Error::Unreachable(why) => breaker.rest(&mut state, None, why),
            Error::TimedOut => breaker.rest(&mut state, None, "no answer in time"),
            Error::Status(500..) => breaker.rest(&mut state, None, "its token server answers 5xx"),
            Error::Limited { retry_after } => {
                state.limit(self.subject).begin(Instant::now(), *retry_after);
            }
            _ => {}
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.over();
        let breaker = self.breaker.clone();
        let mut state = breaker.state();
        let heard_since = state.heard.is_some_and(|heard| heard > self.since);
        if self.since.elapsed() < SILENCE || heard_since {
            return;
        }
        if self.last_word {
            breaker.rest(&mut state, None, "silent until its client gave up");
        }
        drop(state);
        (breaker.doubt)();
    }
}
