//! An upstream that fails is left alone, and found well again at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

fn is_resting<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Resting { .. }))
}

#[tokio::test]
async fn an_upstream_that_is_away_rests_and_is_well_within_a_second_of_its_return() {
    let server = Server::start(|_| async { reply(200, &[], "{}") }).await;
    let (address, url) = (server.address, server.url.clone());
    let upstream = upstream(settings(&url));
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    drop(server);
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    let error = upstream.manifest(&repository(), &latest(), "").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(is_resting(&upstream.manifest(&repository(), &latest(), "").await));
        let error = open(&upstream, 0).await.err();
        assert!(matches!(error, Some(OpenError::Unreachable(_))), "{error:?}");
    }
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "at once: {:?}",
        begun.elapsed()
    );
    assert!(upstream.resting().is_some());
    // Until the pauses have become longer than a second.
    while upstream.resting().is_none_or(|left| left < Duration::from_millis(1200)) {
        tokio::time::sleep(upstream.resting().unwrap_or_default()).await;
        assert!(upstream.manifest(&repository(), &latest(), "").await.is_err());
    }
    let _server = Server::start_at(address, None, |_| async { reply(200, &[], "{}") }).await;
    let back = Instant::now();
    eventually("well again", || upstream.resting().is_none()).await;
    assert!(back.elapsed() < Duration::from_secs(1), "{:?}", back.elapsed());
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_hangs_rests_once_somebody_has_given_up() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = hangs.clone();
    let server = Server::start(move |_| {
        let hangs = hanging.load(Ordering::SeqCst);
        async move {
            if hangs {
                std::future::pending().await
            } else {
                reply(200, &[], "{}")
            }
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    assert_eq!(upstream.silent(), None, "nobody waits");
    let (repository, latest) = (repository(), latest());
    let mut asking = Box::pin(upstream.manifest(&repository, &latest, ""));
    let early = tokio::time::timeout(Duration::from_millis(1800), &mut asking).await;
    assert!(early.is_err() && upstream.resting().is_none());
    assert!(upstream.silent().is_some_and(|silent| silent > Duration::from_secs(1)));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut asking)
            .await
            .is_err()
    );
    drop(asking);
    assert!(upstream.resting().is_some());
    assert!(is_resting(&upstream.head_manifest(&repository, &latest, "").await));
    hangs.store(false, Ordering::SeqCst);
    let back = Instant::now();
    eventually("well again", || upstream.resting().is_none()).await;
    assert!(back.elapsed() < Duration::from_secs(1), "{:?}", back.elapsed());
    upstream.manifest(&repository, &latest, "").await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_hangs_when_asked_about_a_blob_rests_too() {
    let server = Server::start(|_| std::future::pending()).await;
    let upstream = upstream(settings(&server.url));
    let (repository, digest) = (repository(), digest());
    let asking = upstream.head_blob(&repository, &digest);
    let given_up = tokio::time::timeout(Duration::from_millis(2100), asking).await;
    assert!(given_up.is_err() && upstream.resting().is_some());
}

#[tokio::test]
async fn one_who_leaves_early_says_nothing_about_upstream() {
    let server = Server::start(|_| std::future::pending()).await;
    let upstream = upstream(settings(&server.url));
    let (repository, latest) = (repository(), latest());
    let given_up = tokio::time::timeout(Duration::from_millis(100), upstream.manifest(&repository, &latest, "")).await;
    assert!(given_up.is_err());
    assert_eq!((upstream.resting(), upstream.silent()), (None, None));
}

#[tokio::test]
async fn too_many_manifests_stop_manifests_for_as_long_as_upstream_says_and_no_blobs() {
    let server = Server::start(|seen| async move {
        if seen.path.contains("/manifests/") {
            reply(429, &[("retry-after", "60")], "")
        } else {
            blob_reply(&seen, &content(10))
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    let limited = upstream.manifest(&repository(), &latest(), "").await;
    let retry_after = Some(Duration::from_secs(60));
    assert_eq!(limited, Err(Error::Limited { retry_after }));
    assert!(is_resting(&upstream.manifest(&repository(), &latest(), "").await));
    assert!(is_resting(&upstream.list(&repository(), List::Tags, None, "").await));
    drain(open(&upstream, 0).await.unwrap()).await;
    assert!(
        upstream.resting().is_some_and(|left| left > Duration::from_secs(55)),
        "a blob does not end it"
    );
    assert_eq!(server.seen().len(), 2, "no probe, and no more manifests");
}

#[tokio::test]
async fn an_upstream_that_asks_for_quiet_is_not_even_probed() {
    let server = Server::start(|_| async { reply(503, &[("retry-after", "30")], "") }).await;
    let upstream = upstream(settings(&server.url));
    assert_eq!(
        upstream.manifest(&repository(), &latest(), "").await,
        Err(Error::Status(503))
    );
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(28)).await;
    tokio::time::resume();
    assert!(is_resting(&upstream.manifest(&repository(), &latest(), "").await));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn one_broken_image_does_not_cost_the_others() {
    let server = Server::start(|seen| async move {
        if seen.path.contains("broken") {
            reply(500, &[], "")
        } else {
            reply(200, &[], "{}")
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    let broken: Repository = "library/broken".parse().unwrap();
    for _ in 0..10 {
        for _ in 0..2 {
            assert_eq!(upstream.manifest(&broken, &latest(), "").await, Err(Error::Status(500)));
        }
        upstream.manifest(&repository(), &latest(), "").await.unwrap();
    }
    assert_eq!(upstream.resting(), None);
    for _ in 0..3 {
        assert_eq!(upstream.manifest(&broken, &latest(), "").await, Err(Error::Status(500)));
    }
    assert!(upstream.resting().is_some());
}

#[tokio::test]
async fn a_kept_connection_that_is_silent_leaves_the_word_to_a_fresh_one() {
    let server = Server::start(|seen| async move {
        match seen.connection {
            0 => std::future::pending().await,
            _ => blob_reply(&seen, &content(10)),
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    let [kept, fresh] = sources(&upstream);
    let limit = Duration::from_millis(2100);
    assert!(tokio::time::timeout(limit, kept.open(Span::default())).await.is_err());
    assert_eq!(upstream.resting(), None);
    drain(fresh.open(Span::default()).await.unwrap()).await;
    drain(kept.open(Span::default()).await.unwrap()).await;
}

#[tokio::test]
async fn a_fresh_connection_that_is_silent_too_sends_upstream_to_rest() {
    let server = Server::start(|_| std::future::pending()).await;
    let upstream = upstream(settings(&server.url));
    let [_, fresh] = sources(&upstream);
    assert!(
        tokio::time::timeout(Duration::from_millis(2100), fresh.open(Span::default()))
            .await
            .is_err()
    );
    assert!(upstream.resting().is_some());
}
