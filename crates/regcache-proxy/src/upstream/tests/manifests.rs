//! Manifests and lists.

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn answering(make: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Server, Arc<Upstream>) {
    let server = Server::start(move |seen| {
        let reply = make(&seen);
        async move { reply }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    (server, upstream)
}

#[tokio::test]
async fn a_tag_is_its_digest_type_and_size() {
    let digest = Digest::sha256(b"{}");
    let said = digest.to_string();
    let (server, upstream) = answering(move |_| {
        let typed = format!("{INDEX}; charset=utf-8");
        reply(200, &[("docker-content-digest", &said), ("content-type", &typed)], "{}")
    })
    .await;
    let head = upstream
        .head_manifest(&repository(), &latest(), "application/a, application/b")
        .await
        .unwrap();
    let expected = Head {
        digest: Some(digest),
        media_type: Some(INDEX.into()),
        size: Some(2),
    };
    assert_eq!(head, expected);
    let seen = &server.seen()[0];
    assert_eq!(
        (&seen.method, seen.path.as_str()),
        (&Method::HEAD, "/v2/library/a/manifests/latest")
    );
    assert_eq!(seen.header("accept").as_deref(), Some("application/a, application/b"));
    let manifest = upstream.manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!((manifest.digest, &manifest.bytes[..]), (digest, &b"{}"[..]));
    assert_eq!(manifest.media_type.as_deref(), Some(INDEX));
}

#[tokio::test]
async fn an_upstream_that_says_no_digest_leaves_it_to_the_get() {
    for said in ["", "md5:abc", "sha256:short"] {
        let (_server, upstream) = answering(move |_| reply(200, &[("docker-content-digest", said)], "{}")).await;
        let head = upstream.head_manifest(&repository(), &latest(), "").await.unwrap();
        assert_eq!(head.digest, None);
        let manifest = upstream.manifest(&repository(), &latest(), "").await.unwrap();
        assert_eq!(manifest.digest, Digest::sha256(b"{}"));
    }
}

#[tokio::test]
async fn an_upstream_without_head_leaves_everything_to_the_get() {
    let (_server, upstream) = answering(|seen| match seen.method {
        Method::HEAD => reply(405, &[], ""),
        _ => reply(200, &[], "{}"),
    })
    .await;
    let head = upstream.head_manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!((head.digest, head.size), (None, None));
}

#[tokio::test]
async fn bytes_with_another_digest_than_said_or_asked_for_are_refused() {
    let other = Digest::sha256(b"other").to_string();
    let said = other.clone();
    let (_server, liar) = answering(move |_| reply(200, &[("docker-content-digest", &said)], "{}")).await;
    let error = liar.manifest(&repository(), &latest(), "").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    let right: Reference = Digest::sha256(b"{}").to_string().parse().unwrap();
    let error = liar.head_manifest(&repository(), &right, "").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    let (_server, silent) = answering(|_| reply(200, &[], "{}")).await;
    let wrong: Reference = other.parse().unwrap();
    let error = silent.manifest(&repository(), &wrong, "").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    assert!(silent.manifest(&repository(), &right, "").await.is_ok());
    assert_eq!(silent.resting(), None);
}

#[tokio::test]
async fn a_manifest_is_known_by_the_algorithm_it_was_asked_by() {
    let long = "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd";
    let (_server, upstream) = answering(|_| {
        let short = Digest::sha256(b"{}").to_string();
        reply(200, &[("docker-content-digest", &short)], "{}")
    })
    .await;
    let manifest = upstream
        .manifest(&repository(), &long.parse().unwrap(), "")
        .await
        .unwrap();
    assert_eq!(manifest.digest.to_string(), long);
}

#[tokio::test]
async fn a_manifest_of_more_than_four_mebibytes_is_too_large_whether_it_says_so_or_not() {
    static MANY: [u8; 1024 * 1024] = [b' '; 1024 * 1024];
    let (_server, honest) = answering(|_| reply(200, &[], vec![b' '; 4 * 1024 * 1024 + 1])).await;
    assert_eq!(
        honest.manifest(&repository(), &latest(), "").await,
        Err(Error::TooLarge)
    );
    let (_server, endless) = answering(|_| chunks(200, &[], vec![Some(&MANY[..]); 6])).await;
    assert_eq!(
        endless.manifest(&repository(), &latest(), "").await,
        Err(Error::TooLarge)
    );
    let (_server, exact) = answering(|_| chunks(200, &[], vec![Some(&MANY[..]); 4])).await;
    let by_digest = Reference::Digest(Digest::sha256(&vec![b' '; 4 * 1024 * 1024]));
    assert!(exact.manifest(&repository(), &by_digest, "").await.is_ok());
}

#[tokio::test]
async fn a_manifest_that_breaks_off_is_no_manifest() {
    let broken = || chunks(200, &[("content-length", "100")], vec![Some(b"{"), None]);
    let (_server, upstream) = answering(move |_| broken()).await;
    let error = upstream.manifest(&repository(), &latest(), "").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_list_is_relayed_with_what_belongs_to_it() {
    let (server, upstream) = answering(|_| {
        let headers = [
            ("link", "</v2/library/a/tags/list?last=b&n=2>; rel=\"next\""),
            ("content-type", "application/json; charset=utf-8"),
            ("oci-filters-applied", "artifactType"),
        ];
        reply(200, &headers, "[]")
    })
    .await;
    let tags = upstream
        .list(&repository(), List::Tags, Some("n=2&last=a b"), "application/json")
        .await
        .unwrap();
    let expected = Listing {
        content_type: Some("application/json; charset=utf-8".into()),
        link: Some("</v2/library/a/tags/list?last=b&n=2>; rel=\"next\"".into()),
        filters_applied: Some("artifactType".into()),
        bytes: "[]".into(),
    };
    assert_eq!(tags, expected);
    let what = List::Referrers(digest());
    upstream.list(&repository(), what, None, "").await.unwrap();
    let paths: Vec<_> = server.seen().into_iter().map(|seen| seen.path).collect();
    let referrers = format!("/v2/library/a/referrers/{}", digest());
    assert_eq!(paths, ["/v2/library/a/tags/list?n=2&last=a%20b", &referrers]);
}

#[tokio::test]
async fn an_accept_header_that_cannot_be_sent_is_an_error_and_says_nothing_about_upstream() {
    let (server, upstream) = answering(|_| reply(200, &[], "{}")).await;
    let error = upstream
        .head_manifest(&repository(), &latest(), "a\r\nb: c")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    assert!(server.seen().is_empty());
    assert_eq!(upstream.resting(), None);
}

#[tokio::test]
async fn compressed_bytes_are_neither_a_manifest_nor_a_list() {
    let (_server, upstream) = answering(|_| reply(200, &[("content-encoding", "gzip")], "{}")).await;
    let error = upstream.manifest(&repository(), &latest(), "").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    let error = upstream.list(&repository(), List::Tags, None, "*/*").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
}

#[tokio::test]
async fn a_page_is_no_manifest() {
    let (_server, upstream) = answering(|_| reply(200, &[("content-type", "text/html")], "<html>Sign in")).await;
    let error = upstream.manifest(&repository(), &latest(), "").await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
}

#[tokio::test]
async fn storage_that_takes_only_get_leaves_it_to_that() {
    let (storage, _) = answering(|seen| match seen.method {
        Method::HEAD => reply(403, &[], ""),
        _ => reply(200, &[], "{}"),
    })
    .await;
    let target = storage.url.join("/signed").unwrap();
    let (_server, registry) = answering(move |_| reply(307, &[("location", target.as_str())], "")).await;
    let head = registry.head_manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!(head.digest, None);
    assert!(registry.manifest(&repository(), &latest(), "").await.is_ok());
    // Of the registry itself it is an answer.
    let (_server, denies) = answering(|_| reply(403, &[], "")).await;
    assert_eq!(
        denies.head_manifest(&repository(), &latest(), "").await,
        Err(Error::Denied(403))
    );
}
