//! Tags: one question for everybody, and what happens when upstream has no answer.

use std::time::Duration;

use futures::future::join_all;
use http::Method;
use tokio::time::{Instant, sleep};

use super::rig::Rig;
use super::upstream::{IMAGE, INDEX, Mood};
use crate::registry::RepositoryLists;

const PATH: &str = "/v2/library/a/manifests/1?ns=up.test";

#[tokio::test]
async fn fifty_who_ask_at_the_same_time_cost_one_head_and_one_get() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[b"layer"]).to_string();
    rig.upstream.feels(Mood::Slow(Duration::from_millis(100)));
    let answers = join_all((0..50).map(|_| rig.get(PATH))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.digest() == digest && answer.status == 200)
    );
    assert_eq!(rig.upstream.count(&Method::HEAD, "/manifests/1"), 1);
    assert_eq!(rig.upstream.count(&Method::GET, "/manifests/"), 1);
    assert_eq!(
        (rig.counted("manifest", "miss"), rig.counted("manifest", "join")),
        (1, 49)
    );
    let answers = join_all((0..50).map(|_| rig.get(PATH))).await;
    assert!(answers.iter().all(|answer| answer.digest() == digest));
    assert_eq!(rig.upstream.count(&Method::HEAD, "/manifests/1"), 2);
    assert_eq!(rig.upstream.count(&Method::GET, "/manifests/"), 1);
    assert_eq!(rig.counted("manifest", "hit"), 50);
}

#[tokio::test]
async fn a_fresh_tag_is_not_asked_about() {
    let rig = Rig::with(Duration::from_secs(60), RepositoryLists::default()).await;
    let digest = rig.upstream.image("library/a", "1", &[]).to_string();
    assert_eq!(rig.get(PATH).await.digest(), digest);
    rig.upstream.image("library/a", "1", &[b"new"]);
    assert_eq!(rig.head(PATH).await.digest(), digest);
    assert_eq!(rig.upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_tag_that_moves_is_followed() {
    let rig = Rig::new().await;
    let old = rig.upstream.image("library/a", "1", &[b"old"]).to_string();
    assert_eq!(rig.get(PATH).await.digest(), old);
    let new = rig.upstream.image("library/a", "1", &[b"new"]).to_string();
    let answer = rig.get(PATH).await;
    assert_eq!(answer.digest(), new);
    assert!(new.parse::<regcache_transfer::Digest>().unwrap().matches(&answer.body));
}

#[tokio::test]
async fn a_herd_that_comes_bit_by_bit_costs_four_questions_a_second() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[b"layer"]).to_string();
    rig.get(PATH).await;
    let before = rig.upstream.seen().len();
    let begin = Instant::now();
    let one = |number| {
        let rig = &rig;
        async move {
            sleep(Duration::from_millis(20) * number).await;
            rig.get(PATH).await
        }
    };
    let answers = join_all((0..50).map(one)).await;
    assert!(answers.iter().all(|answer| answer.digest() == digest));
    let asked = rig.upstream.seen().len() - before;
    // However long this machine took over it.
    let allowed = 1 + usize::try_from(begin.elapsed().as_millis() / 250).unwrap();
    assert!((2..=allowed).contains(&asked), "{asked} of {allowed}");
}

#[tokio::test]
async fn nobody_gets_what_a_tag_was_before_they_asked() {
    let rig = Rig::new().await;
    let others = async {
        loop {
            rig.get(PATH).await;
            sleep(Duration::from_millis(10)).await;
        }
    };
    let mine = async {
        for number in 0..8_u8 {
            let digest = rig.upstream.image("library/a", "1", &[&[number]]).to_string();
            // What is on its way is from before: the next one is ours.
            sleep(Duration::from_millis(150)).await;
            assert_eq!(rig.get(PATH).await.digest(), digest, "{number}");
        }
    };
    tokio::select! {
        () = others => {}
        () = mine => {}
    }
}

