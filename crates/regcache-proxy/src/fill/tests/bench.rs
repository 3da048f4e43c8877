//! Fills, a store, an upstream with scripted sources, and clients.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use regcache_transfer::{Digest, Source, Span};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::script::{Act, Script};
use super::shelf::Shelf;
use crate::content::{Piece, ShortEnd};
use crate::fill::{Answer, FillLimits, FillMetrics, Fills, How, NoBlob, Origin};

/// A blob and everything around it.
pub struct Bench {
    pub fills: Arc<Fills>,
    pub shelf: Arc<Shelf>,
    pub site: Arc<Site>,
    pub blob: Bytes,
    pub digest: Digest,
    registry: Registry,
}

/// An upstream.
pub struct Site {
    host: Arc<str>,
    pub scripts: Vec<Arc<Script>>,
    pub turns: Arc<Semaphore>,
}

impl Site {
    pub fn new(host: &str, scripts: Vec<Arc<Script>>) -> Arc<Self> {
        Arc::new(Self {
            host: host.into(),
            scripts,
            turns: Arc::new(Semaphore::new(16)),
        })
    }
}

impl Origin for Site {
    fn upstream(&self) -> &Arc<str> {
        &self.host
    }

    fn sources(&self, _digest: &Digest) -> Vec<Arc<dyn Source>> {
        let source = |script: &Arc<Script>| script.clone() as Arc<dyn Source>;
        self.scripts.iter().map(source).collect()
    }

    fn turn(&self) -> BoxFuture<'static, Box<dyn Send>> {
        let turns = self.turns.clone();
        Box::pin(async move { Box::new(turns.acquire_owned().await.unwrap()) as Box<dyn Send> })
    }
}

/// What a client saw.
#[derive(Clone, Debug)]
pub struct Seen {
    pub how: How,
    pub span: (u64, u64, u64),
    pub bytes: Vec<u8>,
    pub end: Result<(), ShortEnd>,
    /// Until the answer.
    pub start: Duration,
    /// The longest wait for a piece.
    pub gap: Duration,
}

/// Small limits in bytes, real ones in time.
pub fn limits() -> FillLimits {
    FillLimits {
        small: 1000,
        hold_back: 100,
        progress: 50,
        near: 500,
        ..FillLimits::default()
    }
}

pub fn blob(size: usize) -> Bytes {
    (0..size)
        .map(|i| u8::try_from((i * 31 + i / 251) % 251).unwrap())
        .collect()
}

#[expect(clippy::unnecessary_wraps, reason = "as it is asked for")]
pub fn from(start: u64) -> Option<Span> {
    Some(Span { start, end: None })
}

impl Bench {
    /// An upstream with one source for each list of acts, of which the last is repeated for ever.
    pub fn new(size: usize, sources: impl IntoIterator<Item = Vec<Act>>) -> Self {
        Self::of(&blob(size), sources)
    }

    pub fn of(blob: &Bytes, sources: impl IntoIterator<Item = Vec<Act>>) -> Self {
        let script = |mut acts: Vec<Act>| {
            let then = acts.pop().unwrap();
            Script::new(blob, acts, then)
        };
        let site = Site::new("docker.io", sources.into_iter().map(script).collect());
        let shelf = Shelf::new();
        let metrics = FillMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        Self {
            fills: Fills::keeping(Arc::new(shelf.clone()), limits(), &metrics),
            shelf,
            site,
            blob: blob.clone(),
            digest: Digest::sha256(blob),
            registry,
        }
    }

    pub async fn open(&self, range: Option<Span>) -> Result<Answer, NoBlob> {
        self.fills.blob(self.site.clone(), self.digest, range).await
    }

    /// Asks and reads to the end.
    pub async fn get(&self, range: Option<Span>) -> Result<Seen, NoBlob> {
        let begun = Instant::now();
        let answer = self.open(range).await?;
        let start = begun.elapsed();
        Ok(read(answer, start, Duration::ZERO).await)
    }

    /// The same, by somebody else.
    pub fn client(&self, range: Option<Span>) -> JoinHandle<Result<Seen, NoBlob>> {
        let (fills, site, digest) = (self.fills.clone(), self.site.clone(), self.digest);
        tokio::spawn(async move {
            let begun = Instant::now();
            let answer = fills.blob(site, digest, range).await?;
            let start = begun.elapsed();
            Ok(read(answer, start, Duration::ZERO).await)
        })
    }

    /// The offsets that upstream was asked for, source by source.
    pub fn asked(&self) -> Vec<Vec<u64>> {
        self.site.scripts.iter().map(|script| script.asked()).collect()
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until a fill has ended so.
    pub async fn ended(&self, outcome: &str) {
        let line = format!("regcache_fill_ended_total{{upstream=\"docker.io\",outcome=\"{outcome}\"}}");
        let begun = Instant::now();
        while !self.metrics().contains(&line) {
            assert!(begun.elapsed() < Duration::from_secs(1000), "{}", self.metrics());
            sleep(Duration::from_millis(20)).await;
        }
        // The fill is not listed any more when its task has ended.
        while self.fills.size("docker.io", &self.digest).is_some() {
            tokio::task::yield_now().await;
        }
    }
}

impl Seen {
    /// The blob whole, as it is.
    pub fn is(&self, blob: &[u8]) -> bool {
        self.end.is_ok() && self.bytes == blob
    }
}

pub fn bytes_of(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Bytes(bytes) => bytes.to_vec(),
        Piece::File { file, offset, len } => {
            let mut bytes = vec![0; usize::try_from(*len).unwrap()];
            file.read_exact_at(&mut bytes, *offset).unwrap();
            bytes
        }
    }
}

/// Reads to the end, at once or with `pause` before each piece is asked for.
pub async fn read(mut answer: Answer, start: Duration, pause: Duration) -> Seen {
    let mut seen = Seen {
        how: answer.how,
        span: (answer.total, answer.start, answer.end),
        bytes: Vec::new(),
        end: Ok(()),
        start,
        gap: Duration::ZERO,
    };
    loop {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let asked = Instant::now();
        let piece = answer.pieces.next().await;
        seen.gap = seen.gap.max(asked.elapsed());
        match piece {
            None => return seen,
            Some(Ok(piece)) => {
                assert!(!piece.is_empty());
                seen.bytes.extend(bytes_of(&piece));
            }
            Some(Err(short)) => {
                assert!(seen.end.is_ok(), "nothing comes after the error");
                seen.end = Err(short);
            }
        }
    }
}
