//! Sources with any mixture of faults, a store that may be full: the exact bytes or a short end, and never silence.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use regcache_transfer::Span;
use tokio::time::{Instant, sleep};

use super::bench::{Bench, Seen, blob, limits, read};
use super::script::{Act, Fault, Headers};
use crate::fill::NoBlob;

/// The clock of the runtime moves in steps of a millisecond.
const TICK: Duration = Duration::from_millis(10);

fn headers() -> impl Strategy<Value = Headers> {
    prop_oneof![
        8 => Just(Headers::Good),
        1 => (0..4000_u64).prop_map(|millis| Headers::Late(Duration::from_millis(millis))),
        1 => Just(Headers::Never),
        1 => Just(Headers::Unreachable),
        1 => Just(Headers::NotFound),
        1 => prop_oneof![Just(401), Just(429), Just(302), Just(500), Just(503)].prop_map(Headers::Status),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = || 0..8000_u64;
    prop_oneof![
        3 => Just(Fault::None),
        1 => at().prop_map(Fault::Stall),
        1 => at().prop_map(Fault::Break),
        1 => at().prop_map(Fault::End),
        1 => at().prop_map(Fault::Corrupt),
    ]
}

prop_compose! {
    fn act()(
        headers in headers(),
        fault in fault(),
        grow in prop_oneof![8 => Just(0_i64), 1 => -50..50_i64],
        honours_range in prop::bool::weighted(0.8),
        chunk in 1..1500_usize,
        pace in prop_oneof![4 => Just(0_u64), 1 => 1..800_u64],
    ) -> Act {
        let pace = Duration::from_millis(pace);
        Act { headers, fault, grow, honours_range, chunk, pace, gate: None }
    }
}

fn span() -> impl Strategy<Value = Option<Span>> {
    prop_oneof![
        3 => Just(None),
        1 => (0..8500_u64, prop::option::of(1..3000_u64))
            .prop_map(|(start, length)| Some(Span { start, end: length.map(|length| start + length) })),
    ]
}

/// When a client comes, how it reads, and what it asks for.
type Visit = (u64, u64, Option<Span>);

#[derive(Clone, Debug)]
struct Case {
    size: usize,
    sources: Vec<Vec<Act>>,
    visits: Vec<Visit>,
    room: u64,
    left: Option<(usize, bool)>,
}

prop_compose! {
    fn case()(
        size in prop_oneof![0..3_usize, 900..1100_usize, 0..8000_usize],
        sources in prop::collection::vec(prop::collection::vec(act(), 1..5), 1..3),
        visits in prop::collection::vec((
            prop_oneof![Just(0_u64), 0..3000_u64, 0..100_000_u64],
            prop_oneof![3 => Just(0_u64), 1 => 0..6000_u64],
            span(),
        ), 1..6),
        room in prop_oneof![5 => Just(u64::MAX), 1 => 0..8000_u64],
        left in prop::option::weighted(0.2, (0..8000_usize, any::<bool>())),
    ) -> Case {
        Case { size, sources, visits, room, left }
    }
}

async fn visit(bench: &Bench, (after, pause, range): Visit) -> (Option<Span>, Duration, Result<Seen, NoBlob>) {
    sleep(Duration::from_millis(after)).await;
    let begun = Instant::now();
    let answer = bench.open(range).await;
    let start = begun.elapsed();
    let seen = match answer {
        Err(refused) => Err(refused),
        Ok(answer) => Ok(read(answer, start, Duration::from_millis(pause)).await),
    };
    (range, start, seen)
}

fn check(
    case: &Case,
    bench: &Bench,
    range: Option<Span>,
    start: Duration,
    seen: &Result<Seen, NoBlob>,
) -> Result<(), TestCaseError> {
    prop_assert!(start <= limits().start + TICK, "silent at the start: {start:?}");
    let Ok(seen) = seen else {
        return Ok(());
    };
    prop_assert!(seen.gap <= limits().gap + TICK, "silent in the middle: {:?}", seen.gap);
    let (total, from, to) = seen.span;
    let size = seen.bytes.len() as u64;
    prop_assert_eq!(from, range.unwrap_or_default().start);
    prop_assert!(to <= total);
    if seen.end.is_ok() {
        prop_assert_eq!(size, to - from, "complete means: all that was promised");
    } else {
        prop_assert!(size < to - from, "short means: less than promised");
    }
    if from == 0 && to == total && seen.end.is_ok() {
        prop_assert_eq!(&seen.bytes[..], &bench.blob[..], "completed with wrong bytes");
    }
    let honest = |act: &Act| act.grow == 0 && !matches!(act.fault, Fault::Corrupt(_));
    let right = case.left.is_none_or(|(_, right)| right);
    if right && case.sources.iter().flatten().all(honest) {
        let from = usize::try_from(from).unwrap();
        prop_assert_eq!(&seen.bytes[..], &bench.blob[from..from + seen.bytes.len()]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_bytes_or_a_short_end(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let bench = Bench::of(&blob(case.size), case.sources.clone());
            bench.shelf.room.store(case.room, Ordering::Relaxed);
            if let Some((length, right)) = case.left {
                let mut there = bench.blob[..length.min(case.size)].to_vec();
                if let (Some(byte), false) = (there.first_mut(), right) {
                    *byte ^= 1;
                }
                bench.shelf.leave(&bench.digest, &there, bench.blob.len());
            }
            let visits = case.visits.iter().map(|one| visit(&bench, *one));
            for (range, start, seen) in futures::future::join_all(visits).await {
                check(&case, &bench, range, start, &seen)?;
            }
            bench.fills.shutdown(Duration::from_secs(1000)).await;
            prop_assert_eq!(bench.site.turns.available_permits(), 16, "a turn was not given back");
            if bench.shelf.has(&bench.digest) {
                prop_assert_eq!(&bench.shelf.bytes(&bench.digest)[..], &bench.blob[..]);
            }
            Ok(())
        })?;
    }
}