#[tokio::test]
async fn upstream_that_hangs_costs_the_first_client_two_seconds_and_the_next_nothing() {
    let rig = Rig::new().await;
    let old = rig.upstream.image("library/a", "1", &[b"old"]).to_string();
    let other = rig.upstream.image("library/a", "2", &[b"other"]).to_string();
    let path_of_other = "/v2/library/a/manifests/2?ns=up.test";
    rig.get(PATH).await;
    rig.get(path_of_other).await;
    rig.upstream.feels(Mood::Hangs);
    let begin = Instant::now();
    assert_eq!(rig.get(PATH).await.digest(), old);
    assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
    let begin = Instant::now();
    assert_eq!(rig.get(PATH).await.digest(), old);
    assert_eq!(rig.get(path_of_other).await.digest(), other);
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert_eq!(rig.counted("manifest", "stale"), 3);

    // Well again: found out within a second, though the first question still hangs.
    let new = rig.upstream.image("library/a", "1", &[b"new"]).to_string();
    rig.upstream.feels(Mood::Well);
    let begin = Instant::now();
    while rig.get(PATH).await.digest() != new {
        assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn upstream_that_hangs_costs_those_who_have_nothing_eight_seconds_once() {
    let rig = Rig::new().await;
    rig.upstream.feels(Mood::Hangs);
    let begin = Instant::now();
    assert_eq!(rig.get(PATH).await.status, 503);
    assert!(begin.elapsed() < Duration::from_millis(8500), "{:?}", begin.elapsed());
    let begin = Instant::now();
    assert_eq!(rig.get(PATH).await.status, 503);
    assert_eq!(rig.get("/v2/library/b/manifests/1").await.status, 503);
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    let digest = rig.upstream.image("library/a", "1", &[]).to_string();
    rig.upstream.feels(Mood::Well);
    let begin = Instant::now();
    while rig.get(PATH).await.status != 200 {
        assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rig.get(PATH).await.digest(), digest);
}

/// The tag is known to be something that is nowhere.
async fn know_what_is_gone(rig: &Rig) {
    let (repository, tag) = ("library/a".parse().unwrap(), "1".parse().unwrap());
    let accept = crate::manifests::Accept::parse([super::rig::CONTAINERD]);
    let fact = crate::store::TagFact {
        digest: regcache_transfer::Digest::sha256(b"gone"),
        media_type: None,
        size: None,
        checked_at: jiff::Timestamp::now(),
    };
    rig.store
        .put_tag("up.test", &repository, &tag, accept.as_str(), fact)
        .await;
}

#[tokio::test]
async fn questions_that_follow_one_another_do_not_add_up_beyond_what_a_gateway_waits() {
    let rig = Rig::with(Duration::from_secs(60), RepositoryLists::default()).await;
    // What is known is gone here and there: one question by digest, another one by tag.
    know_what_is_gone(&rig).await;
    rig.upstream.feels(Mood::Slow(Duration::from_secs(6)));
    let begin = Instant::now();
    assert_eq!(rig.get(PATH).await.status, 503);
    assert!(begin.elapsed() < Duration::from_millis(8900), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn upstream_that_is_slow_is_waited_for_by_who_has_nothing_else() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[]).to_string();
    rig.upstream.feels(Mood::Slow(Duration::from_millis(1200)));
    // HEAD and GET: longer than one with a stale answer would wait.
    assert_eq!(rig.get(PATH).await.digest(), digest);
}

#[tokio::test]
async fn a_late_answer_is_remembered() {
    let rig = Rig::new().await;
    let old = rig.upstream.image("library/a", "1", &[b"old"]).to_string();
    rig.get(PATH).await;
    let new = rig.upstream.image("library/a", "1", &[b"new"]).to_string();
    rig.upstream.feels(Mood::Slow(Duration::from_millis(1200)));
    assert_eq!(
        rig.get(PATH).await.digest(),
        old,
        "HEAD and GET take longer than two seconds"
    );
    let (repository, tag) = ("library/a".parse().unwrap(), "1".parse().unwrap());
    let accept = crate::manifests::Accept::parse([super::rig::CONTAINERD]);
    let known = || async {
        let fact = rig.store.tag("up.test", &repository, &tag, accept.as_str()).await;
        fact.unwrap().digest.to_string()
    };
    let begin = Instant::now();
    while known().await != new {
        assert!(begin.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(20)).await;
    }
    rig.upstream.feels(Mood::Refuses(503));
    assert_eq!(rig.get(PATH).await.digest(), new);
}

#[tokio::test]
async fn a_tag_that_is_gone_is_gone_and_not_asked_about_again_at_once() {
    let rig = Rig::new().await;
    rig.upstream.image("library/a", "1", &[]);
    rig.get(PATH).await;
    rig.upstream.forget("library/a/manifests/1");
    let answer = rig.get(PATH).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (404, "MANIFEST_UNKNOWN")
    );
    let heads = rig.upstream.count(&Method::HEAD, "/manifests/1");
    assert_eq!(rig.get(PATH).await.status, 404);
    assert_eq!(rig.upstream.count(&Method::HEAD, "/manifests/1"), heads);
    // The fact is gone, too: nothing is served when upstream fails after that.
    rig.upstream.feels(Mood::Refuses(503));
    let begin = Instant::now();
    while rig.get(PATH).await.status == 404 {
        assert!(begin.elapsed() < crate::manifests::NEGATIVE + Duration::from_secs(1));
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rig.get(PATH).await.status, 503);
}

#[rstest::rstest]
#[case(401)]
#[case(403)]
#[case(429)]
#[case(500)]
#[case(503)]
#[tokio::test]
async fn whatever_upstream_refuses_with_what_worked_before_is_served(#[case] status: u16) {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[]).to_string();
    rig.get(PATH).await;
    rig.upstream.feels(Mood::Refuses(status));
    for _ in 0..3 {
        let answer = rig.get(PATH).await;
        assert_eq!((answer.status.as_u16(), answer.digest()), (200, digest.clone()));
    }
    assert_eq!(rig.counted("manifest", "stale"), 3);
}

#[rstest::rstest]
#[case(401, 404, "NAME_UNKNOWN")]
#[case(403, 404, "NAME_UNKNOWN")]
#[case(429, 503, "UNAVAILABLE")]
#[case(500, 503, "UNAVAILABLE")]
#[tokio::test]
async fn containerd_goes_on_when_there_is_nothing_to_serve(#[case] status: u16, #[case] ours: u16, #[case] code: &str) {
    let rig = Rig::new().await;
    rig.upstream.feels(Mood::Refuses(status));
    let answer = rig.get(PATH).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (ours, code));
    assert_eq!(answer.headers.contains_key("retry-after"), ours == 503);
}

