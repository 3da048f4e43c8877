//! What is told about each source, at once: how it did and why.

use std::sync::Arc;

/// How a source did with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered in full (a 404 is an answer).
    Ok,
    /// Nobody listens (refused, reset before headers, no route).
    Unreachable,
    /// No headers in time, or a body that stopped moving.
    Silent,
    /// The body ended early, or does not fit what others sent: says something about this blob only.
    Short,
    /// A server error (5xx, 401, 403, 429, a redirect).
    Refused,
    /// Bytes that are not what their digest says, all of them from this source.
    Corrupt,
}

impl Outcome {
    /// One lower-case word, for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Short => "short",
            Self::Refused => "refused",
            Self::Corrupt => "corrupt",
        }
    }
}

/// Why a source was left, or that it was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// All that was asked of it came.
    #[error("answered in full")]
    Complete,
    /// It does not have the blob.
    #[error("not found")]
    NotFound,
    /// The offset lies behind the blob's end.
    #[error("the range lies behind the end of the blob")]
    PastEnd,
    /// No connection, or one that was lost before headers came.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// [`crate::Limits::headers`] went by.
    #[error("no headers in time")]
    NoHeaders,
    /// A status that is no answer.
    #[error("answered with status {0}")]
    Status(u16),
    /// [`crate::Limits::stall`] went by.
    #[error("body stopped moving")]
    Stalled,
    /// The body failed.
    #[error("body broke off: {0}")]
    Broke(String),
    /// The body ended before the last byte.
    #[error("body ended early")]
    EndedEarly,
    /// It says another size than was promised to the reader.
    #[error("says {found} bytes where {promised} were promised")]
    OtherSize {
        /// What the reader was told.
        promised: u64,
        /// What this source says.
        found: u64,
    },
    /// It starts at another byte, too far from the one asked for.
    #[error("starts at byte {found} instead of {asked}")]
    OtherStart {
        /// The offset asked for.
        asked: u64,
        /// Where the source started.
        found: u64,
    },
    /// All bytes came from this source, and the digest is not theirs.
    #[error("sent bytes that do not match the digest")]
    WrongDigest,
    /// The digest is wrong, and several sources gave bytes: this one was the last.
    #[error("finished a blob of several sources that does not match the digest")]
    WrongTogether,
    /// [`crate::Limits::start`] or [`crate::Limits::gap`] went by before this source's own limits did.
    #[error("the reader cannot wait any longer")]
    OutOfTime,
}

impl Reason {
    /// What it means for the source.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Complete | Self::NotFound | Self::PastEnd => Outcome::Ok,
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::NoHeaders | Self::Stalled => Outcome::Silent,
            Self::Status(_) => Outcome::Refused,
            Self::WrongDigest => Outcome::Corrupt,
            // None of these says whether this source or another one is at fault.
            Self::Broke(_)
            | Self::EndedEarly
            | Self::OtherSize { .. }
            | Self::OtherStart { .. }
            | Self::WrongTogether
            | Self::OutOfTime => Outcome::Short,
        }
    }
}

/// How one opening of one source ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The source's name.
    pub source: Arc<str>,
    /// Why it ended; [`Reason::outcome`] is what that means.
    pub reason: Reason,
    /// How many bytes of the blob came from this opening.
    pub bytes: u64,
    /// The next byte of the blob that was needed when it ended.
    pub at: u64,
}

/// Hears of each source as soon as it is done with. Not called for a source that the reader itself walked away from.
pub trait Observer: Send + Sync + 'static {
    /// One opening of one source ended. Called inline: must be quick.
    fn ended(&self, report: &Report);
}

impl<F: Fn(&Report) + Send + Sync + 'static> Observer for F {
    fn ended(&self, report: &Report) {
        self(report);
    }
}
