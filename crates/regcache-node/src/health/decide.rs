//! The decision: which caches an upstream's requests try now, in which order. Pure.

use std::time::Instant;

use regcache_mirror::plan::{CacheRef, UpstreamPlan};

use super::observations::Observations;

/// The plan's order without the caches that may not be used now. Nothing is left: the request goes on to the
/// upstream, which is better than to wait for a cache that is known to be sick.
pub fn order<'a>(plan: &'a UpstreamPlan, observations: &Observations, now: Instant) -> Vec<&'a CacheRef> {
    let usable = |cache: &&CacheRef| observations.usable(&plan.host, cache, now).is_ok();
    plan.caches.iter().filter(usable).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use regcache_mirror::plan::Mode;
    use rstest::rstest;

    use super::super::observations::Checked;
    use super::super::observations::Probed::{self, Answered, Gone, Late};
    use super::*;
    use crate::router::Outcome::{self, Corrupt, Ok, Refused, Short, Silent, Unreachable};

    /// One thing that happens to cache `a`, and when, in milliseconds after the start.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Probe(Probed),
        Seen(Outcome),
        /// For another upstream that the same cache serves.
        SeenElsewhere(Outcome),
        /// Its probe blob came right.
        Right,
        Wrong,
        Stalled,
        Delayed,
    }
    use Event::{Delayed, Probe, Right, Seen, SeenElsewhere, Stalled, Wrong};

    /// How long a right probe blob counts here.
    const COUNTS: Duration = Duration::from_secs(300);

    const A: usize = 0;
    const B: usize = 1;

    fn cache(name: &str) -> CacheRef {
        CacheRef {
            name: name.into(),
            url: format!("http://{name}:5000"),
            region: "r".into(),
            ns: true,
            probe: false,
        }
    }

    fn upstream() -> UpstreamPlan {
        UpstreamPlan {
            host: "docker.io".into(),
            server: "https://registry-1.docker.io".into(),
            mode: Mode::Enforce,
            caches: vec![cache("a"), cache("b")],
        }
    }

    fn apply(observations: &mut Observations, which: usize, event: Event, now: Instant) {
        apply_to(&upstream(), observations, which, event, now);
    }

    fn apply_to(plan: &UpstreamPlan, observations: &mut Observations, which: usize, event: Event, now: Instant) {
        let cache = &plan.caches[which];
        match event {
            Probe(probed) => drop(observations.probed(cache, probed, now)),
            Seen(outcome) => observations.observed(&plan.host, cache, outcome, now),
            SeenElsewhere(outcome) => observations.observed("ghcr.io", cache, outcome, now),
            Right => drop(observations.checked(cache, Checked::Right { until: now + COUNTS }, now)),
            Wrong => drop(observations.checked(cache, Checked::Wrong, now)),
            Stalled => drop(observations.checked(cache, Checked::Stalled, now)),
            Delayed => drop(observations.checked(cache, Checked::Late, now)),
        }
    }

    fn names(observations: &Observations, now: Instant) -> String {
        order(&upstream(), observations, now)
            .iter()
            .map(|cache| cache.name.as_str())
            .collect()
    }

    /// Cache `b` is well all the time. The last column: the order at that many milliseconds.
    #[rstest]
    #[case::never_probed(&[], 0, "b")]
    #[case::real_traffic_proves_nothing_before_a_probe(&[(0, Seen(Ok))], 0, "b")]
    #[case::answered(&[(0, Probe(Answered))], 0, "ab")]
    #[case::first_probe_failed(&[(0, Probe(Gone))], 0, "b")]
    #[case::first_probe_failed_costs_no_back_off(&[(0, Probe(Gone)), (10, Probe(Answered))], 10, "ab")]
    #[case::probe_lost(&[(0, Probe(Answered)), (2000, Probe(Gone))], 2000, "b")]
    #[case::back_within_its_back_off(&[(0, Probe(Answered)), (2000, Probe(Gone)), (2900, Probe(Answered))], 2900, "b")]
    #[case::back_after_it(&[(0, Probe(Answered)), (2000, Probe(Gone)), (2900, Probe(Answered))], 3000, "ab")]
    #[case::one_late_answer(&[(0, Probe(Answered)), (2000, Probe(Late))], 2000, "ab")]
    #[case::two_late_answers(&[(0, Probe(Answered)), (2000, Probe(Late)), (6000, Probe(Late))], 6000, "b")]
    #[case::two_late_answers_not_in_a_row(
        &[(0, Probe(Answered)), (2000, Probe(Late)), (4000, Probe(Answered)), (6000, Probe(Late))], 6000, "ab")]
    #[case::refused_connection(&[(0, Probe(Answered)), (100, Seen(Unreachable))], 100, "b")]
    #[case::nothing_but_a_probe_brings_it_back(&[(0, Probe(Answered)), (100, Seen(Unreachable))], 3_600_000, "b")]
    #[case::second_fall_in_a_row_lasts_longer(
        &[(0, Probe(Answered)), (100, Seen(Unreachable)), (2000, Probe(Answered)), (2100, Seen(Unreachable)),
          (3000, Probe(Answered))], 4099, "b")]
    #[case::and_ends(
        &[(0, Probe(Answered)), (100, Seen(Unreachable)), (2000, Probe(Answered)), (2100, Seen(Unreachable)),
          (3000, Probe(Answered))], 4100, "ab")]
    #[case::silent(&[(0, Probe(Answered)), (100, Seen(Silent))], 100, "b")]
    #[case::probes_do_not_end_silence_early(&[(0, Probe(Answered)), (100, Seen(Silent)), (60_000, Probe(Answered))], 60_000, "b")]
    #[case::silence_is_over_after_a_minute(&[(0, Probe(Answered)), (100, Seen(Silent))], 60_100, "ab")]
    #[case::second_silence_lasts_two(
        &[(0, Probe(Answered)), (0, Seen(Silent)), (60_000, Seen(Silent))], 179_999, "b")]
    #[case::four_pulls_tell_of_one_silence(
        &[(0, Probe(Answered)), (0, Seen(Silent)), (1, Seen(Silent)), (2, Seen(Silent)), (3, Seen(Silent))], 60_000, "ab")]
    #[case::silence_counts_for_its_upstream_only(&[(0, Probe(Answered)), (0, SeenElsewhere(Silent))], 0, "ab")]
    #[case::corrupt(&[(0, Probe(Answered)), (0, Seen(Corrupt)), (299_000, Probe(Answered))], 299_999, "b")]
    #[case::corrupt_counts_for_all_upstreams(&[(0, Probe(Answered)), (0, SeenElsewhere(Corrupt))], 0, "b")]
    #[case::corrupt_for_five_minutes(&[(0, Probe(Answered)), (0, Seen(Corrupt))], 300_000, "ab")]
    #[case::second_corruption_lasts_ten(&[(0, Probe(Answered)), (0, Seen(Corrupt)), (300_000, Seen(Corrupt))], 899_999, "b")]
    #[case::short_says_nothing_of_the_cache(&[(0, Probe(Answered)), (0, Seen(Short)), (0, Seen(Short))], 0, "ab")]
    #[case::two_errors(&[(0, Probe(Answered)), (0, Seen(Refused)), (0, Seen(Refused))], 0, "ab")]
    #[case::three_errors(&[(0, Probe(Answered)), (0, Seen(Refused)), (0, Seen(Refused)), (0, Seen(Refused))], 9_999, "b")]
    #[case::ten_seconds_later(&[(0, Probe(Answered)), (0, Seen(Refused)), (0, Seen(Refused)), (0, Seen(Refused))], 10_000, "ab")]
    #[case::three_errors_not_in_a_row(
        &[(0, Probe(Answered)), (0, Seen(Refused)), (0, Seen(Refused)), (0, Seen(Ok)), (0, Seen(Refused))], 0, "ab")]
    #[case::errors_count_for_their_upstream_only(
        &[(0, Probe(Answered)), (0, SeenElsewhere(Refused)), (0, SeenElsewhere(Refused)), (0, Seen(Refused))], 0, "ab")]
    fn order_after(#[case] events: &[(u64, Event)], #[case] at: u64, #[case] expected: &str) {
        let start = Instant::now();
        let mut observations = Observations::default();
        apply(&mut observations, B, Probe(Answered), start);
        for (millis, event) in events {
            apply(&mut observations, A, *event, start + Duration::from_millis(*millis));
        }
        assert_eq!(names(&observations, start + Duration::from_millis(at)), expected);
    }

    /// Cache `a` is one of ours, `b` is not and well. The last columns: the order, and whether the probe blob of `a` is
    /// asked for, at that many milliseconds.
    #[rstest]
    #[case::never_probed(&[], 0, "b", false)]
    #[case::answers_but_its_blob_has_not_come(&[(0, Probe(Answered))], 0, "b", true)]
    #[case::proven(&[(0, Probe(Answered)), (0, Right)], 0, "ab", false)]
    #[case::proven_for_a_while(&[(0, Probe(Answered)), (0, Right)], 299_999, "ab", false)]
    #[case::asked_again_and_used_meanwhile(&[(0, Probe(Answered)), (0, Right)], 300_000, "ab", true)]
    #[case::away(&[(0, Probe(Answered)), (0, Right), (2000, Probe(Gone))], 10_000, "b", false)]
    #[case::back_but_not_proven(
        &[(0, Probe(Answered)), (0, Right), (2000, Probe(Gone)), (4000, Probe(Answered))], 4000, "b", true)]
    #[case::back_and_proven(
        &[(0, Probe(Answered)), (0, Right), (2000, Probe(Gone)), (4000, Probe(Answered)), (4000, Right)], 4000, "ab", false)]
    #[case::back_too_soon(
        &[(0, Probe(Answered)), (0, Right), (2000, Probe(Gone)), (2500, Probe(Answered))], 2500, "b", false)]
    #[case::one_late_answer(&[(0, Probe(Answered)), (0, Right), (2000, Probe(Late))], 2000, "ab", false)]
    #[case::blob_stalled(&[(0, Probe(Answered)), (0, Stalled)], 59_999, "b", false)]
    #[case::asked_again_after_its_time(&[(0, Probe(Answered)), (0, Stalled)], 60_000, "b", true)]
    #[case::and_back(&[(0, Probe(Answered)), (0, Stalled), (60_000, Right)], 60_000, "ab", false)]
    #[case::second_stall_lasts_longer(&[(0, Probe(Answered)), (0, Stalled), (60_000, Stalled)], 179_999, "b", false)]
    #[case::stalls_though_it_was_proven(&[(0, Probe(Answered)), (0, Right), (300_000, Stalled)], 300_000, "b", false)]
    #[case::blob_wrong(&[(0, Probe(Answered)), (0, Wrong), (299_000, Probe(Answered))], 299_999, "b", false)]
    #[case::wrong_and_its_time_is_over(&[(0, Probe(Answered)), (0, Wrong)], 300_000, "b", true)]
    #[case::wrong_and_proven_since(&[(0, Probe(Answered)), (0, Wrong), (300_000, Right)], 300_000, "ab", false)]
    #[case::wrong_bytes_of_anothers_pull(
        &[(0, Probe(Answered)), (0, Right), (10_000, SeenElsewhere(Corrupt))], 310_000, "b", true)]
    #[case::no_new_connection_before_first_use(&[(0, Probe(Answered)), (0, Delayed)], 2000, "b", true)]
    #[case::no_new_connection_once(&[(0, Probe(Answered)), (0, Right), (300_000, Delayed)], 300_000, "ab", true)]
    #[case::no_new_connection_twice(
        &[(0, Probe(Answered)), (0, Right), (300_000, Delayed), (302_000, Probe(Answered)), (302_000, Delayed),
          (304_000, Probe(Answered))], 304_000, "b", true)]
    #[case::let_a_request_hang(&[(0, Probe(Answered)), (0, Right), (1000, Seen(Silent))], 1000, "b", true)]
    #[case::proven_does_not_end_silence_early(
        &[(0, Probe(Answered)), (0, Right), (1000, Seen(Silent)), (2000, Right)], 60_999, "b", false)]
    #[case::silence_elsewhere_is_looked_into(
        &[(0, Probe(Answered)), (0, Right), (1000, SeenElsewhere(Silent))], 1000, "ab", true)]
    #[case::and_found_true(
        &[(0, Probe(Answered)), (0, Right), (1000, SeenElsewhere(Silent)), (2000, Stalled)], 2000, "b", false)]
    #[case::short_and_refused_are_no_reason_to_ask(
        &[(0, Probe(Answered)), (0, Right), (1000, Seen(Short)), (1000, Seen(Refused))], 1000, "ab", false)]
    fn order_of_caches_of_ours_after(
        #[case] events: &[(u64, Event)],
        #[case] at: u64,
        #[case] expected: &str,
        #[case] due: bool,
    ) {
        let start = Instant::now();
        let mut plan = upstream();
        plan.caches[A].probe = true;
        let mut observations = Observations::default();
        apply_to(&plan, &mut observations, B, Probe(Answered), start);
        for (millis, event) in events {
            apply_to(
                &plan,
                &mut observations,
                A,
                *event,
                start + Duration::from_millis(*millis),
            );
        }
        let now = start + Duration::from_millis(at);
        let names: String = order(&plan, &observations, now)
            .iter()
            .map(|cache| cache.name.as_str())
            .collect();
        assert_eq!(names, expected);
        assert_eq!(observations.check_due(&plan.caches[A], now), due);
        assert!(!observations.check_due(&plan.caches[B], now), "it has none");
    }

    #[test]
    fn nobody_well_means_nobody() {
        assert_eq!(names(&Observations::default(), Instant::now()), "");
    }

    #[test]
    fn a_new_address_has_to_prove_itself() {
        let now = Instant::now();
        let mut observations = Observations::default();
        apply(&mut observations, A, Probe(Answered), now);
        let mut plan = upstream();
        plan.caches[A].url = "http://elsewhere:5000".into();
        assert!(order(&plan, &observations, now).is_empty());
    }

    fn event() -> impl Strategy<Value = Event> {
        let outcome = prop::sample::select(vec![Ok, Unreachable, Silent, Short, Refused, Corrupt]);
        prop_oneof![
            prop::sample::select(vec![Answered, Late, Gone]).prop_map(Probe),
            outcome.clone().prop_map(Seen),
            outcome.prop_map(SeenElsewhere),
        ]
    }

    fn ours() -> impl Strategy<Value = Event> {
        prop_oneof![
            event(),
            prop::sample::select(vec![Right, Right, Wrong, Stalled, Delayed])
        ]
    }

    proptest! {
        /// Whatever happens: the order is the plan's, a cache is not in it at the moment when it does badly, and one
        /// that is gone not before a probe has found it again.
        #[test]
        fn a_sick_cache_is_never_before_a_healthy_one(
            events in prop::collection::vec((0..2_usize, 0..30_000_u64, event()), 0..60),
        ) {
            let mut now = Instant::now();
            let mut observations = Observations::default();
            let mut gone = [true, true];
            for (which, later, event) in events {
                now += Duration::from_millis(later);
                apply(&mut observations, which, event, now);
                match event {
                    Probe(Answered) => gone[which] = false,
                    Probe(Gone) | Seen(Unreachable) | SeenElsewhere(Unreachable) => gone[which] = true,
                    _ => {}
                }
                let order = names(&observations, now);
                prop_assert!(["", "a", "b", "ab"].contains(&order.as_str()));
                for (name, gone) in ["a", "b"].iter().zip(gone) {
                    prop_assert!(!(gone && order.contains(name)), "{name} in {order} though gone");
                }
                let bad = matches!(event, Seen(Silent | Corrupt) | SeenElsewhere(Corrupt));
                prop_assert!(!(bad && order.contains(["a", "b"][which])), "{which} in {order} after {event:?}");
            }
        }

        /// A cache of ours is never used with its proof outstanding, and is never stuck: an hour of good probes later it
        /// is used or its blob asked for, and the blob brings it back.
        #[test]
        fn a_cache_of_ours_proves_itself_and_comes_back(
            events in prop::collection::vec((0..30_000_u64, ours()), 0..60),
        ) {
            let mut plan = upstream();
            plan.caches.truncate(1);
            plan.caches[A].probe = true;
            let mut now = Instant::now();
            let mut observations = Observations::default();
            let mut proven = false;
            for (later, event) in events {
                now += Duration::from_millis(later);
                apply_to(&plan, &mut observations, A, event, now);
                match event {
                    Right => proven = true,
                    Wrong
                    | Stalled
                    | Probe(Gone)
                    | Seen(Unreachable | Corrupt)
                    | SeenElsewhere(Unreachable | Corrupt) => proven = false,
                    _ => {}
                }
                prop_assert!(proven || order(&plan, &observations, now).is_empty(), "used after {event:?}");
            }
            now += Duration::from_secs(3600);
            apply_to(&plan, &mut observations, A, Probe(Answered), now);
            prop_assert!(observations.check_due(&plan.caches[A], now));
            apply_to(&plan, &mut observations, A, Right, now);
            prop_assert_eq!(order(&plan, &observations, now).len(), 1);
        }

        /// No fault is for ever: an hour of good probes later everybody is used again.
        #[test]
        fn whoever_behaves_comes_back(events in prop::collection::vec((0..2_usize, 0..30_000_u64, event()), 0..60)) {
            let mut now = Instant::now();
            let mut observations = Observations::default();
            for (which, later, event) in events {
                now += Duration::from_millis(later);
                apply(&mut observations, which, event, now);
            }
            apply(&mut observations, A, Probe(Answered), now);
            apply(&mut observations, B, Probe(Answered), now);
            prop_assert_eq!(names(&observations, now + Duration::from_secs(3600)), "ab");
        }
    }
}
