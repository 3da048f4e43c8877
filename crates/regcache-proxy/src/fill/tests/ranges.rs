//! Parts of blobs: from the file when the fill is there or will be soon, else by a fetch of their own.

use std::time::Duration;

use futures::StreamExt;
use regcache_transfer::Span;
use tokio::time::{Instant, sleep, timeout};

use super::bench::{Bench, bytes_of, from};
use super::script::{Act, Fault, Headers};
use crate::fill::{How, NoBlob};

#[expect(clippy::unnecessary_wraps, reason = "as it is asked for")]
fn span(start: u64, end: u64) -> Option<Span> {
    Some(Span { start, end: Some(end) })
}

#[tokio::test(start_paused = true)]
async fn a_stored_blob_is_given_in_one_piece() {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
    bench.ended("stored").await;
    for (range, expected) in [
        (None, 0..5000),
        (from(10), 10..5000),
        (span(10, 20), 10..20),
        (span(10, 9999), 10..5000),
    ] {
        let mut answer = bench.open(range).await.unwrap();
        assert_eq!((answer.total, answer.how), (5000, How::Hit));
        let piece = answer.pieces.next().await.unwrap().unwrap();
        assert_eq!(bytes_of(&piece), bench.blob[expected]);
        assert!(answer.pieces.next().await.is_none());
    }
    assert_eq!(bench.get(from(5000)).await.unwrap_err(), NoBlob::PastEnd(Some(5000)));
}

#[tokio::test(start_paused = true)]
async fn ranges_within_the_fill_or_near_it_are_read_from_its_file() {
    let (open, act) = Act::gated();
    let bench = Bench::new(50_000, [vec![act]]);
    open.send_replace(10_000);
    let whole = bench.client(None);
    sleep(Duration::from_millis(100)).await;
    let clients: Vec<_> = [from(0), from(5000), span(5000, 6000), from(10_400)]
        .map(|range| bench.client(range))
        .into();
    sleep(Duration::from_millis(100)).await;
    open.send_replace(50_000);
    for (client, expected) in clients
        .into_iter()
        .zip([0..50_000, 5000..50_000, 5000..6000, 10_400..50_000])
    {
        let seen = client.await.unwrap().unwrap();
        assert!(seen.is(&bench.blob[expected]) && seen.how == How::Join);
    }
    assert!(whole.await.unwrap().unwrap().is(&bench.blob));
    assert_eq!(bench.asked(), [[0]]);
}

#[tokio::test(start_paused = true)]
async fn a_range_behind_the_end_of_a_growing_blob_is_refused_at_once() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act]]);
    open.send_replace(1000);
    let _reading = bench.open(None).await.unwrap();
    assert_eq!(bench.get(from(5000)).await.unwrap_err(), NoBlob::PastEnd(Some(5000)));
    assert_eq!(bench.asked(), [[0]]);
}

