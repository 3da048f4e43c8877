//! One source after another: opens, waits within the limits, and goes on elsewhere at the same byte.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::{Duration, Instant, timeout_at};

use crate::limits::Limits;
use crate::outcome::{Observer, Reason, Report};
use crate::source::{BodyError, OpenError, Opened, Source, Span};

/// No source is left, or no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// A source and how often it may still be asked again.
struct Entry {
    source: Arc<dyn Source>,
    again: u32,
}

/// The source that is being read.
struct Current {
    entry: Entry,
    body: BoxStream<'static, Result<Bytes, BodyError>>,
    total: u64,
    /// Bytes still to be thrown away, since it started too early.
    skip: u64,
    /// Bytes of the blob that it gave.
    given: u64,
    /// Time waited, and bytes come, since it last counted as moving.
    waited: Duration,
    moved: u64,
}

/// Who gave the bytes so far.
#[derive(Clone, Debug, Default)]
enum Givers {
    #[default]
    Nobody,
    One(Arc<str>),
    Several,
}

/// What all the answers without a body were, to tell "not there" from "could not".
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Misses {
    pub(crate) not_found: u32,
    pub(crate) past_end: u32,
    pub(crate) others: u32,
    /// The blob's size as the last 416 told it.
    pub(crate) size: Option<u64>,
}

pub(crate) struct Relay {
    waiting: VecDeque<Entry>,
    current: Option<Current>,
    limits: Limits,
    observer: Arc<dyn Observer>,
    asked: Span,
    /// The next byte needed.
    at: u64,
    /// The size that the reader was told: from then on no source may say another.
    promised: Option<u64>,
    givers: Givers,
    misses: Misses,
}

