//! One fault at a time: what the reader gets, when, and what is said of each source.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use regcache_transfer::{Ask, Digest, Failed, Outcome, Report, ShortEnd, Source, Span, fetch};
use rstest::rstest;

use crate::script::{Fault, Headers, Script, Seen, blob, limits, read, whole};

const NOW: Duration = Duration::ZERO;

fn part(start: u64, end: Option<u64>) -> Ask {
    Ask {
        span: Span { start, end },
        digest: Some(Digest::sha256(b"of the whole blob, which a part cannot match")),
    }
}

fn outcomes(seen: &Seen) -> Vec<Outcome> {
    seen.reports.iter().map(|report| report.reason.outcome()).collect()
}

#[tokio::test(start_paused = true)]
async fn nearest_source_alone_is_asked_when_it_works() {
    for size in [0, 1, 1000, 1001, 5000] {
        let blob = blob(size);
        let scripts = [Script::good("a", &blob), Script::good("b", &blob)];
        let seen = read(&scripts, whole(&blob), NOW).await;
        assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())), "{size}");
        assert_eq!(seen.story(), ["a: answered in full"], "{size}");
        assert!(scripts[1].asked.lock().unwrap().is_empty());
    }
}

#[rstest]
#[case(Headers::Unreachable, Outcome::Unreachable, 0)]
#[case(Headers::Never, Outcome::Silent, 9)]
#[case(Headers::Late(Duration::from_secs(30)), Outcome::Silent, 9)]
#[case(Headers::Status(503), Outcome::Refused, 0)]
#[case(Headers::Status(401), Outcome::Refused, 0)]
#[case(Headers::NotFound, Outcome::Ok, 0)]
#[tokio::test(start_paused = true)]
async fn source_without_headers_is_passed_over(#[case] headers: Headers, #[case] outcome: Outcome, #[case] secs: u64) {
    let blob = blob(5000);
    let scripts = [Script::answering("a", &blob, headers), Script::good("b", &blob)];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
    assert_eq!(outcomes(&seen), [outcome, Outcome::Ok]);
    assert_eq!(seen.start.as_secs(), secs);
}

#[rstest]
#[case(Fault::Stall(2500), Outcome::Silent, 5)]
#[case(Fault::Break(2500), Outcome::Short, 0)]
#[case(Fault::End(2500), Outcome::Short, 0)]
#[case(Fault::Stall(4999), Outcome::Silent, 5)]
#[tokio::test(start_paused = true)]
async fn body_is_continued_elsewhere_from_the_same_byte(
    #[case] fault: Fault,
    #[case] outcome: Outcome,
    #[case] secs: u64,
) {
    let blob = blob(5000);
    let scripts = [Script::faulty("a", &blob, fault), Script::good("b", &blob)];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
    assert_eq!(outcomes(&seen), [outcome, Outcome::Ok]);
    let from = Span {
        start: seen.reports[0].at,
        end: None,
    };
    assert_eq!(*scripts[1].asked.lock().unwrap(), [from]);
    assert_eq!(seen.gap.as_secs(), secs);
}