#[tokio::test(start_paused = true)]
async fn a_range_far_ahead_does_not_wait() {
    let (open, act) = Act::gated();
    let bench = Bench::new(50_000, [vec![act, Act::good()]]);
    open.send_replace(1000);
    let _reading = bench.open(None).await.unwrap();
    let begun = Instant::now();
    let mut answer = bench.open(from(40_000)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(400));
    assert_eq!(
        (answer.total, answer.start, answer.end, answer.how),
        (50_000, 40_000, 50_000, How::Bypass)
    );
    let piece = answer.pieces.next().await.unwrap().unwrap();
    assert_eq!(bytes_of(&piece), bench.blob[40_000..40_097]);
    drop(answer);
    sleep(Duration::from_secs(1)).await;
    assert!(
        bench.site.scripts[0].taken() < 1000 + 300,
        "who hangs up early costs little"
    );
    assert_eq!(bench.site.turns.available_permits(), 15, "and holds no turn");
    // A short one does not wait at all.
    let begun = Instant::now();
    let seen = bench.get(span(40_000, 40_200)).await.unwrap();
    assert!(seen.is(&bench.blob[40_000..40_200]));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_range_of_a_blob_that_nobody_fetches_begins_its_fill() {
    let (open, act) = Act::gated();
    let bench = Bench::new(50_000, [vec![act, Act::good()]]);
    open.send_replace(1000);
    let seen = bench.get(from(49_000)).await.unwrap();
    assert!(seen.is(&bench.blob[49_000..]) && seen.how == How::Bypass);
    open.send_replace(50_000);
    bench.ended("stored").await;
    assert_eq!(bench.asked(), [[0, 49_000]]);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_a_quick_fill_reaches_soon_waits_for_it() {
    // 97 bytes in 10 ms: 40 KB in 4 s.
    let act = Act {
        pace: Duration::from_millis(10),
        ..Act::good()
    };
    let bench = Bench::new(50_000, [vec![act]]);
    let whole = bench.client(None);
    // Both before anything is known of its pace, and when it is.
    let young = bench.client(from(2000));
    sleep(Duration::from_secs(1)).await;
    let later = bench.client(from(16_000));
    for (client, start) in [(young, 2000), (later, 16_000)] {
        let seen = client.await.unwrap().unwrap();
        assert!(seen.is(&bench.blob[start..]));
        assert!(seen.start < Duration::from_secs(1), "{:?}", seen.start);
    }
    assert!(whole.await.unwrap().unwrap().is(&bench.blob));
    assert_eq!(bench.asked(), [[0]]);
}

#[tokio::test(start_paused = true)]
async fn only_a_few_ranges_of_a_blob_are_fetched_at_once_and_the_rest_wait_for_the_fill() {
    let (open, act) = Act::gated();
    let (_aside, stuck) = Act::gated();
    let bench = Bench::new(50_000, [vec![act, stuck]]);
    open.send_replace(1000);
    let _reading = bench.open(None).await.unwrap();
    let clients: Vec<_> = (0..20).map(|i| bench.client(from(10_000 + i * 1000))).collect();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.asked()[0].len(), 1 + 4);
    open.send_replace(50_000);
    for (client, start) in clients.into_iter().zip((10_000..).step_by(1000)) {
        assert!(client.await.unwrap().unwrap().is(&bench.blob[start..]));
    }
    assert_eq!(bench.asked()[0].len(), 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn an_own_fetch_ends_when_the_fill_has_caught_up() {
    let (open, act) = Act::gated();
    let (aside, ahead) = Act::gated();
    let bench = Bench::new(50_000, [vec![act, ahead]]);
    open.send_replace(1000);
    let _reading = bench.open(None).await.unwrap();
    aside.send_replace(40_010);
    let mut answer = bench.open(from(40_000)).await.unwrap();
    assert_eq!(
        bytes_of(&answer.pieces.next().await.unwrap().unwrap()),
        bench.blob[40_000..40_010]
    );
    open.send_replace(50_000);
    bench.ended("stored").await;
    let rest = timeout(Duration::from_millis(50), answer.pieces.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(bytes_of(&rest), bench.blob[40_010..]);
    assert_eq!(bench.site.turns.available_permits(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_part_whose_own_fetch_fails_goes_on_with_the_fill_and_keeps_nobody_else_away() {
    let (open, act) = Act::gated();
    let broken = Act::faulty(Fault::Break(4200));
    let bench = Bench::new(5000, [vec![act, broken, Act::answering(Headers::Unreachable)]]);
    open.send_replace(1000);
    let whole = bench.client(None);
    sleep(Duration::from_millis(100)).await;
    let part = bench.client(from(4000));
    for filled in 1..=5 {
        sleep(Duration::from_secs(1)).await;
        open.send_replace(1000 + 100 * filled);
    }
    // The part's client could not wait any longer; the blob is none the worse for it.
    let seen = part.await.unwrap().unwrap();
    assert!(seen.end.is_err() && seen.bytes == bench.blob[4000..4200]);
    let second = bench.client(None);
    sleep(Duration::from_millis(100)).await;
    open.send_replace(5000);
    for client in [whole, second] {
        assert!(client.await.unwrap().unwrap().is(&bench.blob));
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_whose_own_fetch_fails_is_finished_by_the_fill() {
    let (open, act) = Act::gated();
    let broken = Act::faulty(Fault::Break(4200));
    let bench = Bench::new(5000, [vec![act, broken, Act::answering(Headers::Unreachable)]]);
    open.send_replace(1000);
    let whole = bench.client(None);
    sleep(Duration::from_millis(100)).await;
    let part = bench.client(from(4000));
    sleep(Duration::from_secs(1)).await;
    open.send_replace(5000);
    assert!(part.await.unwrap().unwrap().is(&bench.blob[4000..]));
    assert!(whole.await.unwrap().unwrap().is(&bench.blob));
}