#[tokio::test]
async fn what_kinds_of_clients_take_is_kept_apart() {
    let rig = Rig::new().await;
    let image = rig
        .upstream
        .tag("library/a", "1", IMAGE, b"{\"layers\": []}")
        .to_string();
    let index = rig
        .upstream
        .tag_for("index", "library/a", "1", INDEX, b"{\"manifests\": []}")
        .to_string();
    let takes_image = [("accept", "application/vnd.oci.image.manifest.v1+json;q=0.9")];
    for _ in 0..2 {
        let answer = rig.get(PATH).await;
        assert_eq!((answer.digest(), answer.header("content-type")), (index.clone(), INDEX));
        let answer = rig.ask(Method::GET, PATH, &takes_image).await;
        assert_eq!((answer.digest(), answer.header("content-type")), (image.clone(), IMAGE));
        rig.upstream.feels(Mood::Refuses(503));
    }
    let seen = rig.upstream.seen();
    assert!(seen.iter().any(|seen| seen.accept == IMAGE));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_a_tag_does_not_take_it_from_others() {
    let rig = Rig::new().await;
    let digest = rig
        .upstream
        .tag_for("*/*", "library/a", "1", INDEX, b"{\"manifests\": []}")
        .to_string();
    assert_eq!(rig.get(PATH).await.digest(), digest);
    assert_eq!(rig.ask(Method::GET, PATH, &[("accept", "x/y")]).await.status, 404);
    rig.upstream.feels(Mood::Refuses(503));
    assert_eq!(rig.get(PATH).await.digest(), digest);
}

#[tokio::test]
async fn without_a_digest_in_the_head_it_takes_a_get() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[]).to_string();
    rig.upstream.feels(Mood::Coy);
    assert_eq!(rig.head(PATH).await.digest(), digest);
    assert_eq!(rig.upstream.count(&Method::GET, "/manifests/1"), 1);
}

