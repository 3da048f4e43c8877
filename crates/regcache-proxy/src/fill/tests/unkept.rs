//! The store does not take the blob, or not all of it: everybody is served all the same.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use rstest::rstest;
use tokio::time::sleep;

use super::bench::{Bench, bytes_of, from, read};
use super::script::{Act, Fault};
use crate::fill::{How, NoBlob};

#[rstest]
#[case(900)]
#[case(5000)]
#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_is_streamed_past(#[case] size: usize) {
    let bench = Bench::new(size, [vec![Act::good()]]);
    bench.shelf.refuses.store(true, Ordering::Relaxed);
    let clients = [bench.client(None), bench.client(None), bench.client(from(400))];
    for (client, start) in clients.into_iter().zip([0, 0, 400]) {
        let seen = client.await.unwrap().unwrap();
        assert!(seen.is(&bench.blob[start..]) && seen.how == How::Bypass);
    }
    // Not tried again for each client, but again before long.
    let asked = bench.asked()[0].len();
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
    assert_eq!(bench.asked()[0].len(), asked + 1);
    bench.shelf.refuses.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(11)).await;
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
    bench.ended("stored").await;
}

#[rstest]
#[case(900)]
#[case(5000)]
#[tokio::test(start_paused = true)]
async fn wrong_bytes_past_the_store_never_complete(#[case] size: usize) {
    let bench = Bench::new(size, [vec![Act::faulty(Fault::Corrupt(5))]]);
    bench.shelf.refuses.store(true, Ordering::Relaxed);
    match bench.get(None).await {
        Err(refused) => assert_eq!((size, refused), (900, NoBlob::Unavailable)),
        Ok(seen) => assert!(seen.end.is_err() && seen.bytes.len() == 4900),
    }
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_in_the_middle_ends_nobody(#[values(0, 97, 500, 2500, 4850, 4950, 4999)] room: u64) {
    let act = Act {
        pace: Duration::from_millis(1),
        ..Act::good()
    };
    let bench = Bench::new(5000, [vec![act]]);
    bench.shelf.room.store(room, Ordering::Relaxed);
    let quick = bench.client(None);
    let part = bench.client(from(300));
    let slow = bench.open(None).await.unwrap();
    let slow = read(slow, Duration::ZERO, Duration::from_secs(1)).await;
    assert!(quick.await.unwrap().unwrap().is(&bench.blob));
    assert!(part.await.unwrap().unwrap().is(&bench.blob[300..]));
    assert!(slow.is(&bench.blob));
    bench.ended("not_stored").await;
    assert!(!bench.shelf.has(&bench.digest));
}

#[rstest]
#[case(3000)]
#[case(10)]
#[case(4999)]
#[tokio::test(start_paused = true)]
async fn wrong_bytes_never_complete_on_either_side_of_a_full_disk(#[case] at: u64) {
    let bench = Bench::new(5000, [vec![Act::faulty(Fault::Corrupt(at))]]);
    bench.shelf.room.store(2500, Ordering::Relaxed);
    let seen = bench.get(None).await.unwrap();
    assert!(seen.end.is_err() && seen.bytes.len() == 4900, "{}", seen.bytes.len());
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn readers_left_alone_end_short_when_upstream_is_gone_too() {
    let (open, act) = Act::gated();
    let bench = Bench::new(5000, [vec![act, Act::faulty(Fault::Stall(0))]]);
    bench.shelf.room.store(2500, Ordering::Relaxed);
    open.send_replace(2000);
    let mut answer = bench.open(None).await.unwrap();
    let first = answer.pieces.next().await.unwrap().unwrap();
    assert_eq!(first.len(), 2000);
    open.send_replace(5000);
    let rest = read(answer, Duration::ZERO, Duration::ZERO).await;
    assert!(rest.end.is_err());
    assert!(rest.gap <= Duration::from_millis(4005), "{:?}", rest.gap);
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_is_right_but_cannot_be_made_permanent_is_served_to_its_end() {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    bench.shelf.forgets.store(true, Ordering::Relaxed);
    let mut answer = bench.open(None).await.unwrap();
    bench.ended("unkept").await;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.pieces.next().await {
        bytes.extend(bytes_of(&piece.unwrap()));
    }
    assert_eq!(bytes, bench.blob);
    assert!(!bench.shelf.has(&bench.digest));
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_read_leave_their_turns_to_others() {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    bench.shelf.refuses.store(true, Ordering::Relaxed);
    let mut lazy = Vec::new();
    for _ in 0..16 {
        lazy.push(bench.open(None).await.unwrap());
    }
    assert_eq!(bench.site.turns.available_permits(), 0);
    assert!(
        bench.get(None).await.unwrap().is(&bench.blob),
        "within a client's patience"
    );
    for answer in lazy {
        assert!(read(answer, Duration::ZERO, Duration::ZERO).await.is(&bench.blob));
    }
    assert_eq!(bench.site.turns.available_permits(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_keeps_its_turn() {
    let act = Act {
        pace: Duration::from_secs(1),
        chunk: 1000,
        ..Act::good()
    };
    let bench = Bench::new(5000, [vec![act]]);
    bench.shelf.refuses.store(true, Ordering::Relaxed);
    let client = bench.client(None);
    sleep(Duration::from_millis(4500)).await;
    assert_eq!(bench.site.turns.available_permits(), 15);
    assert!(client.await.unwrap().unwrap().is(&bench.blob));
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_somebody_else_is_at_for_a_moment_is_stored() {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    let occupied = bench.shelf.occupy(&bench.digest);
    let client = bench.client(None);
    sleep(Duration::from_millis(300)).await;
    drop(occupied);
    assert!(client.await.unwrap().unwrap().is(&bench.blob));
    bench.ended("stored").await;
}
