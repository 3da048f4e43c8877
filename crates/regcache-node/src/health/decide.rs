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
    }
    use Event::{Probe, Seen, SeenElsewhere};

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
        let plan = upstream();
        let cache = &plan.caches[which];
        match event {
            Probe(probed) => drop(observations.probed(cache, probed, now)),
            Seen(outcome) => observations.observed(&plan.host, cache, outcome, now),
            SeenElsewhere(outcome) => observations.observed("ghcr.io", cache, outcome, now),
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
