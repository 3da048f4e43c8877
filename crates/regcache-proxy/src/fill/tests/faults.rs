//! Upstream at its worst: what readers see of it, when, and what the next one is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rstest::rstest;
use tokio::time::{Instant, sleep};

use super::bench::{Bench, from};
use super::script::{Act, Fault, Headers};
use crate::fill::{How, NoBlob};

fn never() -> Act {
    Act::answering(Headers::Never)
}

/// So that the client has its answer before the end.
fn slowly(act: Act) -> Act {
    let pace = Duration::from_millis(10);
    Act { pace, ..act }
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_break_at_any_quarter_is_resumed_by_range(
    #[values(1, 1250, 2500, 3750, 4950, 4999)] at: u64,
    #[values(Fault::Break(0), Fault::End(0))] fault: Fault,
) {
    let fault = match fault {
        Fault::Break(_) => Fault::Break(at),
        _ => Fault::End(at),
    };
    let bench = Bench::new(5000, [vec![Act::faulty(fault), Act::good()]]);
    let clients = [bench.client(None), bench.client(None)];
    for client in clients {
        assert!(client.await.unwrap().unwrap().is(&bench.blob));
    }
    assert_eq!(bench.asked(), [[0, at]]);
    assert!(
        bench
            .metrics()
            .contains("regcache_fill_resumes_total{upstream=\"docker.io\"} 1\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_two_seconds_is_resumed_on_the_second_source() {
    let stalls = Act::faulty(Fault::Stall(2500));
    let bench = Bench::new(5000, [vec![stalls], vec![Act::good()]]);
    let seen = bench.get(None).await.unwrap();
    assert!(seen.is(&bench.blob));
    assert_eq!(seen.gap.as_secs(), 2);
    assert_eq!(bench.asked(), [[0], [2500]]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ignores_range_is_read_from_its_beginning() {
    let deaf = Act {
        honours_range: false,
        ..Act::good()
    };
    let bench = Bench::new(50_000, [vec![Act::faulty(Fault::Break(40_000)), deaf]]);
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
}

#[tokio::test(start_paused = true)]
async fn readers_end_after_four_seconds_while_the_fill_goes_on() {
    let acts = vec![Act::faulty(Fault::Stall(2500)), never(), never(), never(), Act::good()];
    let bench = Bench::new(5000, [acts]);
    let seen = bench.get(None).await.unwrap();
    assert!(seen.end.is_err());
    assert_eq!((seen.bytes.len(), seen.gap.as_secs()), (2500, 4));
    // Whoever asks is sent on at once, with the offset too.
    let asked = Instant::now();
    for range in [None, from(2500), from(4000)] {
        assert_eq!(bench.get(range).await.unwrap_err(), NoBlob::Unavailable);
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    bench.ended("stored").await;
    assert!(asked.elapsed() < Duration::from_secs(60), "not to be waited out");
    let hit = bench.get(from(2500)).await.unwrap();
    assert!(hit.is(&bench.blob[2500..]) && hit.how == How::Hit);
    assert_eq!(bench.asked(), [[0, 2500, 2500, 2500, 2500]]);
}

#[tokio::test(start_paused = true)]
async fn trickling_bytes_do_not_keep_readers_waiting() {
    let trickles = Act {
        chunk: 1,
        pace: Duration::from_millis(500),
        ..Act::good()
    };
    let bench = Bench::new(5000, [vec![trickles]]);
    let begun = Instant::now();
    let seen = bench.get(None).await.unwrap();
    assert!(seen.end.is_err());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[rstest]
#[case(vec![never()], 4)]
#[case(vec![Act::faulty(Fault::Stall(0))], 4)]
#[case(vec![Act::answering(Headers::Unreachable)], 0)]
#[case(vec![Act::answering(Headers::Status(503))], 0)]
#[case(vec![Act::answering(Headers::Status(429))], 0)]
#[tokio::test(start_paused = true)]
async fn without_headers_clients_are_sent_on_and_the_fill_goes_on(#[case] acts: Vec<Act>, #[case] at_most: u64) {
    let acts: Vec<_> = [
        acts[0].clone(),
        acts[0].clone(),
        acts[0].clone(),
        acts[0].clone(),
        Act::good(),
    ]
    .into();
    let bench = Bench::new(5000, [acts.clone(), acts]);
    let begun = Instant::now();
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    assert!(
        begun.elapsed() <= Duration::from_millis(at_most * 1000 + 5),
        "{:?}",
        begun.elapsed()
    );
    bench.ended("stored").await;
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
}

#[tokio::test(start_paused = true)]
async fn asking_again_shortens_the_wait_for_an_upstream_that_is_well_again() {
    let down = Act::answering(Headers::Unreachable);
    let mut acts = vec![down; 6];
    acts.push(Act::good());
    let bench = Bench::new(5000, [acts]);
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    // 0.25, 0.5, 1, 2, 4: then the next try is due in 8 s.
    sleep(Duration::from_millis(7800)).await;
    assert_eq!(bench.asked()[0].len(), 6);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    sleep(Duration::from_millis(10)).await;
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
}

#[rstest]
#[case(Headers::NotFound, "not_found", NoBlob::NotFound)]
#[case(Headers::Status(403), "refused", NoBlob::Unavailable)]
#[tokio::test(start_paused = true)]
async fn a_final_answer_ends_the_fill(#[case] headers: Headers, #[case] outcome: &str, #[case] answer: NoBlob) {
    let acts = vec![Act::answering(headers), Act::answering(headers), Act::good()];
    let bench = Bench::new(5000, [acts.clone(), acts]);
    assert_eq!(bench.get(None).await.unwrap_err(), answer);
    bench.ended(outcome).await;
    assert_eq!(bench.asked(), [[0], [0]]);
    // Missing is an answer that may change any time; refused rests.
    assert_eq!(bench.get(None).await.unwrap_err(), answer);
    let again = if answer == NoBlob::NotFound { 2 } else { 1 };
    assert_eq!(bench.asked()[0].len(), again);
    sleep(Duration::from_secs(61)).await;
    let last = bench.get(None).await;
    assert_eq!(last.is_ok(), answer == NoBlob::NotFound);
}

#[rstest]
#[case(900, 0)]
#[case(5000, 10)]
#[case(5000, 4990)]
#[tokio::test(start_paused = true)]
async fn wrong_bytes_never_complete(#[case] size: usize, #[case] at: u64) {
    let wrong = slowly(Act::faulty(Fault::Corrupt(at)));
    let bench = Bench::new(size, [vec![wrong, Act::good()]]);
    match bench.get(None).await {
        Err(refused) => assert_eq!((size, refused), (900, NoBlob::Unavailable)),
        Ok(seen) => assert!(seen.end.is_err() && seen.bytes.len() == 4900, "{}", seen.bytes.len()),
    }
    bench.ended("wrong_digest").await;
    assert!(bench.shelf.bytes(&bench.digest).is_empty(), "nothing of it is kept");
    let begun = Instant::now();
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    assert_eq!(bench.asked(), [[0]], "not asked for a minute");
    sleep(Duration::from_secs(1)).await;
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
}

#[rstest]
#[case(-1000, "wrong_digest")]
#[case(1000, "wrong_size")]
#[tokio::test(start_paused = true)]
async fn a_wrong_length_never_completes(#[case] grow: i64, #[case] outcome: &str) {
    let wrong = slowly(Act { grow, ..Act::good() });
    let bench = Bench::new(5000, [vec![wrong, Act::good()]]);
    let seen = bench.get(None).await.unwrap();
    assert!(seen.end.is_err());
    bench.ended(outcome).await;
    assert!(bench.shelf.bytes(&bench.digest).is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_not_upstreams_silence() {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    let all = bench.site.turns.clone().acquire_many_owned(16).await.unwrap();
    let begun = Instant::now();
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    assert_eq!(begun.elapsed().as_secs(), 4);
    sleep(Duration::from_secs(600)).await;
    let waiter = bench.client(None);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.asked(), [Vec::<u64>::new()]);
    drop(all);
    assert!(waiter.await.unwrap().unwrap().is(&bench.blob));
    assert_eq!(bench.site.turns.available_permits(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_waits_for_its_next_round_leaves_its_turn_to_others() {
    let bench = Bench::new(5000, [vec![Act::answering(Headers::Unreachable)]]);
    assert!(bench.get(None).await.is_err());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.site.turns.available_permits(), 16);
    bench.ended("gave_up").await;
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_is_not_fetched_again() {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    bench.shelf.leave(&bench.digest, &bench.blob[..2000], 5000);
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
    assert_eq!(bench.asked(), [[2000]]);
    assert!(bench.site.scripts[0].taken() < 3200);
    let whole = Bench::new(5000, [vec![Act::good()]]);
    whole.shelf.leave(&whole.digest, &whole.blob, 5000);
    assert!(whole.get(None).await.unwrap().is(&whole.blob));
    whole.ended("stored").await;
    assert_eq!(whole.asked(), [[0_u64; 0]], "nothing was missing");
}

#[rstest]
#[case(2000, 3000)]
#[case(5500, 6000)]
#[case(4000, 9000)]
#[tokio::test(start_paused = true)]
async fn what_was_to_become_another_size_is_put_away_unseen(#[case] left: usize, #[case] total: usize) {
    let bench = Bench::new(5000, [vec![Act::good()]]);
    bench.shelf.leave(&bench.digest, &vec![7; left], total);
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
    bench.ended("stored").await;
}

#[tokio::test(start_paused = true)]
async fn a_small_blob_that_stalls_keeps_only_its_first_client_waiting() {
    let bench = Bench::new(900, [vec![Act::faulty(Fault::Stall(500)), never()]]);
    let begun = Instant::now();
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    assert_eq!(begun.elapsed().as_secs(), 4);
    assert_eq!(bench.get(None).await.unwrap_err(), NoBlob::Unavailable);
    assert_eq!(begun.elapsed().as_secs(), 4, "the next one is sent on at once");
}

#[rstest]
#[case(900, 300)]
#[case(5000, 2000)]
#[case(5000, 4950)]
#[tokio::test(start_paused = true)]
async fn wrong_bytes_of_an_earlier_process_are_given_up_for_one_new_beginning(
    #[case] size: usize,
    #[case] left: usize,
) {
    let bench = Bench::new(size, [vec![slowly(Act::good())]]);
    let mut wrong = bench.blob[..left].to_vec();
    wrong[7] ^= 1;
    bench.shelf.leave(&bench.digest, &wrong, size);
    let seen = bench.get(None).await.unwrap();
    if left == 2000 {
        assert!(seen.end.is_err() && seen.bytes.len() <= 4900);
    } else {
        assert!(seen.is(&bench.blob), "nothing wrong was seen of it");
    }
    bench.ended("stored").await;
    assert_eq!(bench.shelf.discarded.load(Ordering::Relaxed), 1);
    assert!(bench.get(None).await.unwrap().is(&bench.blob));
}

#[tokio::test(start_paused = true)]
async fn upstream_is_given_no_third_chance() {
    let bench = Bench::new(5000, [vec![slowly(Act::faulty(Fault::Corrupt(3000)))]]);
    bench.shelf.leave(&bench.digest, &bench.blob[..2000], 5000);
    assert!(bench.get(None).await.unwrap().end.is_err());
    bench.ended("wrong_digest").await;
    assert_eq!(bench.asked(), [[2000, 0]]);
}
