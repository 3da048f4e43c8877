//! What answers are made of: bytes in memory, or places in a file that the connection sends as it can best.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

/// The next bytes of an answer.
#[derive(Clone)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in a file: all of them are there, and they never change.
    File {
        /// Open for reading; stays readable when the file is removed.
        file: Arc<File>,
        /// Where they begin.
        offset: u64,
        /// How many they are. Any number: the connection takes them in steps that suit it.
        len: u64,
    },
}

impl Piece {
    /// How many bytes these are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File { offset, len, .. } => write!(f, "File({offset}+{len})"),
        }
    }
}

/// The answer ends here, short of the length that was promised. The connection ends it by FIN (HTTP/2: by an early end
/// of the stream) and never by a reset: containerd goes on elsewhere from the same byte after the one, and fails the
/// pull after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be finished")]
pub struct ShortEnd;

/// The bytes of an answer in order. A stream that waits longer than 4 s for bytes ends with [`ShortEnd`] by itself.
pub type Pieces = BoxStream<'static, Result<Piece, ShortEnd>>;

/// An answer's body. Its length is in the answer's `Content-Length`.
pub enum Body {
    /// All of it, small.
    Full(Bytes),
    /// As it comes.
    Pieces(Pieces),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bytes) => write!(f, "Full({})", bytes.len()),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}