impl Relay {
    pub(crate) fn new(sources: Vec<Arc<dyn Source>>, asked: Span, limits: Limits, observer: Arc<dyn Observer>) -> Self {
        let entry = |source| Entry {
            source,
            again: limits.again,
        };
        Self {
            waiting: sources.into_iter().map(entry).collect(),
            current: None,
            limits,
            observer,
            asked,
            at: asked.start,
            promised: None,
            givers: Givers::Nobody,
            misses: Misses::default(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn misses(&self) -> Misses {
        self.misses
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Whether anything is left to be read, given a blob of `total` bytes.
    pub(crate) fn end(&self, total: u64) -> u64 {
        self.asked.end.map_or(total, |end| end.min(total))
    }

    /// From now on the blob has `total` bytes, whatever a source says.
    pub(crate) fn promise(&mut self, total: u64) {
        self.promised = Some(total);
    }

    /// Forgets all bytes read: the next source starts anew.
    pub(crate) fn rewind(&mut self) {
        self.at = self.asked.start;
        self.givers = Givers::Nobody;
    }

    /// Makes sure that a source is open; says which size it gives the blob.
    pub(crate) async fn opened(&mut self, deadline: Instant) -> Result<u64, Exhausted> {
        loop {
            if let Some(current) = &self.current {
                return Ok(current.total);
            }
            if Instant::now() >= deadline {
                return Err(Exhausted);
            }
            let entry = self.waiting.pop_front().ok_or(Exhausted)?;
            match self.open(&entry, deadline).await {
                Ok((opened, skip)) => {
                    self.current = Some(Current {
                        entry,
                        body: opened.body,
                        total: opened.total,
                        skip,
                        given: 0,
                        waited: Duration::ZERO,
                        moved: 0,
                    });
                }
                Err(reason) => self.report(&entry, reason, 0),
            }
        }
    }

    async fn open(&mut self, entry: &Entry, deadline: Instant) -> Result<(Opened, u64), Reason> {
        let span = Span {
            start: self.at,
            end: self.asked.end,
        };
        let own = Instant::now() + self.limits.headers;
        let opened = match timeout_at(own.min(deadline), entry.source.open(span)).await {
            Err(_) if own > deadline => return Err(Reason::OutOfTime),
            Err(_) => return Err(Reason::NoHeaders),
            Ok(Err(error)) => {
                if let OpenError::PastEnd(size) = error {
                    self.misses.size = size;
                }
                return Err(error.into());
            }
            Ok(Ok(opened)) => opened,
        };
        match self.promised {
            Some(promised) if promised != opened.total => {
                return Err(Reason::OtherSize {
                    promised,
                    found: opened.total,
                });
            }
            _ => {}
        }
        if self.at > 0 && self.at >= opened.total {
            self.misses.size = Some(opened.total);
            return Err(Reason::PastEnd);
        }
        match self.at.checked_sub(opened.start) {
            Some(skip) if skip <= self.limits.skip => Ok((opened, skip)),
            _ => Err(Reason::OtherStart {
                asked: self.at,
                found: opened.start,
            }),
        }
    }

    /// The next bytes of the source that is open, never empty. When it has none, it is done with and reported.
    pub(crate) async fn read(&mut self, deadline: Instant) -> Result<Bytes, Exhausted> {
        let Some(mut current) = self.current.take() else {
            return Err(Exhausted);
        };
        let left = self.end(current.total).saturating_sub(self.at);
        match current.read(&self.limits, left, deadline).await {
            Ok(chunk) => {
                self.at += chunk.len() as u64;
                self.givers.add(current.entry.source.name());
                self.current = Some(current);
                Ok(chunk)
            }
            Err(reason) => {
                self.leave(current, reason);
                Err(Exhausted)
            }
        }
    }

    /// The next bytes of whichever source has them.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Bytes, Exhausted> {
        loop {
            self.opened(deadline).await?;
            if let Ok(chunk) = self.read(deadline).await {
                return Ok(chunk);
            }
        }
    }

    /// All bytes are there, and right as far as can be told.
    pub(crate) fn complete(&mut self) {
        if let Some(current) = self.current.take() {
            self.report(&current.entry, Reason::Complete, current.given);
        }
    }

    /// All bytes are there, and the digest is another one. Names the source when all came from it.
    pub(crate) fn wrong(&mut self) -> Option<Arc<str>> {
        let (guilty, reason) = match &self.givers {
            Givers::One(name) => (Some(name.clone()), Reason::WrongDigest),
            Givers::Nobody | Givers::Several => (None, Reason::WrongTogether),
        };
        if let Some(current) = self.current.take() {
            self.report(&current.entry, reason, current.given);
        }
        guilty
    }

    fn leave(&mut self, current: Current, reason: Reason) {
        let cut_off = matches!(reason, Reason::Broke(_) | Reason::EndedEarly);
        self.report(&current.entry, reason, current.given);
        // A source also cuts off a reader that was too slow for it, and has the rest all the same: worth another
        // request, after all others. One that gave nothing would do so again.
        if cut_off && current.given > 0 && current.entry.again > 0 {
            self.waiting.push_back(Entry {
                source: current.entry.source,
                again: current.entry.again - 1,
            });
        }
    }

    fn report(&mut self, entry: &Entry, reason: Reason, bytes: u64) {
        match reason {
            Reason::NotFound => self.misses.not_found += 1,
            Reason::PastEnd => self.misses.past_end += 1,
            _ => self.misses.others += 1,
        }
        self.observer.ended(&Report {
            source: entry.source.name().clone(),
            reason,
            bytes,
            at: self.at,
        });
    }
}

impl Current {
    /// The next bytes, at most `left` of them.
    async fn read(&mut self, limits: &Limits, left: u64, deadline: Instant) -> Result<Bytes, Reason> {
        loop {
            let begun = Instant::now();
            let patience = limits.stall.saturating_sub(self.waited);
            let own = begun + patience;
            // The body is asked before the clock: bytes that are there count, however late they are asked for.
            let mut chunk = match timeout_at(own.min(deadline), self.body.next()).await {
                Err(_) if own > deadline => return Err(Reason::OutOfTime),
                Err(_) => return Err(Reason::Stalled),
                Ok(None) => return Err(Reason::EndedEarly),
                Ok(Some(Err(error))) => return Err(Reason::Broke(error.0)),
                Ok(Some(Ok(chunk))) => chunk,
            };
            let waited = begun.elapsed();
            self.moved += chunk.len() as u64;
            // Later than the limit and yet here: it was the reader who was away in between.
            if self.moved >= limits.progress || waited > patience {
                self.waited = Duration::ZERO;
                self.moved = 0;
            } else {
                self.waited += waited;
            }
            let skip = usize::try_from(self.skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            chunk.advance(skip);
            self.skip -= skip as u64;
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if !chunk.is_empty() {
                self.given += chunk.len() as u64;
                return Ok(chunk);
            }
            // A source with nothing but empty or unwanted chunks at hand must neither hold the thread nor go on for ever.
            tokio::task::yield_now().await;
            if Instant::now() >= deadline {
                return Err(Reason::OutOfTime);
            }
        }
    }
}

impl Givers {
    fn add(&mut self, name: &Arc<str>) {
        match self {
            Self::Nobody => *self = Self::One(name.clone()),
            Self::One(one) if one == name => {}
            Self::One(_) | Self::Several => *self = Self::Several,
        }
    }
}
