//! One fetch, many clients: what it costs, and that none of them holds up another.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::bench::{Bench, Site, bytes_of, from, read};
use super::script::{Act, Fault, Headers, Script};
use crate::fill::How;

const SOON: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn fifty_clients_cost_one_request() {
    for size in [0, 1, 1000, 1001, 50_000] {
        let late = Act::answering(Headers::Late(Duration::from_millis(500)));
        let bench = Bench::new(size, [vec![late]]);
        let clients: Vec<_> = (0..50).map(|_| bench.client(None)).collect();
        let mut misses = 0;
        for client in join_all(clients).await {
            let seen = client.unwrap().unwrap();
            assert!(seen.is(&bench.blob), "{size}");
            misses += u32::from(seen.how == How::Miss);
            assert!(matches!(seen.how, How::Miss | How::Join));
        }
        assert_eq!((misses, bench.asked()), (1, vec![vec![0]]), "{size}");
        bench.ended("stored").await;
        let hit = bench.get(None).await.unwrap();
        assert!(hit.is(&bench.blob) && hit.how == How::Hit);
        assert_eq!(bench.asked(), [vec![0]]);
        let metrics = bench.metrics();
        for line in [
            format!("regcache_fill_received_bytes_total{{upstream=\"docker.io\"}} {size}\n"),
            "regcache_fill_in_flight{upstream=\"docker.io\"} 0\n".into(),
            "regcache_fill_first_byte_seconds_count{how=\"join\"} 49\n".into(),
        ] {
            assert!(size == 0 || metrics.contains(&line), "{line} of {metrics}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn headers_and_first_bytes_do_not_wait_for_the_rest() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act]]);
    open.send_replace(10);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut answer = timeout(SOON, bench.open(None)).await.unwrap().unwrap();
        assert_eq!((answer.total, answer.start, answer.end), (5000, 0, 5000));
        let first = timeout(SOON, answer.pieces.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(bytes_of(&first), bench.blob[..10]);
        answers.push(answer);
    }
    assert_eq!(bench.fills.size("docker.io", &bench.digest), Some(5000));
    assert_eq!(bench.fills.size("ghcr.io", &bench.digest), None);
    // What comes is seen by both, without anybody asking the clock.
    open.send_replace(20);
    for answer in &mut answers {
        let next = timeout(SOON, answer.pieces.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(bytes_of(&next), bench.blob[10..20]);
    }
}

#[tokio::test(start_paused = true)]
async fn followers_read_at_their_own_pace() {
    let act = Act {
        pace: Duration::from_millis(20),
        ..Act::good()
    };
    let bench = Bench::new(50_000, [vec![act]]);
    let quick = bench.client(None);
    let slow = bench.open(None).await.unwrap();
    let never = bench.open(None).await.unwrap();
    let begun = Instant::now();
    let slow = read(slow, Duration::ZERO, Duration::from_secs(3)).await;
    let quick = quick.await.unwrap().unwrap();
    assert!(quick.is(&bench.blob) && slow.is(&bench.blob));
    assert!(begun.elapsed() > Duration::from_secs(10));
    assert_eq!(bench.asked(), [[0]]);
    let late = read(never, Duration::ZERO, Duration::ZERO).await;
    assert!(late.is(&bench.blob), "who comes back late finds everything");
}

#[tokio::test(start_paused = true)]
async fn end_is_held_back_until_the_digest_is_right() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act]]);
    open.send_replace(4999);
    let mut answer = bench.open(None).await.unwrap();
    let mut seen = Vec::new();
    while let Ok(Some(piece)) = timeout(Duration::from_secs(1), answer.pieces.next()).await {
        seen.extend(bytes_of(&piece.unwrap()));
    }
    assert_eq!(seen, bench.blob[..4900]);
    open.send_replace(5000);
    let rest = answer.pieces.next().await.unwrap().unwrap();
    assert_eq!(bytes_of(&rest), bench.blob[4900..]);
}

#[tokio::test(start_paused = true)]
async fn small_blob_is_verified_before_its_first_byte() {
    let (open, act) = Act::gated();
    let bench = Bench::new(1000, [vec![act]]);
    open.send_replace(999);
    let client = bench.client(None);
    assert!(timeout(SOON, bench.open(None)).await.is_err());
    assert_eq!(bench.fills.size("docker.io", &bench.digest), Some(1000));
    open.send_replace(1000);
    assert!(client.await.unwrap().unwrap().is(&bench.blob));
}

#[tokio::test(start_paused = true)]
async fn fill_goes_on_when_the_leader_leaves() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act]]);
    open.send_replace(1000);
    let leader = bench.open(None).await.unwrap();
    let follower = bench.client(None);
    drop(leader);
    open.send_replace(5000);
    assert!(follower.await.unwrap().unwrap().is(&bench.blob));
    assert_eq!(bench.asked(), [[0]]);
}

