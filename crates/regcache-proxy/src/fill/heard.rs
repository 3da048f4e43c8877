//! What the sources of one round of a fill said, and what it means for the next one.

use std::sync::{Mutex, PoisonError};

use regcache_transfer::{Observer, Reason, Report};

use super::log::{self, Outcome};
use super::resting::Key;

/// Hears how the sources of one round did.
pub(super) struct Heard {
    key: Key,
    round: Mutex<Round>,
}

/// What the sources of one round said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// Sources that were left.
    pub(super) left: u64,
    /// Of these, sources that refuse it and will do so the next time.
    refused: u64,
    /// Of these, sources that do not have the blob.
    not_found: u64,
    /// Of these, sources that say another size than before.
    other_size: u64,
}

/// What a round that failed means for the fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Worth another try.
    TryAgain,
    /// There is nothing to be had, for good.
    Final(Outcome),
}

impl Heard {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            round: Mutex::default(),
        }
    }

    pub(super) fn round(&self) -> Round {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Heard {
    fn ended(&self, report: &Report) {
        log::left(&self.key, report);
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if report.reason == Reason::Complete {
            return;
        }
        round.left += 1;
        match report.reason {
            Reason::NotFound => round.not_found += 1,
            // The blob is shorter than was said before: nothing that comes will fit.
            Reason::PastEnd | Reason::OtherSize { .. } => round.other_size += 1,
            // Too early, too late, too many are states that pass.
            Reason::Status(status) if (400..500).contains(&status) && !matches!(status, 408 | 425 | 429) => {
                round.refused += 1;
            }
            _ => {}
        }
    }
}

impl Round {
    /// What it means when no source could go on: only all of them together are believed.
    pub(super) fn verdict(self) -> Verdict {
        if self.left == 0 || self.not_found + self.other_size + self.refused < self.left {
            Verdict::TryAgain
        } else if self.other_size > 0 {
            Verdict::Final(Outcome::WrongSize)
        } else if self.refused > 0 {
            Verdict::Final(Outcome::Refused)
        } else {
            Verdict::Final(Outcome::NotFound)
        }
    }
}

#[cfg(test)]
mod tests {
    use regcache_transfer::Reason;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], Verdict::TryAgain)]
    #[case(&[Reason::NotFound, Reason::NotFound], Verdict::Final(Outcome::NotFound))]
    #[case(&[Reason::NotFound, Reason::NoHeaders], Verdict::TryAgain)]
    #[case(&[Reason::Stalled, Reason::NotFound], Verdict::TryAgain)]
    #[case(&[Reason::Status(403), Reason::NotFound], Verdict::Final(Outcome::Refused))]
    #[case(&[Reason::Status(401)], Verdict::Final(Outcome::Refused))]
    #[case(&[Reason::Status(429)], Verdict::TryAgain)]
    #[case(&[Reason::Status(503)], Verdict::TryAgain)]
    #[case(&[Reason::PastEnd, Reason::PastEnd], Verdict::Final(Outcome::WrongSize))]
    fn only_what_all_sources_say_for_good_ends_a_fill(#[case] reasons: &[Reason], #[case] verdict: Verdict) {
        let key = Key {
            upstream: "docker.io".into(),
            digest: regcache_transfer::Digest::sha256(b"x"),
        };
        let heard = Heard::new(key);
        for reason in reasons {
            heard.ended(&Report {
                source: "a".into(),
                reason: reason.clone(),
                bytes: 0,
                at: 0,
            });
        }
        assert_eq!(heard.round().verdict(), verdict);
    }
}
