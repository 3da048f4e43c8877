//! One sick cache at a time: with a good one behind it the answer is right, alone it is a 503 or a short end.

use std::time::{Duration, Instant};

use regcache_node::router::Outcome;
use rstest::rstest;

use crate::bench::{Bench, limits, nobody};
use crate::cache::Act;
use crate::client::Ending;

const SMALL: usize = 300_000;
const LARGE: usize = 3_000_000;
const HALF: usize = 1_500_000;

#[rstest]
#[case(Act::Never, Outcome::Silent)]
#[case(Act::StallAt(0), Outcome::Silent)]
#[case(Act::StallAt(1000), Outcome::Silent)]
#[case(Act::StallAt(HALF), Outcome::Silent)]
#[case(Act::ResetAt(HALF), Outcome::Short)]
#[case(Act::EndAt(HALF), Outcome::Short)]
#[case(Act::EndAt(0), Outcome::Short)]
#[case(Act::Status(302), Outcome::Refused)]
#[case(Act::Status(401), Outcome::Refused)]
#[case(Act::Status(429), Outcome::Refused)]
#[case(Act::Status(500), Outcome::Refused)]
#[case(Act::Status(404), Outcome::Ok)]
#[tokio::test]
async fn next_cache_completes_the_blob(#[case] act: Act, #[case] outcome: Outcome) {
    for size in [SMALL, LARGE] {
        let bench = Bench::start(size, &[act.clone(), Act::Serve]).await;
        let begun = Instant::now();
        let answer = bench.client.get(&bench.blob_path()).await;
        assert_eq!((answer.status, answer.ending), (200, Ending::Full));
        assert!(answer.body == *bench.blob, "the exact bytes");
        assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
        // A small blob that stops at half of a large one does not stop at all.
        if bench.outcomes() == [Outcome::Ok] {
            assert_eq!(size, SMALL);
        } else {
            assert_eq!(bench.outcomes(), [outcome, Outcome::Ok]);
        }
        // A sick cache's requests say nothing about what the good one delivered: no memory of it.
        assert_eq!(bench.client.get(&bench.blob_path()).await.status, 200);
    }
}

#[rstest]
#[case(Act::Never, Outcome::Silent)]
#[case(Act::StallAt(0), Outcome::Silent)]
#[case(Act::StallAt(1000), Outcome::Silent)]
#[case(Act::ResetAt(1000), Outcome::Short)]
#[case(Act::EndAt(1000), Outcome::Short)]
#[case(Act::Corrupt, Outcome::Corrupt)]
#[case(Act::Status(302), Outcome::Refused)]
#[case(Act::Status(401), Outcome::Refused)]
#[case(Act::Status(403), Outcome::Refused)]
#[case(Act::Status(429), Outcome::Refused)]
#[case(Act::Status(500), Outcome::Refused)]
#[tokio::test]
async fn manifest_comes_from_the_next_cache_or_is_503(#[case] act: Act, #[case] outcome: Outcome) {
    let bench = Bench::start(SMALL, &[act.clone(), Act::Serve]).await;
    let answer = bench.client.get(&bench.manifest_path()).await;
    assert_eq!((answer.status, answer.body == *bench.blob), (200, true));
    assert_eq!(bench.outcomes(), [outcome, Outcome::Ok]);

    let bench = Bench::start(SMALL, &[act]).await;
    let tag = bench.manifest_path().replace(&bench.digest.to_string(), "tag");
    for path in [bench.manifest_path(), bench.blob_path(), tag] {
        let answer = bench.client.get(&path).await;
        assert_eq!(answer.status, 503, "{path}");
        for header in ["www-authenticate", "location", "retry-after"] {
            assert_eq!(answer.header(header), None);
        }
    }
}

/// A cache whose small answers come and whose blobs do not: containerd waits for three of them at once.
#[tokio::test]
async fn blob_headers_are_given_less_time_than_a_manifests() {
    for (kind, range) in [("blobs", 450..850), ("manifests", 850..1600)] {
        let bench = Bench::start(SMALL, &[Act::Never, Act::Serve]).await;
        let begun = Instant::now();
        let answer = bench.client.get(&bench.blob_path().replace("blobs", kind)).await;
        assert_eq!((answer.status, answer.body == *bench.blob), (200, true), "{kind}");
        let took = begun.elapsed();
        assert!(range.contains(&took.as_millis()), "{kind}: {took:?}");
        assert_eq!(bench.outcomes(), [Outcome::Silent, Outcome::Ok]);
    }
}

