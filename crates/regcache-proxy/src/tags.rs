//! Which manifest a tag is: from memory, from upstream, or from memory because upstream does not answer.
//!
//! The pipeline: `policy` (what to do, pure) -> `check`, one shared HEAD for all who ask for the same tag with the same
//! `Accept`, no oftener than `pace` allows -> the manifest behind it, stored or fetched. A fact is written only when its manifest is there, so that what is
//! remembered of a tag can be served.

mod check;
mod pace;
mod policy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

pub use policy::TagPolicy;

use crate::flights::{Flight, Flights, Part};
use crate::manifests::{Accept, Manifest, Manifests, WITHIN, negative};
use crate::names::{Repository, Tag};
use crate::store::{Store, TagFact};
use crate::upstream::{Error, Upstream};
use check::{Check, Checked};
use pace::Pace;
use policy::{AGAIN, Condition, Step, decide};

/// How many tags may be asked about at once.
const MOST: usize = 4096;

/// A tag of an upstream, as one kind of client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The upstream's host.
    pub host: Arc<str>,
    /// Where.
    pub repository: Repository,
    /// Which.
    pub tag: Tag,
    /// The same tag may be an index to one client and a manifest to another.
    pub accept: Accept,
}

/// How a manifest was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was stored.
    Hit,
    /// Upstream was asked for its bytes.
    Miss,
    /// Upstream was being asked for its bytes.
    Join,
    /// It was stored, and upstream could not say whether it is still what the tag is.
    Stale,
}

/// All tags.
pub struct Tags {
    store: Arc<Store>,
    manifests: Arc<Manifests>,
    checks: Arc<Flights<Asked, Result<Checked, Error>>>,
    pace: Pace<Asked>,
    /// When each silent upstream was last asked behind an answer.
    behind: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Tags {
    /// Remembers in this store.
    pub fn new(store: Arc<Store>, manifests: Arc<Manifests>) -> Self {
        Self {
            store,
            manifests,
            checks: Flights::new(MOST, negative),
            pace: Pace::new(MOST),
            behind: Mutex::default(),
        }
    }

    /// The manifest that the tag is.
    pub async fn manifest(
        &self,
        upstream: &Arc<Upstream>,
        policy: TagPolicy,
        asked: Asked,
    ) -> Result<(Manifest, How), Error> {
        let fact = self.fact(&asked).await;
        let condition = Condition {
            resting: upstream.resting(),
            silent: upstream.silent(),
        };
        let checked_at = fact.as_ref().map(|fact| fact.checked_at);
        match (decide(checked_at, Timestamp::now(), policy, condition), fact) {
            (Step::Serve, Some(fact)) => self.known(upstream, &asked, fact, How::Hit, WITHIN).await,
            (Step::ServeStale { ask }, Some(fact)) => {
                if ask && self.may_ask_behind(&asked.host) {
                    upstream.doubt();
                    self.checks.join(&asked, AGAIN, || self.check(upstream, &asked).run());
                }
                self.known(upstream, &asked, fact, How::Stale, WITHIN).await
            }
            (Step::Refuse { after }, _) => Err(Error::Resting { remaining: after }),
            (Step::Ask { within, stale }, fact) => {
                match (self.asked(upstream, &asked, within).await, fact.filter(|_| stale)) {
                    (Ok(found), _) => Ok(found),
                    (Err(Error::NotFound), _) => Err(Error::NotFound),
                    (Err(error), Some(fact)) => {
                        debug!(?asked, %error, "tag is served stale");
                        let rest = WITHIN.saturating_sub(within);
                        self.known(upstream, &asked, fact, How::Stale, rest).await
                    }
                    (Err(error), None) => Err(error),
                }
            }
            // Nothing is served without a fact.
            (Step::Serve | Step::ServeStale { .. }, None) => Err(Error::TimedOut),
        }
    }

    async fn fact(&self, asked: &Asked) -> Option<TagFact> {
        let accept = asked.accept.as_str();
        self.store.tag(&asked.host, &asked.repository, &asked.tag, accept).await
    }

    /// What the tag is, from upstream.
    async fn asked(&self, upstream: &Arc<Upstream>, asked: &Asked, within: Duration) -> Result<(Manifest, How), Error> {
        let flight = self.checks.join(asked, within, || self.check(upstream, asked).run());
        let how = how(flight.as_ref());
        let checked = outcome(flight, within).await?;
        Ok((checked.manifest, if checked.fetched { how } else { How::Hit }))
    }

    /// What the tag was. Its manifest may have gone to make room.
    async fn known(
        &self,
        upstream: &Arc<Upstream>,
        asked: &Asked,
        fact: TagFact,
        stored: How,
        within: Duration,
    ) -> Result<(Manifest, How), Error> {
        if let Some(manifest) = self.manifests.stored(&fact.digest).await {
            self.manifests.note(&asked.host, &asked.repository, &manifest).await;
            return Ok((manifest, stored));
        }
        let flight = self
            .manifests
            .fetch(upstream, &asked.repository, fact.digest, &asked.accept);
        let how = if stored == How::Stale {
            stored
        } else {
            how(flight.as_ref())
        };
        match outcome(flight, within).await {
            Ok(manifest) => Ok((manifest, how)),
            // Gone there, too, while upstream answers: what is known is of no use to anybody.
            Err(Error::NotFound) => self.asked(upstream, asked, within).await,
            Err(error) => Err(error),
        }
    }

    fn check(&self, upstream: &Arc<Upstream>, asked: &Asked) -> Check {
        Check {
            store: self.store.clone(),
            manifests: self.manifests.clone(),
            upstream: upstream.clone(),
            asked: asked.clone(),
            not_before: self.pace.next(asked),
        }
    }

    /// Whether it is time for another question to a silent upstream: each may hang for long.
    fn may_ask_behind(&self, host: &Arc<str>) -> bool {
        let now = Instant::now();
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let due = behind.get(host).is_none_or(|last| now.duration_since(*last) >= AGAIN);
        if due {
            behind.insert(host.clone(), now);
        }
        due
    }
}

/// How a manifest that comes by this call is come by.
fn how<T>(flight: Option<&Flight<T>>) -> How {
    match flight.map(|flight| flight.part) {
        Some(Part::Began) => How::Miss,
        _ => How::Join,
    }
}

/// What came of a shared call; no call at all counts as one that takes too long.
async fn outcome<T: Clone>(flight: Option<Flight<Result<T, Error>>>, within: Duration) -> Result<T, Error> {
    match flight {
        Some(flight) => flight.outcome(within).await.unwrap_or(Err(Error::TimedOut)),
        None => Err(Error::TimedOut),
    }
}