#[tokio::test]
async fn a_tag_that_moves_between_head_and_get_never_has_other_bytes_than_its_digest() {
    let rig = Rig::new().await;
    let gone = rig.upstream.image("library/a", "1", &[b"old"]);
    let fresh = rig
        .upstream
        .tag_for("nobody", "library/a", "1", IMAGE, b"{\"layers\": []}")
        .to_string();
    // By digest the old one is gone already; by GET the tag is the new one.
    rig.upstream.forget(&format!("library/a/manifests/{gone}"));
    let answer = rig.get(PATH).await;
    assert_eq!(answer.status, 200);
    let digest: regcache_transfer::Digest = answer.digest().parse().unwrap();
    assert!(digest.matches(&answer.body));
    assert_ne!(answer.digest(), fresh);
    assert_eq!(rig.upstream.count(&Method::GET, "/manifests/1"), 1);
}

#[tokio::test]
async fn head_says_what_get_gives() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[b"layer"]);
    for path in [PATH.to_owned(), format!("/v2/library/a/manifests/{digest}?ns=up.test")] {
        let (head, get) = (rig.head(&path).await, rig.get(&path).await);
        assert!(head.body.is_empty() && head.status == 200);
        assert_eq!(head.headers, get.headers);
        assert_eq!(get.header("content-length"), get.body.len().to_string());
        assert_eq!(get.header("content-type"), IMAGE);
    }
}

#[tokio::test]
async fn what_is_known_serves_only_so_long() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[]);
    rig.get(PATH).await;
    let (repository, tag) = ("library/a".parse().unwrap(), "1".parse().unwrap());
    let accept = crate::manifests::Accept::parse([super::rig::CONTAINERD]);
    let mut fact = rig
        .store
        .tag("up.test", &repository, &tag, accept.as_str())
        .await
        .unwrap();
    assert_eq!(fact.digest, digest);
    fact.checked_at -= jiff::SignedDuration::from_secs(3601);
    rig.store
        .put_tag("up.test", &repository, &tag, accept.as_str(), fact)
        .await;
    rig.upstream.feels(Mood::Refuses(503));
    assert_eq!(rig.get(PATH).await.status, 503);
}

#[tokio::test]
async fn a_manifest_whose_bytes_are_damaged_is_fetched_again() {
    let rig = Rig::new().await;
    let digest = rig.upstream.image("library/a", "1", &[]);
    let damaged = bytes::Bytes::from_static(b"{}");
    rig.store.put_manifest(&digest, IMAGE, damaged).await.unwrap();
    let answer = rig.get(PATH).await;
    assert!(digest.matches(&answer.body));
    assert_eq!(rig.counted("manifest", "miss"), 1);
}

#[tokio::test]
async fn what_is_known_is_asked_about_when_its_manifest_is_gone_everywhere() {
    let rig = Rig::with(Duration::from_secs(60), RepositoryLists::default()).await;
    let image = rig.upstream.image("library/a", "1", &[]).to_string();
    know_what_is_gone(&rig).await;
    assert_eq!(rig.get(PATH).await.digest(), image);
}

#[tokio::test]
async fn signatures_are_tags_like_others() {
    let rig = Rig::new().await;
    let tag = format!("sha256-{}.sig", "ab".repeat(32));
    let digest = rig.upstream.tag("library/a", &tag, IMAGE, b"{}").to_string();
    assert_eq!(
        rig.get(&format!("/v2/library/a/manifests/{tag}")).await.digest(),
        digest
    );
}
