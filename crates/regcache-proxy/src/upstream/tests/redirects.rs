//! Where an upstream sends us, and what is seen of us there.

use super::*;

/// A registry with Basic credentials that sends everybody to `target`.
async fn sending(target: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |seen| {
        let target = target(&seen);
        async move {
            match seen.authorization().as_deref() {
                Some(BASIC) => reply(307, &[("location", &target)], "elsewhere"),
                _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
            }
        }
    })
    .await
}

fn known(server: &Server) -> Arc<Upstream> {
    let mut settings = settings(&server.url);
    settings.credentials = Some(credentials());
    upstream(settings)
}

#[tokio::test]
async fn storage_elsewhere_sees_neither_credentials_nor_tokens() {
    // Another address, and only another port: both are elsewhere.
    for address in ["127.0.0.2:0", "127.0.0.1:0"] {
        let storage = Server::start_at(address.parse().unwrap(), None, |seen| async move {
            blob_reply(&seen, &content(100))
        })
        .await;
        let target = storage.url.join("/signed?key=1").unwrap();
        // A name and a password in the address are not used either.
        let target = target.as_str().replace("http://", "http://other:password@");
        let registry = sending(move |_| target.clone()).await;
        let opened = open(&known(&registry), 40).await.unwrap();
        assert_eq!((opened.start, opened.total), (40, 100));
        assert_eq!(drain(opened).await, (content(100).slice(40..).to_vec(), true));
        let seen = storage.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].path.as_str(), seen[0].authorization()),
            ("/signed?key=1", None)
        );
        assert_eq!(seen[0].header("range").as_deref(), Some("bytes=40-"));
        assert_eq!(seen[0].header("cookie").or(seen[0].header("referer")), None);
    }
}

#[tokio::test]
async fn the_same_host_goes_on_seeing_who_we_are() {
    let server = Server::start(|seen| async move {
        match seen.path.as_str() {
            "/elsewhere" if seen.authorization().as_deref() == Some(BASIC) => blob_reply(&seen, &content(10)),
            _ if seen.authorization().is_some() => reply(302, &[("location", "/elsewhere")], ""),
            _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
        }
    })
    .await;
    let opened = open(&known(&server), 0).await.unwrap();
    assert_eq!(drain(opened).await, (content(10).to_vec(), true));
}

#[tokio::test]
async fn each_opening_asks_for_the_address_anew() {
    let storage = Server::start(|seen| async move { blob_reply(&seen, &content(100)) }).await;
    let base = storage.url.clone();
    let registry = sending(move |seen| {
        let range = seen.header("range").unwrap_or_default();
        base.join(&format!("/signed?for={range}")).unwrap().to_string()
    })
    .await;
    let upstream = known(&registry);
    for start in [0, 50] {
        drain(open(&upstream, start).await.unwrap()).await;
    }
    let asked: Vec<_> = storage.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked, ["/signed?for=", "/signed?for=bytes=50-"]);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let registry = sending(|seen| seen.path.clone()).await;
    let upstream = known(&registry);
    let error = open(&upstream, 0).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Unreachable(text) if text.contains("5 redirects")),
        "{error}"
    );
    assert_eq!(registry.seen().len(), 1 + 6);
    let error = upstream.manifest(&repository(), &latest(), "").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    assert_eq!(upstream.resting(), None);
}

#[tokio::test]
async fn storage_that_asks_who_we_are_is_not_told() {
    let storage = Server::start_at("127.0.0.2:0".parse().unwrap(), None, |seen| async move {
        let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap());
        reply(
            401,
            &[("www-authenticate", &realm), ("www-authenticate", "Basic realm=\"x\"")],
            "",
        )
    })
    .await;
    let target = storage.url.to_string();
    let registry = sending(move |_| target.clone()).await;
    let upstream = known(&registry);
    assert_eq!(open(&upstream, 0).await.err(), Some(OpenError::Refused(401)));
    assert_eq!(storage.seen().len(), 1);
    assert_eq!(storage.seen()[0].authorization(), None);
}

#[tokio::test]
async fn storage_that_is_down_does_not_send_the_registry_to_rest() {
    let storage = Server::start(|_| async { reply(200, &[], "") }).await;
    let target = storage.url.to_string();
    let address = storage.address;
    drop(storage);
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    let registry = sending(move |_| target.clone()).await;
    let upstream = known(&registry);
    assert!(matches!(
        open(&upstream, 0).await.err(),
        Some(OpenError::Unreachable(_))
    ));
    assert_eq!(upstream.resting(), None);
}

#[tokio::test]
async fn what_is_logged_of_a_signed_address_does_not_hold_the_signature() {
    let storage = Server::start(|_| async { reply(200, &[], "") }).await;
    let target = storage.url.join("/x?signature=hidden").unwrap().to_string();
    let address = storage.address;
    drop(storage);
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    let registry = sending(move |_| target.clone()).await;
    let error = open(&known(&registry), 0).await.err().unwrap().to_string();
    assert!(!error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn whoever_sends_us_back_does_not_get_anything_in_our_name() {
    let own = Arc::new(std::sync::OnceLock::<Url>::new());
    let back = own.clone();
    let storage = Server::start(move |_| {
        let target = back.get().unwrap().join("/v2/secret/blobs/x").unwrap();
        async move { reply(307, &[("location", target.as_str())], "") }
    })
    .await;
    let target = storage.url.join("/signed").unwrap();
    let registry = Server::start(move |seen| {
        let target = target.clone();
        async move {
            match seen.authorization().as_deref() {
                Some(BASIC) if seen.path.starts_with("/v2/secret/") => blob_reply(&seen, &content(10)),
                Some(BASIC) => reply(307, &[("location", target.as_str())], ""),
                _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
            }
        }
    })
    .await;
    own.set(registry.url.clone()).unwrap();
    assert!(open(&known(&registry), 0).await.is_err());
    let secret = registry.asked("/v2/secret/");
    assert_eq!(secret.len(), 1);
    assert_eq!(secret[0].authorization(), None);
}
