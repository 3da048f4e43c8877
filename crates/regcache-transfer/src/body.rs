//! The bytes of a transfer, in order; the end of a verified one is held back until its digest is right.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::Instant;

use crate::digest::{Digest, Hasher};
use crate::relay::Relay;

/// The body ends here, short of what was promised. What was given out must not be taken for the blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShortEnd {
    /// No source could go on.
    #[error("no source could go on at byte {at} of {end}")]
    NoSource {
        /// The first byte that is missing.
        at: u64,
        /// The byte after the last one promised.
        end: u64,
    },
    /// All bytes came, and they are not what the digest says.
    #[error("the bytes do not match the digest")]
    WrongDigest {
        /// The source that sent them, when all of them came from one.
        by: Option<Arc<str>>,
    },
}

/// A stream of the bytes promised. Ends with `None` after exactly those, or with one error before.
///
/// To be polled until it is done; whoever stops asking may come back any time later.
pub struct Body(BoxStream<'static, Result<Bytes, ShortEnd>>);

impl Body {
    pub(crate) fn ready(bytes: Bytes) -> Self {
        let chunk = (!bytes.is_empty()).then_some(Ok(bytes));
        Self(stream::iter(chunk).boxed())
    }

    pub(crate) fn streaming(relay: Relay, first: Bytes, end: u64, digest: Option<Digest>) -> Self {
        let free = match digest {
            Some(_) => end.saturating_sub(relay.limits().hold_back),
            None => end,
        };
        let mut streaming = Streaming {
            relay,
            end,
            free,
            passed: 0,
            check: digest.map(|digest| (digest.hasher(), digest)),
            held: BytesMut::new(),
            ready: VecDeque::new(),
            done: false,
        };
        streaming.passed = streaming.relay.at() - first.len() as u64;
        Self(
            stream::unfold((streaming, Some(first)), |(mut streaming, first)| async move {
                let item = streaming.step(first).await?;
                Some((item, (streaming, None)))
            })
            .boxed(),
        )
    }
}

impl Stream for Body {
    type Item = Result<Bytes, ShortEnd>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

struct Streaming {
    relay: Relay,
    /// The offset after the last byte promised.
    end: u64,
    /// Bytes before this offset are given out as they come.
    free: u64,
    /// The offset of the next byte to be given out or held.
    passed: u64,
    check: Option<(Hasher, Digest)>,
    held: BytesMut,
    ready: VecDeque<Bytes>,
    done: bool,
}

impl Streaming {
    async fn step(&mut self, first: Option<Bytes>) -> Option<Result<Bytes, ShortEnd>> {
        let mut first = first;
        // One for all chunks until something is given out: those that are held back do not end the reader's wait.
        let deadline = Instant::now() + self.relay.limits().gap;
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Ok(chunk));
            }
            if self.done {
                return None;
            }
            let chunk = match first.take() {
                Some(chunk) => Ok(chunk),
                None => self.relay.next(deadline).await,
            };
            let Ok(chunk) = chunk else {
                self.done = true;
                return Some(Err(ShortEnd::NoSource {
                    at: self.relay.at(),
                    end: self.end,
                }));
            };
            self.take(chunk);
            // At once, not when asked for more: a reader that has counted its bytes may never ask again.
            if self.relay.at() >= self.end {
                self.done = true;
                if let Err(short) = self.finish() {
                    self.ready.clear();
                    return Some(Err(short));
                }
            }
        }
    }

    fn take(&mut self, mut chunk: Bytes) {
        if let Some((hasher, _)) = &mut self.check {
            hasher.update(&chunk);
        }
        let free = usize::try_from(self.free.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        self.passed += chunk.len() as u64;
        let open = chunk.split_to(free.min(chunk.len()));
        if !open.is_empty() {
            self.ready.push_back(open);
        }
        // Copied, since a small slice would keep all of its source's buffer alive.
        self.held.extend_from_slice(&chunk);
    }

    fn finish(&mut self) -> Result<(), ShortEnd> {
        if let Some((hasher, digest)) = self.check.take()
            && hasher.finish() != digest
        {
            return Err(ShortEnd::WrongDigest { by: self.relay.wrong() });
        }
        self.relay.complete();
        let held = std::mem::take(&mut self.held).freeze();
        if !held.is_empty() {
            self.ready.push_back(held);
        }
        Ok(())
    }
}
