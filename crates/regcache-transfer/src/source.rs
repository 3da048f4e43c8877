//! What a transfer needs to know of a source, and nothing about how it is reached.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::outcome::Reason;

/// A part of a blob, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// The byte after the last; `None`: to the end of the blob. Sources may send more, it is not read.
    pub end: Option<u64>,
}

/// Somewhere that one certain blob can be had.
pub trait Source: Send + Sync + 'static {
    /// Names it in reports. Two sources of one name count as one when wrong bytes are traced.
    fn name(&self) -> &Arc<str>;
    /// Asks for the bytes from `span.start`; done when the headers are there. Dropping the future gives up. Limits on
    /// connecting are the source's own, the one on headers is kept here as well.
    fn open(&self, span: Span) -> BoxFuture<'_, Result<Opened, OpenError>>;
}

/// A source that has answered.
pub struct Opened {
    /// The size of the whole blob. A source that cannot say it cannot be used: nobody could tell a short end.
    pub total: u64,
    /// The offset of the body's first byte: the one asked for when the range was honoured, 0 when it was ignored.
    pub start: u64,
    /// The bytes from there. Dropped as soon as it is not needed any more.
    pub body: BoxStream<'static, Result<Bytes, BodyError>>,
}

/// The body failed after headers. The text is for logs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

/// Why a source gave no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Nobody listens, or the connection was lost before headers. The text is for logs.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The source's own limit on headers went by.
    #[error("no headers in time")]
    NoHeaders,
    /// Any status that is neither an answer nor one of the following.
    #[error("refused with status {0}")]
    Refused(u16),
    /// It does not have the blob (404).
    #[error("not found")]
    NotFound,
    /// The offset is not in the blob (416), and its size when that was said.
    #[error("the range lies behind the end of the blob")]
    PastEnd(Option<u64>),
}

impl From<OpenError> for Reason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unreachable(text) => Self::Unreachable(text),
            OpenError::NoHeaders => Self::NoHeaders,
            OpenError::Refused(status) => Self::Status(status),
            OpenError::NotFound => Self::NotFound,
            OpenError::PastEnd(_) => Self::PastEnd,
        }
    }
}
