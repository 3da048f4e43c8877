//! One client's own fetch, for what a fill does not have: streamed, not stored, taken only as fast as it is read.
//!
//! As long as its client reads it holds a turn at the upstream like a fill does, and while a blob is being filled also
//! one of the few places beside that fill ([`FillLimits::aside`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use regcache_transfer::{Ask, Body, Digest, Hasher, Reason, Report, Span, fetch};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::answer::NoBlob;
use super::lease::Lease;
use super::limits::FillLimits;
use super::origin::Origin;
use super::resting::{Key, Resting};
use super::verify::Verify;
use crate::content::ShortEnd;

/// What somebody who reads one blob has at hand.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) key: Key,
    pub(super) origin: Arc<dyn Origin>,
    pub(super) limits: FillLimits,
    pub(super) resting: Arc<Resting>,
}

/// A fetch under way.
pub(super) struct Own {
    body: Body,
    verify: Option<Box<Verify>>,
    lease: Lease,
}

/// A fetch that has begun, and what it is about to give.
pub(super) struct Begun {
    pub(super) own: Own,
    pub(super) total: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Client {
    pub(super) fn digest(&self) -> &Digest {
        &self.key.digest
    }

    /// This blob is not to be had at the moment: whoever asks again is sent on at once.
    pub(super) fn rest(&self) {
        self.resting.begin(&self.key, self.limits.rest);
    }

    /// A client is being ended short: nobody will give it more now, nor the next one.
    pub(super) fn end_short(&self) -> ShortEnd {
        self.rest();
        ShortEnd
    }

    /// Begins a fetch of `span`, checked against the digest when that is the whole blob. Gives up at `deadline`.
    pub(super) async fn fetch(
        &self,
        span: Span,
        place: Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<Begun, NoBlob> {
        let turn = self.origin.turn().await;
        let wrong = Arc::new(AtomicBool::new(false));
        let heard = wrong.clone();
        let key = self.key.clone();
        let observer = Arc::new(move |report: &Report| {
            if matches!(report.reason, Reason::WrongDigest) {
                heard.store(true, Ordering::Relaxed);
            }
            super::log::left(&key, report);
        });
        let ask = Ask {
            span,
            digest: Some(self.key.digest),
        };
        let limits = self.limits.bypass(deadline.saturating_duration_since(Instant::now()));
        let transfer = fetch(self.origin.sources(self.digest()), ask, limits, observer)
            .await
            .inspect_err(|_| {
                if wrong.load(Ordering::Relaxed) {
                    self.rest();
                }
            })?;
        Ok(Begun {
            total: transfer.total,
            start: transfer.start,
            end: transfer.end,
            own: Own {
                body: transfer.body,
                verify: None,
                // A place beside a fill is for those who read, as well.
                lease: Lease::new(Box::new((turn, place)), self.limits.stall),
            },
        })
    }

    /// Goes on at `at` where a fill had to stop, up to `end` of a blob of `total` bytes. With `hasher`, which has taken
    /// in all before `at`, the digest is checked at the end. Gives up at `deadline`.
    pub(super) async fn go_on(
        &self,
        (at, end, total): (u64, u64, u64),
        hasher: Option<Arc<Hasher>>,
        deadline: Instant,
    ) -> Result<Own, NoBlob> {
        let span = Span {
            start: at,
            end: (end < total).then_some(end),
        };
        let begun = self.fetch(span, None, deadline).await?;
        if (begun.start, begun.end, begun.total) != (at, end, total) {
            return Err(NoBlob::Unavailable);
        }
        let check = |hasher: Arc<Hasher>| {
            let hasher = Arc::unwrap_or_clone(hasher);
            Box::new(Verify::new(hasher, self.key.digest, end - at, self.limits.hold_back))
        };
        Ok(Own {
            verify: hasher.map(check),
            ..begun.own
        })
    }
}

impl Own {
    /// The next bytes, never none.
    pub(super) async fn next(&mut self) -> Result<Bytes, ShortEnd> {
        self.lease.asked();
        let next = self.read().await;
        self.lease.answered();
        next
    }

    async fn read(&mut self) -> Result<Bytes, ShortEnd> {
        loop {
            let Some(Ok(chunk)) = self.body.next().await else {
                return Err(ShortEnd);
            };
            let chunk = match &mut self.verify {
                Some(verify) => verify.pass(chunk).map_err(|_| ShortEnd)?,
                None => chunk,
            };
            if !chunk.is_empty() {
                return Ok(chunk);
            }
        }
    }
}