#[tokio::test]
async fn cache_that_is_gone_costs_nothing() {
    let dead = vec![nobody().await, nobody().await];
    let bench = Bench::with(LARGE, &[Act::Serve], dead.clone(), limits()).await;
    let begun = Instant::now();
    assert!(bench.client.get(&bench.blob_path()).await.body == *bench.blob);
    assert!(begun.elapsed() < Duration::from_millis(1500));
    assert_eq!(
        bench.outcomes(),
        [Outcome::Unreachable, Outcome::Unreachable, Outcome::Ok]
    );

    let bench = Bench::with(LARGE, &[], dead, limits()).await;
    for path in [bench.manifest_path(), bench.blob_path()] {
        assert_eq!(bench.client.get(&path).await.status, 503);
    }
    let bench = Bench::start(LARGE, &[]).await;
    assert_eq!(
        bench.client.get(&bench.blob_path()).await.status,
        503,
        "no healthy cache"
    );
}

#[tokio::test]
async fn not_found_is_said_only_when_nothing_failed() {
    let other = |bench: &Bench, kind: &str| {
        bench
            .manifest_path()
            .replace("manifests", kind)
            .replace("sha256:", "sha256:0")
    };
    for (acts, status) in [
        (vec![Act::Status(404)], 404),
        (vec![Act::Status(404), Act::Status(404)], 404),
        (vec![Act::Status(500), Act::Status(404)], 503),
    ] {
        let bench = Bench::start(SMALL, &acts).await;
        assert_eq!(bench.client.get(&bench.blob_path()).await.status, status);
        assert_eq!(bench.client.get(&bench.manifest_path()).await.status, status);
        assert_eq!(
            bench.client.get(&other(&bench, "blobs")).await.status,
            404,
            "no digest at all"
        );
    }
}

#[tokio::test]
async fn small_wrong_blob_is_never_given_out() {
    let bench = Bench::start(SMALL, &[Act::Corrupt, Act::Serve]).await;
    assert!(bench.client.get(&bench.blob_path()).await.body == *bench.blob);
    assert_eq!(bench.outcomes(), [Outcome::Corrupt, Outcome::Ok]);
}

#[tokio::test]
async fn large_wrong_blob_ends_short_and_is_503_from_then_on() {
    let bench = Bench::start(LARGE, &[Act::Corrupt, Act::Serve]).await;
    let answer = bench.client.get(&bench.blob_path()).await;
    assert_eq!((answer.status, answer.ending), (200, Ending::Fin));
    assert!(answer.body.len() <= LARGE - 64 * 1024, "the end was held back");
    assert_eq!(bench.outcomes(), [Outcome::Corrupt]);
    let rest = [("Range", format!("bytes={}-", answer.body.len()))];
    let rest = bench
        .client
        .request("GET", &bench.blob_path(), &[(rest[0].0, &rest[0].1)])
        .await;
    assert_eq!(rest.status, 503);
    assert_eq!(
        bench.caches[0].lines().len() + bench.caches[1].lines().len(),
        1,
        "no cache was asked again"
    );
}

#[rstest]
#[case(Act::StallAt(HALF))]
#[case(Act::EndAt(HALF))]
#[case(Act::ResetAt(HALF))]
#[tokio::test]
async fn body_that_nobody_can_go_on_with_ends_short_and_the_rest_is_503_at_once(#[case] act: Act) {
    let bench = Bench::start(LARGE, &[act]).await;
    let begun = Instant::now();
    let answer = bench.client.get(&bench.blob_path()).await;
    assert_eq!((answer.status, answer.ending), (200, Ending::Fin));
    assert!(answer.body.len() <= HALF && answer.body[..] == bench.blob[..answer.body.len()]);
    assert!(begun.elapsed() < Duration::from_millis(2500));
    let asked = bench.caches[0].lines().len();
    let begun = Instant::now();
    let range = format!("bytes={}-", answer.body.len());
    let rest = bench
        .client
        .request("GET", &bench.blob_path(), &[("Range", &range)])
        .await;
    assert_eq!(rest.status, 503);
    assert!(begun.elapsed() < Duration::from_millis(400));
    assert_eq!(bench.caches[0].lines().len(), asked);
    assert!(bench.metrics().contains("result=\"short\"} 1"));
}

#[tokio::test]
async fn cache_without_ranges_takes_over_by_skipping() {
    let bench = Bench::start(LARGE, &[Act::StallAt(HALF), Act::Deaf]).await;
    let answer = bench.client.get(&bench.blob_path()).await;
    assert!(answer.body == *bench.blob);
    assert_eq!(bench.outcomes(), [Outcome::Silent, Outcome::Ok]);
}
