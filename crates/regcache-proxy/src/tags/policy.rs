//! What to do about a tag, from what is known of it and of its upstream. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::pace::APART;
use crate::manifests::WITHIN;

/// How long a client with a stale answer at hand waits for upstream.
pub const WITH_STALE: Duration = Duration::from_secs(2);
/// While upstream is silent, one question about a tag is sent behind the answers in each such time, to find out soon
/// that upstream is well again.
pub const AGAIN: Duration = Duration::from_millis(500);
/// An upstream that is silent for so long is not waited for by others: the first one has waited for [`WITH_STALE`], and
/// its question may have been held back for a moment.
const SILENT: Duration = WITH_STALE.saturating_sub(APART);

/// For how long what is known of a tag may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagPolicy {
    /// Younger than this it is served without asking upstream. Zero: upstream is asked each time.
    pub max_age: Duration,
    /// When upstream cannot be asked it is served up to this age, counted from the last success.
    pub stale_for: Duration,
}

/// How upstream is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It failed a moment ago and is not asked at all for so long.
    pub resting: Option<Duration>,
    /// It has said nothing to anybody for so long while somebody waited.
    pub silent: Option<Duration>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// What is known is good.
    Serve,
    /// What is known has to do, for upstream is known not to answer. `ask`: a question goes to upstream all the same,
    /// and nobody waits for it.
    ServeStale {
        /// Whether to ask upstream behind the answer.
        ask: bool,
    },
    /// Upstream is asked, and waited for so long, counted from the moment the question was sent.
    Ask {
        /// How long.
        within: Duration,
        /// Whether what is known may be served when that fails.
        stale: bool,
    },
    /// There is nothing to serve and upstream is not asked now.
    Refuse {
        /// When to try again.
        after: Duration,
    },
}

/// Decides about a tag that was last heard of upstream at `checked`, if ever.
pub fn decide(checked: Option<Timestamp>, now: Timestamp, policy: TagPolicy, upstream: Condition) -> Step {
    // A clock that was set back makes a fact from the future: of unknown age, so not fresh, and not too old either.
    let age = checked.map(|checked| Duration::try_from(now.duration_since(checked)).ok());
    if let Some(Some(age)) = age
        && age < policy.max_age
    {
        return Step::Serve;
    }
    let stale = age.is_some_and(|age| age.unwrap_or_default() <= policy.stale_for) && !policy.stale_for.is_zero();
    match (stale, upstream.resting) {
        (true, Some(_)) => Step::ServeStale { ask: false },
        (false, Some(after)) => Step::Refuse { after },
        (true, None) if upstream.silent >= Some(SILENT) => Step::ServeStale { ask: true },
        (stale, None) => Step::Ask {
            within: if stale { WITH_STALE } else { WITHIN },
            stale,
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const WELL: Condition = Condition {
        resting: None,
        silent: None,
    };
    const RESTS: Condition = Condition {
        resting: Some(Duration::from_secs(5)),
        silent: None,
    };

    fn silent(millis: u64) -> Condition {
        Condition {
            resting: None,
            silent: Some(Duration::from_millis(millis)),
        }
    }

    const ASK: Step = Step::Ask {
        within: WITHIN,
        stale: false,
    };
    const ASK_WITH_STALE: Step = Step::Ask {
        within: WITH_STALE,
        stale: true,
    };
    const BEHIND: Step = Step::ServeStale { ask: true };
    const STALE: Step = Step::ServeStale { ask: false };
    const REFUSE: Step = Step::Refuse {
        after: Duration::from_secs(5),
    };

    #[rstest]
    #[case::never_heard_of(None, WELL, ASK)]
    #[case::fresh(Some(59), WELL, Step::Serve)]
    #[case::fresh_though_upstream_rests(Some(59), RESTS, Step::Serve)]
    #[case::just_not_fresh(Some(60), WELL, ASK_WITH_STALE)]
    #[case::at_the_end_of_stale(Some(3600), WELL, ASK_WITH_STALE)]
    #[case::too_old(Some(3601), WELL, ASK)]
    #[case::upstream_rests(Some(60), RESTS, STALE)]
    #[case::upstream_rests_and_it_is_too_old(Some(3601), RESTS, REFUSE)]
    #[case::upstream_rests_and_nothing_is_known(None, RESTS, REFUSE)]
    #[case::upstream_takes_a_moment(Some(60), silent(1749), ASK_WITH_STALE)]
    #[case::upstream_is_silent(Some(60), silent(1750), BEHIND)]
    #[case::upstream_is_silent_and_nothing_is_known(None, silent(2000), ASK)]
    #[case::the_clock_was_set_back(Some(-60), WELL, ASK_WITH_STALE)]
    fn age_and_upstream_decide(#[case] age: Option<i64>, #[case] upstream: Condition, #[case] step: Step) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let checked = age.map(|age| now - jiff::SignedDuration::from_secs(age));
        let policy = TagPolicy {
            max_age: Duration::from_secs(60),
            stale_for: Duration::from_secs(3600),
        };
        assert_eq!(decide(checked, now, policy, upstream), step);
    }

    #[test]
    fn by_default_upstream_is_asked_each_time() {
        let now = Timestamp::now();
        let policy = TagPolicy {
            max_age: Duration::ZERO,
            stale_for: Duration::from_secs(1),
        };
        assert_eq!(decide(Some(now), now, policy, WELL), ASK_WITH_STALE);
    }

    #[test]
    fn without_stale_for_nothing_is_served_stale() {
        let now = Timestamp::now();
        let policy = TagPolicy {
            max_age: Duration::ZERO,
            stale_for: Duration::ZERO,
        };
        assert_eq!(decide(Some(now), now, policy, WELL), ASK);
        assert_eq!(decide(Some(now), now, policy, RESTS), REFUSE);
    }
}
