//! Sources with any mixture of faults, in any order: the exact bytes or a short end, never wrong, never silent.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use regcache_transfer::{Ask, Digest, Failed, Span};

use crate::script::{Fault, Headers, Script, Seen, blob, limits, read};

/// The clock of the runtime moves in steps of a millisecond.
const TICK: Duration = Duration::from_millis(5);

fn headers() -> impl Strategy<Value = Headers> {
    prop_oneof![
        6 => Just(Headers::Good),
        1 => (0..12_u64).prop_map(|secs| Headers::Late(Duration::from_secs(secs))),
        1 => Just(Headers::Never),
        1 => Just(Headers::Unreachable),
        1 => Just(Headers::NotFound),
        1 => prop_oneof![Just(401), Just(429), Just(302), Just(500), Just(503)].prop_map(Headers::Status),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = || 0..4000_u64;
    prop_oneof![
        2 => Just(Fault::None),
        1 => at().prop_map(Fault::Stall),
        1 => at().prop_map(Fault::Break),
        1 => at().prop_map(Fault::End),
        1 => at().prop_map(Fault::Corrupt),
        1 => (1..3000_u64).prop_map(|millis| Fault::Trickle(Duration::from_millis(millis))),
    ]
}

prop_compose! {
    fn script()(
        headers in headers(),
        fault in fault(),
        grow in prop_oneof![4 => Just(0_i64), 1 => -50..50_i64],
        honours_range in prop::bool::weighted(0.7),
        chunk in 1..700_usize,
    ) -> Script {
        Script { headers, fault, grow, honours_range, chunk, ..Script::good("", &Bytes::new()) }
    }
}

prop_compose! {
    fn case()(
        size in prop_oneof![0..3_usize, 900..1100_usize, 0..4000_usize],
        scripts in prop::collection::vec(script(), 0..5),
        span in prop_oneof![
            3 => Just(Span::default()),
            1 => (0..4500_u64, prop::option::of(1..3000_u64))
                .prop_map(|(start, length)| Span { start, end: length.map(|length| start + length) }),
        ],
        pause in prop_oneof![3 => Just(0_u64), 1 => 0..20_000_u64],
    ) -> (Bytes, Vec<Script>, Span, Duration) {
        let blob = blob(size);
        let named = |(i, script): (usize, Script)| Script {
            name: format!("s{i}").into(),
            blob: blob.clone(),
            ..script
        };
        let scripts = scripts.into_iter().enumerate().map(named).collect();
        (blob, scripts, span, Duration::from_millis(pause))
    }
}

fn run(scripts: &[Script], ask: Ask, pause: Duration) -> Seen {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(read(scripts, ask, pause))
}

/// Everything that holds whatever the sources do.
fn check(blob: &Bytes, scripts: &[Script], span: Span, seen: &Seen) -> Result<(), TestCaseError> {
    let limits = limits();
    prop_assert!(
        seen.start <= limits.start + TICK,
        "silent at the start: {:?}",
        seen.start
    );
    prop_assert!(seen.gap <= limits.gap + TICK, "silent in the middle: {:?}", seen.gap);
    let Ok((total, start, end)) = seen.promised else {
        prop_assert!(seen.bytes.is_empty());
        return Ok(());
    };
    let size = seen.bytes.len() as u64;
    prop_assert_eq!(start, span.start);
    if seen.end.is_ok() {
        prop_assert_eq!(size, end - start, "complete means: all that was promised");
    } else {
        prop_assert!(size < end - start, "short means: less than promised");
    }
    let verified = start == 0 && end == total;
    if verified && seen.end.is_ok() {
        prop_assert_eq!(&seen.bytes[..], &blob[..], "completed with wrong bytes");
    }
    // Whatever comes is right when no source lies about bytes or size, verified or not.
    let honest = |script: &Script| script.grow == 0 && !matches!(script.fault, Fault::Corrupt(_));
    if scripts.iter().all(honest) {
        let from = usize::try_from(start).unwrap();
        prop_assert_eq!(&seen.bytes[..], &blob[from..from + seen.bytes.len()]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_bytes_or_a_short_end((blob, scripts, span, pause) in case()) {
        let ask = Ask { span, digest: Some(Digest::sha256(&blob)) };
        let seen = run(&scripts, ask, pause);
        check(&blob, &scripts, span, &seen)?;
        // One report for each request, and none lost.
        let asked: usize = scripts.iter().map(|script| script.asked.lock().unwrap().len()).sum();
        prop_assert_eq!(seen.reports.len(), asked);
    }

    /// Where faults take no time and nobody lies, one good source anywhere is enough.
    #[test]
    fn one_good_source_is_enough((blob, mut scripts, span, pause) in case(), place in 0..5_usize) {
        scripts.retain(|script| {
            let quick = !matches!(script.headers, Headers::Late(_) | Headers::Never | Headers::NotFound)
                && !matches!(script.fault, Fault::Stall(_) | Fault::Trickle(_) | Fault::Corrupt(_));
            quick && script.grow == 0
        });
        scripts.insert(place.min(scripts.len()), Script::good("good", &blob));
        let seen = run(&scripts, Ask { span, digest: Some(Digest::sha256(&blob)) }, pause);
        check(&blob, &scripts, span, &seen)?;
        if span.start > 0 && span.start >= blob.len() as u64 {
            prop_assert!(matches!(seen.promised, Err(Failed::PastEnd(_) | Failed::Unavailable)));
        } else {
            prop_assert!(seen.promised.is_ok() && seen.end.is_ok(), "{seen:?}");
        }
    }
}
