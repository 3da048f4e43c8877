//! Who we are: tokens and credentials, who gets to see them and how often they are fetched.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use super::*;

/// A registry whose tokens are `token-<n>`: only the newest one opens anything, and `life` is what it says of them.
struct Guarded {
    server: Server,
    /// Which token is good now.
    current: Arc<AtomicUsize>,
}

const REALM: &str = "/token";

async fn guarded(realm: Option<Url>, life: &'static str) -> Guarded {
    let current = Arc::new(AtomicUsize::new(0));
    let good = current.clone();
    let server = Server::start(move |seen| {
        let (realm, good) = (realm.clone(), good.clone());
        async move { guard(&seen, realm, &good, life) }
    })
    .await;
    Guarded { server, current }
}

fn guard(seen: &Seen, realm: Option<Url>, good: &AtomicUsize, life: &str) -> Reply {
    if seen.path.starts_with(REALM) {
        let answer = format!(r#"{{"token":"token-{}"{life}}}"#, good.load(Ordering::SeqCst));
        return reply(200, &[], answer);
    }
    if seen.authorization() == Some(format!("Bearer token-{}", good.load(Ordering::SeqCst))) {
        return thing_reply(seen, &content(1000));
    }
    let realm = realm.map_or_else(
        || format!("http://{}{REALM}", seen.header("host").unwrap()),
        |url| url.to_string(),
    );
    let name = seen.path.split('/').skip(2).take(2).collect::<Vec<_>>().join("/");
    let challenge = format!(r#"Bearer realm="{realm}",service="test",scope="repository:{name}:pull""#);
    reply(401, &[("www-authenticate", &challenge)], "{}")
}

#[tokio::test]
async fn twenty_requests_at_once_fetch_one_token() {
    let bare = Arc::new(AtomicUsize::new(0));
    let count = bare.clone();
    let server = Server::start(move |seen| {
        let count = count.clone();
        async move {
            if seen.path.starts_with(REALM) {
                // Until all of them need it.
                eventually("20 requests without a token", || count.load(Ordering::SeqCst) == 20).await;
            } else if seen.authorization().is_none() {
                count.fetch_add(1, Ordering::SeqCst);
            }
            guard(&seen, None, &AtomicUsize::new(0), "")
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    let (repository, latest) = (repository(), latest());
    let all = join_all((0..20).map(|_| upstream.manifest(&repository, &latest, ""))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let tokens = server.asked(REALM);
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].path,
        "/token?service=test&scope=repository%3Alibrary%2Fa%3Apull"
    );
    assert_eq!(tokens[0].authorization(), None, "anonymous");
}

#[tokio::test]
async fn the_next_request_carries_its_token_at_once_even_for_another_repository() {
    let guarded = guarded(None, r#","expires_in":300"#).await;
    let upstream = upstream(settings(&guarded.server.url));
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    let before = guarded.server.seen().len();
    assert_eq!(before, 3, "bare, token, with token");
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    upstream
        .manifest(&"library/b".parse().unwrap(), &latest(), "")
        .await
        .unwrap();
    let after: Vec<_> = guarded
        .server
        .seen()
        .split_off(before)
        .into_iter()
        .map(|seen| seen.path)
        .collect();
    let expected = [
        "/v2/library/a/manifests/latest",
        "/token?service=test&scope=repository%3Alibrary%2Fb%3Apull",
        "/v2/library/b/manifests/latest",
    ];
    assert_eq!(after, expected);
}

#[tokio::test]
async fn a_token_that_is_at_its_end_is_not_used_again() {
    let guarded = guarded(None, r#","expires_in":0"#).await;
    let upstream = upstream(settings(&guarded.server.url));
    for _ in 0..2 {
        upstream.manifest(&repository(), &latest(), "").await.unwrap();
    }
    assert_eq!(guarded.server.asked(REALM).len(), 2);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_pull_is_renewed_once() {
    let guarded = guarded(None, r#","expires_in":300"#).await;
    let upstream = upstream(settings(&guarded.server.url));
    let opened = open(&upstream, 0).await.unwrap();
    assert_eq!(opened.total, 1000);
    guarded.current.fetch_add(1, Ordering::SeqCst);
    let opened = open(&upstream, 400).await.unwrap();
    assert_eq!((opened.start, opened.total), (400, 1000));
    assert_eq!(drain(opened).await, (content(1000).slice(400..).to_vec(), true));
    assert_eq!(guarded.server.asked(REALM).len(), 2);
    let ranges: Vec<_> = guarded
        .server
        .asked("/v2/")
        .iter()
        .map(|seen| seen.header("range"))
        .collect();
    let again = Some("bytes=400-".to_owned());
    assert_eq!(
        ranges,
        [None, None, again.clone(), again],
        "the range is asked for again after the challenge"
    );
}

#[tokio::test]
async fn a_token_that_upstream_never_takes_is_no_endless_loop() {
    let server = Server::start(|seen| async move {
        let good = AtomicUsize::new(usize::from(!seen.path.starts_with(REALM)));
        guard(&seen, None, &good, "")
    })
    .await;
    let upstream = upstream(settings(&server.url));
    assert_eq!(
        upstream.manifest(&repository(), &latest(), "").await,
        Err(Error::Denied(401))
    );
    assert_eq!(server.seen().len(), 3);
    assert_eq!(open(&upstream, 0).await.err(), Some(OpenError::Refused(401)));
    assert!(server.seen().len() <= 7, "{}", server.seen().len());
    assert_eq!(upstream.resting(), None, "an answer like any other");
}

#[tokio::test]
async fn the_token_server_sees_the_credentials_and_the_registry_only_the_token() {
    let guarded = guarded(None, "").await;
    let mut settings = settings(&guarded.server.url);
    settings.credentials = Some(credentials());
    let upstream = upstream(settings);
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!(guarded.server.asked(REALM)[0].authorization().as_deref(), Some(BASIC));
    let registry: Vec<_> = guarded.server.asked("/v2/").iter().map(Seen::authorization).collect();
    assert_eq!(registry, [None, Some("Bearer token-0".into())]);
}

#[tokio::test]
async fn a_foreign_token_server_is_never_asked_unless_it_is_named() {
    let foreign = Server::start_at("127.0.0.2:0".parse().unwrap(), None, |seen| async move {
        guard(&seen, None, &AtomicUsize::new(0), "")
    })
    .await;
    let guarded = guarded(Some(foreign.url.join(REALM).unwrap()), "").await;
    let mut settings = settings(&guarded.server.url);
    settings.credentials = Some(credentials());
    let stranger = upstream(settings.clone());
    assert_eq!(
        stranger.manifest(&repository(), &latest(), "").await,
        Err(Error::Denied(401))
    );
    assert!(foreign.seen().is_empty());
    settings.realm_hosts = vec!["127.0.0.2".into()];
    let friend = upstream(settings);
    friend.manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!(foreign.seen().len(), 1);
}

#[tokio::test]
async fn basic_credentials_go_out_at_once_after_the_first_challenge() {
    let server = Server::start(|seen| async move {
        match seen.authorization().as_deref() {
            Some(BASIC) => reply(200, &[], "{}"),
            _ => reply(401, &[("www-authenticate", "Negotiate, Basic realm=\"x\"")], ""),
        }
    })
    .await;
    let mut settings = settings(&server.url);
    let anonymous = upstream(settings.clone());
    assert_eq!(
        anonymous.manifest(&repository(), &latest(), "").await,
        Err(Error::Denied(401))
    );
    assert_eq!(server.seen().len(), 1, "nothing to try again with");
    settings.credentials = Some(credentials());
    let known = upstream(settings.clone());
    for _ in 0..2 {
        known.manifest(&repository(), &latest(), "").await.unwrap();
    }
    assert_eq!(server.seen().len(), 1 + 3);
    settings.credentials.as_mut().unwrap().password = "wrong".into();
    let wrong = upstream(settings);
    assert_eq!(
        wrong.manifest(&repository(), &latest(), "").await,
        Err(Error::Denied(401))
    );
    assert_eq!(server.seen().len(), 4 + 2, "once bare, once with them");
}

#[tokio::test]
async fn a_registry_that_needs_no_tokens_any_more_is_found_out() {
    let open = Arc::new(AtomicUsize::new(0));
    let is_open = open.clone();
    let server = Server::start(move |seen| {
        let is_open = is_open.load(Ordering::SeqCst) == 1;
        async move {
            match is_open {
                true if seen.path.starts_with(REALM) => reply(404, &[], ""),
                true => reply(200, &[], "{}"),
                false => guard(&seen, None, &AtomicUsize::new(0), r#","expires_in":0"#),
            }
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    open.store(1, Ordering::SeqCst);
    assert!(
        upstream.manifest(&repository(), &latest(), "").await.is_err(),
        "by the old way"
    );
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
}

#[tokio::test]
async fn a_token_server_that_says_too_much_or_nothing_is_an_error_and_no_loop() {
    for (answer, expected) in [
        (" ".repeat(1024 * 1024 + 1), Error::TooLarge),
        (
            "{}".into(),
            Error::Malformed("token server: its answer holds no token".into()),
        ),
    ] {
        let server = Server::start(move |seen| {
            let answer = answer.clone();
            async move {
                if seen.path.starts_with(REALM) {
                    reply(200, &[], answer)
                } else {
                    guard(&seen, None, &AtomicUsize::new(0), "")
                }
            }
        })
        .await;
        let upstream = upstream(settings(&server.url));
        assert_eq!(upstream.manifest(&repository(), &latest(), "").await, Err(expected));
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_token_server_that_hangs_is_given_up_and_counts_as_a_failure() {
    let server = Server::start(|seen| async move {
        if seen.path.starts_with(REALM) {
            std::future::pending().await
        } else {
            guard(&seen, None, &AtomicUsize::new(0), "")
        }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    let asking = {
        let upstream = upstream.clone();
        tokio::spawn(async move { upstream.manifest(&repository(), &latest(), "").await })
    };
    eventually("the token server is asked", || !server.asked(REALM).is_empty()).await;
    // Nothing but time can go on from here.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(asking.await.unwrap(), Err(Error::TimedOut));
    assert!(begun.elapsed() <= Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(upstream.resting().is_some());
}
