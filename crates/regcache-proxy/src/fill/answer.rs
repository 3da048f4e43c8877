//! What a client gets: a blob's bytes or a part of them, or why not.

use std::fmt;

use futures::StreamExt;
use futures::stream;
use regcache_transfer::{Failed, Span};

use crate::content::{Piece, Pieces};
use crate::store::Blob;

/// A blob's bytes, or a part of them, at once or as they come.
pub struct Answer {
    /// The size of the whole blob.
    pub total: u64,
    /// The offset of the first byte.
    pub start: u64,
    /// The offset after the last byte. Equal to `start` only for an empty blob that was asked for whole.
    pub end: u64,
    /// Exactly `end - start` bytes, or a short end.
    pub pieces: Pieces,
    /// Where they come from.
    pub how: How,
}

/// Where the bytes of an answer come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// From the store.
    Hit,
    /// From a fetch that was there already.
    Join,
    /// From a fetch that began for this request.
    Miss,
    /// From a fetch for this request alone, which is not stored.
    Bypass,
}

/// There is no answer with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBlob {
    /// Upstream does not have the blob.
    #[error("upstream does not have the blob")]
    NotFound,
    /// The range begins behind the blob's end (its size, when it is known).
    #[error("the range lies behind the end of the blob")]
    PastEnd(Option<u64>),
    /// Not now: whoever asks had better go on elsewhere.
    #[error("the blob cannot be had at the moment")]
    Unavailable,
}

impl How {
    /// One lower-case word, for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Join => "join",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

impl From<Failed> for NoBlob {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::NotFound => Self::NotFound,
            Failed::PastEnd(size) => Self::PastEnd(size),
            Failed::Unavailable => Self::Unavailable,
        }
    }
}

impl Answer {
    /// All of a stored blob, or the part of it, in one piece.
    pub(super) fn stored(stored: Blob, range: Option<Span>, how: How) -> Result<Self, NoBlob> {
        let (start, end) = clip(range, stored.size)?;
        let piece = Piece::File {
            file: stored.file,
            offset: start,
            len: end - start,
        };
        let piece = (end > start).then_some(Ok(piece));
        Ok(Self {
            total: stored.size,
            start,
            end,
            pieces: stream::iter(piece).boxed(),
            how,
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total, start, end, how, ..
        } = self;
        write!(f, "Answer({start}..{end} of {total}, {})", how.as_str())
    }
}

/// Which bytes of a blob of `total` bytes are meant. A range is never empty: an answer could not say where it lies.
pub(super) fn clip(range: Option<Span>, total: u64) -> Result<(u64, u64), NoBlob> {
    let Some(Span { start, end }) = range else {
        return Ok((0, total));
    };
    let end = end.map_or(total, |end| end.min(total));
    if start < end {
        Ok((start, end))
    } else {
        Err(NoBlob::PastEnd(Some(total)))
    }
}
