//! What is said about fetches: one line for each source that was left, one for each fill.

use std::time::Duration;

use regcache_transfer::{Reason, Report};

use super::resting::Key;

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Fetched, right, and stored.
    Stored,
    /// It came into the store from elsewhere: between the client's look and the fill's, or from another upstream.
    Found,
    /// Fetched and right, but the store could not keep it.
    Unkept,
    /// The store took it not, or not to its end.
    NotStored,
    /// Upstream does not have it.
    NotFound,
    /// Upstream refuses it (401, 403 and the like).
    Refused,
    /// The bytes are not what the digest says.
    WrongDigest,
    /// Upstream says one size now and another one then.
    WrongSize,
    /// Nothing came for longer than a fill is patient.
    GaveUp,
    /// The program is ending.
    Stopped,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Found => "found",
            Self::Unkept => "unkept",
            Self::NotStored => "not_stored",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::WrongDigest => "wrong_digest",
            Self::WrongSize => "wrong_size",
            Self::GaveUp => "gave_up",
            Self::Stopped => "stopped",
        }
    }
}

/// What a fill's line says beside its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) outcome: Outcome,
    /// Bytes that came from upstream.
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) clients: u64,
    pub(super) resumes: u64,
}

/// Says how a fill ended.
pub(super) fn ended(key: &Key, line: &Line) {
    let Line {
        outcome,
        bytes,
        took,
        clients,
        resumes,
    } = *line;
    let (upstream, digest, seconds) = (&*key.upstream, &key.digest, took.as_secs_f64());
    let outcome_name = outcome.as_str();
    match outcome {
        Outcome::Stored | Outcome::Found | Outcome::NotFound | Outcome::Stopped => {
            tracing::info!(upstream, %digest, bytes, seconds, clients, resumes, outcome = outcome_name, "fill ended");
        }
        _ => {
            tracing::warn!(upstream, %digest, bytes, seconds, clients, resumes, outcome = outcome_name, "fill ended");
        }
    }
}

/// Says why a source was left, unless it did what it was asked for.
pub(super) fn left(key: &Key, report: &Report) {
    let (upstream, digest, source) = (&*key.upstream, &key.digest, &*report.source);
    let (reason, bytes, at) = (&report.reason, report.bytes, report.at);
    match reason {
        Reason::Complete => {}
        Reason::NotFound => tracing::debug!(upstream, %digest, source, bytes, at, %reason, "source left"),
        _ => tracing::warn!(upstream, %digest, source, bytes, at, %reason, "source left"),
    }
}
