//! Rest and probes in a time of our own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use tokio::time::advance;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A breaker whose upstream hangs until it is `well`, and how often it was probed.
struct Patient {
    breaker: Arc<Breaker>,
    well: Arc<AtomicBool>,
    probes: Arc<AtomicUsize>,
}

fn patient() -> Patient {
    let (well, probes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_well, count) = (well.clone(), probes.clone());
    let probe = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let is_well = is_well.load(Ordering::SeqCst);
        async move {
            if !is_well {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
        .boxed()
    };
    Patient {
        breaker: Breaker::new(Meter::default(), Box::new(probe), Box::new(|| ())),
        well,
        probes,
    }
}

fn unreachable() -> Error {
    Error::Unreachable("gone".into())
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_does_not_keep_the_next_ones_from_finding_upstream_well() {
    let patient = patient();
    patient
        .breaker
        .enter(Subject::Manifests, true)
        .unwrap()
        .failed(&unreachable());
    tokio::time::sleep(Duration::from_millis(1700)).await;
    patient.well.store(true, Ordering::SeqCst);
    // The rest has ended by itself meanwhile, and nobody has tried.
    let begun = Instant::now();
    while patient.breaker.state().reach.begun() {
        tokio::time::sleep(MILLISECOND).await;
    }
    assert!(begun.elapsed() <= Duration::from_millis(501), "{:?}", begun.elapsed());
    assert!(patient.breaker.enter(Subject::Blobs, true).is_ok());
}

#[tokio::test(start_paused = true)]
async fn probes_end_when_nobody_wants_anything_and_begin_again_with_the_next_failure() {
    let patient = patient();
    patient
        .breaker
        .enter(Subject::Manifests, true)
        .unwrap()
        .failed(&unreachable());
    tokio::time::sleep(Duration::from_secs(302)).await;
    let before = patient.probes.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(patient.probes.load(Ordering::SeqCst), before);
    patient
        .breaker
        .enter(Subject::Manifests, true)
        .unwrap()
        .failed(&unreachable());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(patient.probes.load(Ordering::SeqCst) > before);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_forgotten_is_not_probed_any_more() {
    let Patient { breaker, probes, .. } = patient();
    breaker.enter(Subject::Manifests, true).unwrap().failed(&unreachable());
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(breaker);
    let before = probes.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(probes.load(Ordering::SeqCst), before);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_anybody_breaks_the_silence() {
    let patient = patient();
    let waiting = patient.breaker.enter(Subject::Manifests, true).unwrap();
    advance(Duration::from_secs(3)).await;
    assert_eq!(patient.breaker.silent(), Some(Duration::from_secs(3)));
    let mut other = patient.breaker.enter(Subject::Blobs, true).unwrap();
    other.heard(StatusCode::OK, None);
    other.over();
    assert_eq!(patient.breaker.silent(), None);
    drop(waiting);
    assert_eq!(patient.breaker.resting(), None, "a slow answer is not a dead upstream");
    assert_eq!(patient.breaker.silent(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_stopped_by_a_limit_does_not_use_up_the_one_try() {
    let patient = patient();
    let mut limited = patient.breaker.enter(Subject::Manifests, true).unwrap();
    let mut failing = patient.breaker.enter(Subject::Blobs, true).unwrap();
    limited.heard(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(60)));
    failing.failed(&unreachable());
    advance(Duration::from_millis(1100)).await;
    assert!(patient.breaker.enter(Subject::Manifests, true).is_err());
    assert!(patient.breaker.enter(Subject::Blobs, true).is_ok(), "the rest is over");
    assert!(patient.breaker.enter(Subject::Blobs, true).is_err(), "one tries");
}

#[tokio::test(start_paused = true)]
async fn a_second_limit_in_a_row_is_twice_as_long_when_upstream_names_no_time() {
    let patient = patient();
    for expected in [1, 2, 4] {
        let mut attempt = patient.breaker.enter(Subject::Manifests, true).unwrap();
        attempt.heard(StatusCode::TOO_MANY_REQUESTS, None);
        attempt.over();
        assert_eq!(patient.breaker.resting(), Some(Duration::from_secs(expected)));
        advance(Duration::from_secs(expected)).await;
    }
    assert_eq!(patient.probes.load(Ordering::SeqCst), 0, "no probe could tell");
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_in_vain_is_no_sign_of_silence_when_others_are_answered() {
    let breaker = patient().breaker;
    let stuck = breaker.enter(Subject::Manifests, true).unwrap();
    advance(SILENCE).await;
    assert_eq!(breaker.silent(), Some(SILENCE));
    breaker
        .enter(Subject::Manifests, true)
        .unwrap()
        .heard(StatusCode::OK, None);
    advance(SILENCE * 2).await;
    assert_eq!(breaker.silent(), None);
    let _second = breaker.enter(Subject::Manifests, true).unwrap();
    advance(SILENCE).await;
    assert_eq!(breaker.silent(), Some(SILENCE), "those who came after that count");
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_challenge_is_silence() {
    let breaker = patient().breaker;
    let mut attempt = breaker.enter(Subject::Manifests, true).unwrap();
    advance(MILLISECOND).await;
    attempt.heard(StatusCode::UNAUTHORIZED, None);
    advance(SILENCE).await;
    assert_eq!(breaker.silent(), Some(SILENCE));
}

#[tokio::test(start_paused = true)]
async fn nobody_with_something_at_hand_waits_for_the_try_after_a_rest() {
    let patient = patient();
    let breaker = &patient.breaker;
    breaker.enter(Subject::Manifests, true).unwrap().failed(&unreachable());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!((breaker.resting(), breaker.silent()), (None, Some(SILENCE)));
    patient.well.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(501)).await;
    assert_eq!(breaker.silent(), None);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_configured_anew_does_not_count_as_resting() {
    let metrics = crate::upstream::UpstreamMetrics::default();
    let new = || {
        let probe = || std::future::pending().boxed();
        Breaker::new(metrics.meter(&"a.io".into()), Box::new(probe), Box::new(|| ()))
    };
    let old = new();
    old.enter(Subject::Manifests, true).unwrap().failed(&unreachable());
    drop(old);
    new();
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("upstream_resting{upstream=\"a.io\"} 0"), "{text}");
}
