//! Sources that do what a script says, another thing each time they are asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use regcache_transfer::{BodyError, OpenError, Opened, Source, Span};
use tokio::sync::watch;
use tokio::time::sleep;

/// How a source answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    Good,
    Late(Duration),
    Never,
    Unreachable,
    NotFound,
    Status(u16),
}

/// What happens in the body, at an offset of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Stall(u64),
    Break(u64),
    End(u64),
    Corrupt(u64),
}

/// What a source does when it is asked.
#[derive(Clone, Debug)]
pub struct Act {
    pub headers: Headers,
    pub fault: Fault,
    /// Added to the size that it states.
    pub grow: i64,
    pub honours_range: bool,
    /// Bytes in each chunk, and the time before each.
    pub chunk: usize,
    pub pace: Duration,
    /// Gives bytes before this offset only.
    pub gate: Option<watch::Receiver<u64>>,
}

impl Act {
    pub fn good() -> Self {
        Self {
            headers: Headers::Good,
            fault: Fault::None,
            grow: 0,
            honours_range: true,
            chunk: 97,
            pace: Duration::ZERO,
            gate: None,
        }
    }

    pub fn faulty(fault: Fault) -> Self {
        Self { fault, ..Self::good() }
    }

    pub fn answering(headers: Headers) -> Self {
        Self {
            headers,
            ..Self::good()
        }
    }

    /// As far as the other end says.
    pub fn gated() -> (watch::Sender<u64>, Self) {
        let (open, gate) = watch::channel(0);
        let gate = Some(gate);
        (open, Self { gate, ..Self::good() })
    }
}

/// Somewhere that one certain blob can be had.
#[derive(Debug)]
pub struct Script {
    name: Arc<str>,
    blob: Bytes,
    acts: Mutex<VecDeque<Act>>,
    then: Act,
    asked: Mutex<Vec<Span>>,
    taken: Arc<AtomicU64>,
}

impl Script {
    /// Does `acts` one after another, and from then on `then`.
    pub fn new(blob: &Bytes, acts: impl IntoIterator<Item = Act>, then: Act) -> Arc<Self> {
        Arc::new(Self {
            name: "script".into(),
            blob: blob.clone(),
            acts: Mutex::new(acts.into_iter().collect()),
            then,
            asked: Mutex::default(),
            taken: Arc::default(),
        })
    }

    /// The offsets that it was asked for.
    pub fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().iter().map(|span| span.start).collect()
    }

    /// How many bytes were taken from its bodies.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn body(&self, act: &Act, start: usize) -> BoxStream<'static, Result<Bytes, BodyError>> {
        let mut blob = self.blob.to_vec();
        let start = start.min(blob.len());
        let at = |offset: u64| usize::try_from(offset).unwrap().clamp(start, self.blob.len());
        let mut end = blob.len();
        match act.fault {
            Fault::Corrupt(offset) => {
                if let Some(byte) = blob.get_mut(usize::try_from(offset).unwrap()) {
                    *byte ^= 1;
                }
            }
            Fault::Stall(offset) | Fault::Break(offset) | Fault::End(offset) => end = at(offset),
            Fault::None => {}
        }
        let blob = Bytes::from(blob).slice(..end);
        let (chunk, pace, gate, taken) = (act.chunk, act.pace, act.gate.clone(), self.taken.clone());
        let chunks = stream::unfold((start, gate), move |(at, mut gate)| {
            let (blob, taken) = (blob.clone(), taken.clone());
            async move {
                if at >= blob.len() {
                    return None;
                }
                if !pace.is_zero() {
                    sleep(pace).await;
                }
                let mut to = (at + chunk).min(blob.len());
                if let Some(gate) = &mut gate {
                    let open = gate.wait_for(|open| *open > at as u64).await.map(|open| *open);
                    // Whoever held the gate is gone, and it stays as it is.
                    let Ok(open) = open else {
                        return std::future::pending().await;
                    };
                    let open = usize::try_from(open).unwrap_or(usize::MAX);
                    to = to.min(open);
                }
                taken.fetch_add((to - at) as u64, Ordering::Relaxed);
                Some((Ok(blob.slice(at..to)), (to, gate)))
            }
        });
        match act.fault {
            Fault::Stall(_) => chunks.chain(stream::pending()).boxed(),
            Fault::Break(_) => chunks
                .chain(stream::iter([Err(BodyError("reset by script".into()))]))
                .boxed(),
            _ => chunks.boxed(),
        }
    }
}

impl Source for Script {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn open(&self, span: Span) -> BoxFuture<'_, Result<Opened, OpenError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(span);
            let act = self.acts.lock().unwrap().pop_front();
            let act = act.unwrap_or_else(|| self.then.clone());
            match act.headers {
                Headers::Good => {}
                Headers::Late(time) => sleep(time).await,
                Headers::Never => std::future::pending().await,
                Headers::Unreachable => return Err(OpenError::Unreachable("by script".into())),
                Headers::NotFound => return Err(OpenError::NotFound),
                Headers::Status(status) => return Err(OpenError::Refused(status)),
            }
            let total = (self.blob.len() as u64).saturating_add_signed(act.grow);
            let start = if act.honours_range { span.start } else { 0 };
            if start > 0 && start >= total {
                return Err(OpenError::PastEnd(Some(total)));
            }
            Ok(Opened {
                total,
                start,
                body: self.body(&act, usize::try_from(start).unwrap()),
            })
        })
    }
}
