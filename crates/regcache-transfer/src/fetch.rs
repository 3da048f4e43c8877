//! The start of a transfer: finds the source that begins, and reads small blobs whole before anything is given out.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::body::Body;
use crate::digest::Digest;
use crate::limits::Limits;
use crate::outcome::Observer;
use crate::relay::{Exhausted, Misses, Relay};
use crate::source::{Source, Span};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Which part of the blob.
    pub span: Span,
    /// What the whole blob has to hash to. Checked when the span turns out to be the whole blob; a part is given out
    /// unverified, under the same limits.
    pub digest: Option<Digest>,
}

/// A transfer that has begun: bytes are at hand, the means to finish it were there a moment ago.
#[derive(Debug)]
pub struct Transfer {
    /// The size of the whole blob.
    pub total: u64,
    /// The offset of the first byte of the body.
    pub start: u64,
    /// The offset after its last byte.
    pub end: u64,
    /// The bytes.
    pub body: Body,
}

/// No source could begin. The observer has heard why from each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Every source says that it does not have the blob.
    #[error("no source has the blob")]
    NotFound,
    /// The range begins behind the blob's end (its size, when a source said it).
    #[error("the range lies behind the end of the blob")]
    PastEnd(Option<u64>),
    /// At least one source could have had it.
    #[error("no source could deliver the blob")]
    Unavailable,
}

/// Asks `sources` in their order and waits until the first bytes are there, or for small blobs all of them.
///
/// A source may be in the list twice: it is then asked again on a fresh connection after those in between failed.
pub async fn fetch(
    sources: Vec<Arc<dyn Source>>,
    ask: Ask,
    limits: Limits,
    observer: Arc<dyn Observer>,
) -> Result<Transfer, Failed> {
    let mut relay = Relay::new(sources, ask.span, limits, observer);
    let deadline = Instant::now() + limits.start;
    loop {
        let Ok(total) = relay.opened(deadline).await else {
            return Err(failure(relay.misses()));
        };
        let (start, end) = (relay.at(), relay.end(total));
        let digest = ask.digest.filter(|_| start == 0 && end == total);
        let body = match digest {
            Some(digest) if total <= limits.verify_whole => {
                whole(&mut relay, total, &digest, deadline).await.map(Body::ready)
            }
            _ if end <= start => {
                relay.complete();
                Ok(Body::ready(Bytes::new()))
            }
            digest => match relay.read(deadline).await {
                Ok(first) => {
                    relay.promise(total);
                    return Ok(Transfer {
                        total,
                        start,
                        end,
                        body: Body::streaming(relay, first, end, digest),
                    });
                }
                Err(exhausted) => Err(exhausted),
            },
        };
        match body {
            Ok(body) => {
                return Ok(Transfer {
                    total,
                    start,
                    end: end.max(start),
                    body,
                });
            }
            Err(Exhausted) => relay.rewind(),
        }
    }
}

/// Reads the open source to the end. Nothing has been given out: when it fails, the next one starts anew, and whose
/// bytes were wrong is never in doubt.
async fn whole(relay: &mut Relay, total: u64, digest: &Digest, deadline: Instant) -> Result<Bytes, Exhausted> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(total).unwrap_or_default());
    while relay.at() < total {
        bytes.extend_from_slice(&relay.read(deadline).await?);
    }
    if digest.matches(&bytes) {
        relay.complete();
        Ok(bytes.freeze())
    } else {
        relay.wrong();
        Err(Exhausted)
    }
}

fn failure(misses: Misses) -> Failed {
    match misses {
        Misses {
            not_found: 1..,
            past_end: 0,
            others: 0,
            ..
        } => Failed::NotFound,
        Misses {
            past_end: 1..,
            others: 0,
            size,
            ..
        } => Failed::PastEnd(size),
        _ => Failed::Unavailable,
    }
}