#[tokio::test(start_paused = true)]
async fn headers_without_a_body_cost_the_reader_nothing_but_time() {
    let blob = blob(5000);
    let seen = read(&[Script::faulty("a", &blob, Fault::Stall(0))], whole(&blob), NOW).await;
    assert_eq!(seen.promised, Err(Failed::Unavailable), "nothing was promised");
    assert_eq!(outcomes(&seen), [Outcome::Silent]);
    assert_eq!(seen.start.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stall_that_nobody_can_take_over_ends_short() {
    let blob = blob(5000);
    let seen = read(&[Script::faulty("a", &blob, Fault::Stall(2500))], whole(&blob), NOW).await;
    assert_eq!(seen.end, Err(ShortEnd::NoSource { at: 2500, end: 5000 }));
    assert_eq!(seen.bytes, blob[..2500]);
    assert_eq!(seen.gap.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn trickling_body_counts_as_stalled() {
    let blob = blob(5000);
    let trickle = Fault::Trickle(Duration::from_secs(1));
    let scripts = [Script::faulty("a", &blob, trickle), Script::good("b", &blob)];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
    assert_eq!(outcomes(&seen), [Outcome::Silent, Outcome::Ok]);
    // 50 bytes a stall are asked for here, and 20 bytes a second are enough for that.
    let slow = Fault::Trickle(Duration::from_millis(50));
    let seen = read(&[Script::faulty("a", &blob, slow)], whole(&blob), NOW).await;
    assert_eq!(seen.end, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn slow_reader_is_not_a_stalled_source() {
    let blob = blob(5000);
    let scripts = [Script::good("a", &blob), Script::good("b", &blob)];
    let seen = read(&scripts, whole(&blob), Duration::from_secs(60)).await;
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
    assert_eq!(seen.story(), ["a: answered in full"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_taken_than_is_asked_for() {
    let blob = blob(5000);
    let script = Script::good("a", &blob);
    let sources = vec![Arc::new(script.clone()) as Arc<dyn Source>];
    let mut transfer = fetch(sources, whole(&blob), limits(), Arc::new(|_: &Report| {}))
        .await
        .unwrap();
    let mut read = 0;
    while let Some(chunk) = transfer.body.next().await {
        // One chunk ahead at the start, and at the end what is held back.
        assert!(script.taken.load(Ordering::Relaxed) <= read + 97 + limits().hold_back + 97);
        read += chunk.unwrap().len() as u64;
    }
    assert_eq!(read, 5000);
}

#[tokio::test(start_paused = true)]
async fn source_that_was_cut_off_is_asked_once_more_after_all_others() {
    let blob = blob(5000);
    let scripts = [
        Script::faulty("a", &blob, Fault::Break(2500)),
        Script::faulty("b", &blob, Fault::End(3000)),
    ];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!(seen.end, Err(ShortEnd::NoSource { at: 3000, end: 5000 }));
    let starts = |script: &Script| -> Vec<u64> { script.asked.lock().unwrap().iter().map(|span| span.start).collect() };
    assert_eq!(starts(&scripts[0]), [0, 3000]);
    assert_eq!(starts(&scripts[1]), [2500, 3000]);
}

#[rstest]
#[case(700)]
#[case(1000)]
#[tokio::test(start_paused = true)]
async fn small_wrong_blob_is_never_seen_and_its_source_named(#[case] size: usize) {
    let blob = blob(size);
    let scripts = [
        Script::faulty("a", &blob, Fault::Corrupt(3)),
        Script::faulty("b", &blob, Fault::Break(300)),
        Script::good("c", &blob),
    ];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
    assert_eq!(outcomes(&seen), [Outcome::Corrupt, Outcome::Short, Outcome::Ok]);
    let seen = read(&scripts[..1], whole(&blob), NOW).await;
    assert_eq!(seen.promised, Err(Failed::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn large_wrong_blob_lacks_its_end_and_its_source_is_named() {
    let blob = blob(5000);
    for at in [0, 2500, 4999] {
        let scripts = [Script::faulty("a", &blob, Fault::Corrupt(at)), Script::good("b", &blob)];
        let seen = read(&scripts, whole(&blob), NOW).await;
        assert_eq!(seen.end, Err(ShortEnd::WrongDigest { by: Some("a".into()) }));
        assert!(seen.bytes.len() <= 4900, "the last 100 bytes were held back");
        assert_eq!(outcomes(&seen), [Outcome::Corrupt]);
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_among_several_sources_accuse_nobody() {
    let blob = blob(5000);
    let scripts = [
        Script::faulty("a", &blob, Fault::Break(2500)),
        Script::faulty("b", &blob, Fault::Corrupt(3000)),
    ];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!(seen.end, Err(ShortEnd::WrongDigest { by: None }));
    assert_eq!(outcomes(&seen), [Outcome::Short, Outcome::Short]);
}

#[tokio::test(start_paused = true)]
async fn other_size_is_refused_once_a_size_was_promised() {
    let blob = blob(5000);
    let mut other = Script::good("b", &blob);
    other.grow = 1;
    let scripts = [
        Script::faulty("a", &blob, Fault::End(2500)),
        other.clone(),
        Script::good("c", &blob),
    ];
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
    assert_eq!(seen.story()[1], "b: says 5001 bytes where 5000 were promised");
    // Nothing was promised yet: the next source may say another size.
    let seen = read(&[Script::faulty("a", &blob, Fault::Stall(0)), other], whole(&blob), NOW).await;
    assert_eq!(seen.promised, Ok((5001, 0, 5001)));
    assert!(seen.end.is_err());
}

#[tokio::test(start_paused = true)]
async fn ignored_range_is_skipped_up_to_a_limit() {
    for (at, story) in [
        (2500, "b: answered in full"),
        (3500, "b: starts at byte 0 instead of 3500"),
    ] {
        let blob = blob(5000);
        let mut deaf = Script::good("b", &blob);
        deaf.honours_range = false;
        let scripts = [
            Script::faulty("a", &blob, Fault::Stall(at)),
            deaf,
            Script::good("c", &blob),
        ];
        let seen = read(&scripts, whole(&blob), NOW).await;
        assert_eq!((&seen.bytes[..], &seen.end), (&blob[..], &Ok(())));
        assert_eq!(seen.story()[1], story);
    }
}

#[rstest]
#[case(1, None, 1, 5000)]
#[case(0, Some(1), 0, 1)]
#[case(2000, Some(4000), 2000, 4000)]
#[case(4999, None, 4999, 5000)]
#[case(2000, Some(9000), 2000, 5000)]
#[tokio::test(start_paused = true)]
async fn part_is_resumed_like_a_whole_but_not_verified(
    #[case] start: u64,
    #[case] end: Option<u64>,
    #[case] from: usize,
    #[case] to: usize,
) {
    let blob = blob(5000);
    let scripts = [Script::faulty("a", &blob, Fault::Stall(2500)), Script::good("b", &blob)];
    let seen = read(&scripts, part(start, end), NOW).await;
    assert_eq!(seen.promised, Ok((5000, from as u64, to as u64)));
    assert_eq!((&seen.bytes[..], &seen.end), (&blob[from..to], &Ok(())));
}

#[tokio::test(start_paused = true)]
async fn open_range_from_zero_is_a_whole_blob_and_verified() {
    let blob = blob(5000);
    let scripts = [Script::faulty("a", &blob, Fault::Corrupt(3))];
    let seen = read(&scripts, part(0, Some(5000)), NOW).await;
    assert!(seen.end.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_everybody_says_is_the_answer_and_doubt_is_not() {
    let blob = blob(5000);
    let missing = Script::answering("a", &blob, Headers::NotFound);
    let down = Script::answering("b", &blob, Headers::Unreachable);
    let failed = |seen: Seen| seen.promised.unwrap_err();
    let all = read(&[missing.clone(), missing.clone()], whole(&blob), NOW).await;
    assert_eq!(failed(all), Failed::NotFound);
    let some = read(&[missing, down], whole(&blob), NOW).await;
    assert_eq!(failed(some), Failed::Unavailable);
    let none = read(&[], whole(&blob), NOW).await;
    assert_eq!(failed(none), Failed::Unavailable);
    let mut deaf = Script::good("c", &blob);
    deaf.honours_range = false;
    for script in [Script::good("c", &blob), deaf] {
        let behind = read(&[script], part(5000, None), NOW).await;
        assert_eq!(failed(behind), Failed::PastEnd(Some(5000)));
    }
}

#[tokio::test(start_paused = true)]
async fn many_silent_sources_cost_no_more_than_the_limits_say() {
    let blob = blob(5000);
    let silent: Vec<_> = (0..5)
        .map(|i| Script::answering(&format!("s{i}"), &blob, Headers::Never))
        .collect();
    let seen = read(&silent, whole(&blob), NOW).await;
    assert_eq!(seen.promised, Err(Failed::Unavailable));
    assert_eq!(seen.start.as_secs(), 20);
    assert_eq!(outcomes(&seen), [Outcome::Silent, Outcome::Silent, Outcome::Short]);
    let mut scripts = vec![Script::faulty("a", &blob, Fault::Stall(2500))];
    scripts.extend(silent);
    let seen = read(&scripts, whole(&blob), NOW).await;
    assert!(seen.end.is_err());
    assert_eq!(seen.gap.as_secs(), 10);
}