#[tokio::test(start_paused = true)]
async fn fill_goes_on_when_all_leave_before_headers_or_after() {
    for open_first in [0, 1000] {
        let (open, act) = Act::gated();
        let bench = Bench::new(5000, [vec![act]]);
        open.send_replace(open_first);
        // Dropped, whether it has an answer or not.
        drop(timeout(SOON, bench.open(None)).await);
        open.send_replace(5000);
        bench.ended("stored").await;
        let back = bench.get(from(100)).await.unwrap();
        assert!(back.is(&bench.blob[100..]) && back.how == How::Hit);
        assert_eq!(bench.asked(), [[0]], "no byte is fetched twice");
    }
}

#[tokio::test(start_paused = true)]
async fn fills_end_when_the_program_does_and_keep_what_they_have() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act]]);
    open.send_replace(1000);
    let reader = bench.client(None);
    let begun = Instant::now();
    tokio::task::yield_now().await;
    tokio::time::sleep(SOON).await;
    bench.fills.shutdown(Duration::from_secs(2)).await;
    assert_eq!(begun.elapsed().as_secs(), 2, "who reads is given the grace");
    let seen = reader.await.unwrap().unwrap();
    assert!(seen.end.is_err() && seen.bytes == bench.blob[..1000]);
    assert_eq!(bench.shelf.bytes(&bench.digest), bench.blob[..1000]);
    assert!(bench.open(None).await.is_err(), "nothing begins any more");
}

#[tokio::test(start_paused = true)]
async fn fills_that_nobody_reads_end_at_once_with_the_program() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act]]);
    open.send_replace(1000);
    drop(bench.open(None).await);
    let begun = Instant::now();
    bench.fills.shutdown(Duration::from_secs(20)).await;
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_blob_of_two_upstreams_is_stored_from_one_and_read_by_both() {
    let (open, act) = Act::gated();
    let bench = Bench::new(50_000, [vec![act]]);
    open.send_replace(1000);
    let one = bench.client(None);
    tokio::time::sleep(SOON).await;
    let script = Script::new(&bench.blob, [], Act::good());
    let elsewhere = Site::new("mirror.gcr.io", vec![script.clone()]);
    let answer = bench.fills.blob(elsewhere.clone(), bench.digest, None).await.unwrap();
    let other = tokio::spawn(read(answer, Duration::ZERO, Duration::ZERO));
    tokio::time::sleep(SOON).await;
    open.send_replace(50_000);
    assert!(one.await.unwrap().unwrap().is(&bench.blob));
    assert!(other.await.unwrap().is(&bench.blob));
    assert!(script.taken() < 1000, "asked for its size and no more");
    assert_eq!(elsewhere.turns.available_permits(), 16);
}

#[tokio::test(start_paused = true)]
async fn who_reads_along_another_upstreams_fill_does_not_fall_with_it() {
    let wrong = Act {
        pace: Duration::from_millis(10),
        ..Act::faulty(Fault::Corrupt(4000))
    };
    let bench = Bench::new(5000, [vec![wrong]]);
    let one = bench.client(None);
    tokio::time::sleep(SOON).await;
    let elsewhere = Site::new("mirror.gcr.io", vec![Script::new(&bench.blob, [], Act::good())]);
    let (with, without) = (elsewhere.clone(), elsewhere.clone());
    let with = bench.fills.blob(with, bench.digest, None).await.unwrap();
    let without = bench.fills.blob(without, bench.digest, None).await.unwrap();
    let with = tokio::spawn(read(with, Duration::ZERO, Duration::ZERO));
    assert!(one.await.unwrap().unwrap().end.is_err());
    let with = with.await.unwrap();
    assert!(
        with.end.is_err() && with.bytes.len() <= 4900,
        "it was given bytes of the wrong file"
    );
    let without = read(without, Duration::ZERO, Duration::ZERO).await;
    assert!(
        without.is(&bench.blob),
        "it was given none, and goes on at its own upstream"
    );
    let again = bench.fills.blob(elsewhere, bench.digest, None).await.unwrap();
    assert!(read(again, Duration::ZERO, Duration::ZERO).await.is(&bench.blob));
}

/// In real time, on real threads: a lost wake-up would end a reader short after 4 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads() {
    for round in 0..20 {
        let act = Act {
            chunk: 10 + 37 * round,
            ..Act::good()
        };
        let bench = Bench::new(100_000 + round, [vec![act]]);
        let clients: Vec<_> = (0..32).map(|i| bench.client(from(i % 3))).collect();
        for (client, i) in join_all(clients).await.into_iter().zip(0..32) {
            assert!(client.unwrap().unwrap().is(&bench.blob[i % 3..]));
        }
        assert_eq!(bench.asked(), [[0]]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_heard_while_bytes_come_faster_than_they_are_written() {
    let act = Act {
        chunk: 64 * 1024,
        ..Act::good()
    };
    let bench = Bench::new(8 << 20, [vec![act]]);
    bench.shelf.pace.store(100, Ordering::Relaxed);
    let answer = bench.open(None).await.unwrap();
    let begun = Instant::now();
    bench.fills.shutdown(Duration::ZERO).await;
    assert!(begun.elapsed() <= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert!(read(answer, Duration::ZERO, Duration::ZERO).await.end.is_err());
}
