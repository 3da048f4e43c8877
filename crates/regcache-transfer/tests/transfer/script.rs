//! Sources that do what a script says, and a reader that writes down what came and when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use regcache_transfer::{
    Ask, BodyError, Digest, Failed, Limits, OpenError, Opened, Report, ShortEnd, Source, Span, fetch,
};
use tokio::time::{Instant, sleep};

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
    /// One byte in each such time.
    Trickle(Duration),
}

#[derive(Clone, Debug)]
pub struct Script {
    pub name: Arc<str>,
    pub blob: Bytes,
    pub headers: Headers,
    pub fault: Fault,
    /// Added to the size that it states.
    pub grow: i64,
    pub honours_range: bool,
    /// Bytes in each chunk.
    pub chunk: usize,
    /// The offsets that it was asked for.
    pub asked: Arc<Mutex<Vec<Span>>>,
    /// Bytes taken from its bodies.
    pub taken: Arc<AtomicU64>,
}

impl Script {
    pub fn good(name: &str, blob: &Bytes) -> Self {
        Self {
            name: name.into(),
            blob: blob.clone(),
            headers: Headers::Good,
            fault: Fault::None,
            grow: 0,
            honours_range: true,
            chunk: 97,
            asked: Arc::default(),
            taken: Arc::default(),
        }
    }

    pub fn faulty(name: &str, blob: &Bytes, fault: Fault) -> Self {
        Self {
            fault,
            ..Self::good(name, blob)
        }
    }

    pub fn answering(name: &str, blob: &Bytes, headers: Headers) -> Self {
        Self {
            headers,
            ..Self::good(name, blob)
        }
    }

    fn body(&self, start: usize) -> BoxStream<'static, Result<Bytes, BodyError>> {
        let mut blob = self.blob.to_vec();
        // A source that overstates its size can be asked for bytes behind its end.
        let start = start.min(blob.len());
        let at = |offset: u64| usize::try_from(offset).unwrap().clamp(start, self.blob.len());
        let mut end = blob.len();
        match self.fault {
            Fault::Corrupt(offset) => {
                if let Some(byte) = blob.get_mut(usize::try_from(offset).unwrap()) {
                    *byte ^= 1;
                }
            }
            Fault::Stall(offset) | Fault::Break(offset) | Fault::End(offset) => end = at(offset),
            Fault::None | Fault::Trickle(_) => {}
        }
        let size = if matches!(self.fault, Fault::Trickle(_)) {
            1
        } else {
            self.chunk
        };
        let chunks: Vec<_> = blob[start..end].chunks(size).map(Bytes::copy_from_slice).collect();
        let taken = self.taken.clone();
        let chunks = stream::iter(chunks).map(move |chunk| {
            taken.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            Ok(chunk)
        });
        match self.fault {
            Fault::Stall(_) => chunks.chain(stream::pending()).boxed(),
            Fault::Break(_) => chunks
                .chain(stream::iter([Err(BodyError("reset by script".into()))]))
                .boxed(),
            Fault::Trickle(pace) => chunks
                .then(move |chunk| async move {
                    sleep(pace).await;
                    chunk
                })
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
            match self.headers {
                Headers::Good => {}
                Headers::Late(time) => sleep(time).await,
                Headers::Never => std::future::pending().await,
                Headers::Unreachable => return Err(OpenError::Unreachable("by script".into())),
                Headers::NotFound => return Err(OpenError::NotFound),
                Headers::Status(status) => return Err(OpenError::Refused(status)),
            }
            let total = (self.blob.len() as u64).saturating_add_signed(self.grow);
            let start = if self.honours_range { span.start } else { 0 };
            if start > 0 && start >= total {
                return Err(OpenError::PastEnd(Some(total)));
            }
            Ok(Opened {
                total,
                start,
                body: self.body(usize::try_from(start).unwrap()),
            })
        })
    }
}

/// What a reader saw of one transfer.
#[derive(Debug)]
pub struct Seen {
    /// Size, first and last offset as promised; or why nothing began.
    pub promised: Result<(u64, u64, u64), Failed>,
    pub bytes: Vec<u8>,
    pub end: Result<(), ShortEnd>,
    pub reports: Vec<Report>,
    /// Until the first byte could be given out.
    pub start: Duration,
    /// The longest time without one after that.
    pub gap: Duration,
}

impl Seen {
    /// `name: reason` of each report, in order.
    pub fn story(&self) -> Vec<String> {
        let line = |report: &Report| format!("{}: {}", report.source, report.reason);
        self.reports.iter().map(line).collect()
    }
}

/// Small limits in bytes, real ones in time.
pub fn limits() -> Limits {
    Limits {
        verify_whole: 1000,
        hold_back: 100,
        skip: 3000,
        progress: 50,
        ..Limits::default()
    }
}

pub fn blob(size: usize) -> Bytes {
    (0..size)
        .map(|i| u8::try_from((i * 31 + i / 251) % 251).unwrap())
        .collect()
}

pub fn whole(blob: &Bytes) -> Ask {
    Ask {
        span: Span::default(),
        digest: Some(Digest::sha256(blob)),
    }
}

/// Reads to the end, at once or with `pause` before each chunk is asked for.
pub async fn read(scripts: &[Script], ask: Ask, pause: Duration) -> Seen {
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let heard = reports.clone();
    let sources = scripts
        .iter()
        .map(|script| Arc::new(script.clone()) as Arc<dyn Source>)
        .collect();
    let begun = Instant::now();
    let observer = Arc::new(move |report: &Report| heard.lock().unwrap().push(report.clone()));
    let started = fetch(sources, ask, limits(), observer).await;
    let mut seen = Seen {
        promised: started
            .as_ref()
            .map(|t| (t.total, t.start, t.end))
            .map_err(|failed| *failed),
        bytes: Vec::new(),
        end: Ok(()),
        reports: Vec::new(),
        start: begun.elapsed(),
        gap: Duration::ZERO,
    };
    if let Ok(mut transfer) = started {
        loop {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let asked = Instant::now();
            let item = transfer.body.next().await;
            seen.gap = seen.gap.max(asked.elapsed());
            match item {
                None => break,
                Some(Ok(chunk)) => seen.bytes.extend_from_slice(&chunk),
                Some(Err(short)) => {
                    assert!(seen.end.is_ok(), "nothing comes after the error");
                    seen.end = Err(short);
                }
            }
        }
    }
    seen.reports = std::mem::take(&mut *reports.lock().unwrap());
    seen
}
