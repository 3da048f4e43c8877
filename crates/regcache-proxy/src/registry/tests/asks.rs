//! Whose, and is it served at all.

use std::time::Duration;

use http::Method;
use rstest::rstest;

use super::rig::{Rig, entry};
use super::upstream::FakeUpstream;
use crate::registry::{RepositoryLists, Upstreams};

#[tokio::test]
async fn this_is_a_registry() {
    let rig = Rig::new().await;
    for path in ["/v2/", "/v2", "/v2/?ns=up.test"] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, &b"{}"[..]));
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
    assert!(rig.head("/v2/").await.body.is_empty());
}

#[rstest]
#[case("/v2/a/manifests/1?ns=other.test", 404, "NAME_UNKNOWN")]
#[case("/v2/other.test/a/manifests/1", 404, "MANIFEST_UNKNOWN")]
#[case("/v2/A/manifests/1", 400, "NAME_INVALID")]
#[case("/v2/a/../b/manifests/1", 400, "NAME_INVALID")]
#[case("/v2/a/manifests/sha256:1", 400, "DIGEST_INVALID")]
#[case("/v2/a/blobs/sha256:1", 400, "DIGEST_INVALID")]
#[case("/v2/a/manifests/-1", 404, "MANIFEST_UNKNOWN")]
#[case("/v2/_catalog", 404, "UNSUPPORTED")]
#[case("/elsewhere", 404, "UNSUPPORTED")]
#[tokio::test]
async fn what_is_not_served_is_refused_with_its_code(#[case] path: &str, #[case] status: u16, #[case] code: &str) {
    let rig = Rig::new().await;
    let answer = rig.get(path).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-type"), "application/json");
    let head = rig.head(path).await;
    assert_eq!((head.status, head.body.len()), (answer.status, 0));
}

#[tokio::test]
async fn a_cache_is_read_only() {
    let rig = Rig::new().await;
    for method in [
        Method::PUT,
        Method::POST,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        let answer = rig.ask(method, "/v2/a/manifests/1", &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "UNSUPPORTED"));
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    assert!(rig.upstream.seen().is_empty());
}

#[tokio::test]
async fn upstreams_are_named_by_query_or_path_and_a_single_one_need_not_be() {
    let rig = Rig::new().await;
    let (one, other) = (rig.upstream.image("a", "1", &[b"1"]), FakeUpstream::start().await);
    let two = other.image("a", "1", &[b"2"]);
    assert_eq!(rig.get("/v2/a/manifests/1").await.digest(), one.to_string());
    let none = RepositoryLists::default;
    let both = [
        entry("up.test", &rig.upstream, Duration::ZERO, none()),
        entry("localhost:5000", &other, Duration::ZERO, none()),
    ];
    rig.upstreams.store(Upstreams::from_iter(both).into());
    for (path, digest) in [
        ("/v2/a/manifests/1?ns=up.test", one),
        ("/v2/a/manifests/1?ns=UP.test", one),
        ("/v2/up.test/a/manifests/1", one),
        ("/v2/a/manifests/1?ns=localhost:5000", two),
        ("/v2/a/manifests/1?ns=localhost%3A5000", two),
        ("/v2/localhost:5000/a/manifests/1", two),
    ] {
        assert_eq!(rig.get(path).await.digest(), digest.to_string(), "{path}");
    }
    assert_eq!(rig.get("/v2/a/manifests/1").await.code(), "NAME_UNKNOWN");
    assert_eq!(
        rig.get("/v2/up.test/a/manifests/1?ns=localhost:5000").await.code(),
        "MANIFEST_UNKNOWN"
    );
    let asked = other.seen().iter().any(|seen| seen.path.contains("up.test/a"));
    assert!(asked, "a prefix counts only when the query names nobody");
}

#[tokio::test]
async fn what_the_lists_leave_out_is_never_asked_about() {
    let globs = |list: &[&str]| list.iter().map(|glob| glob.parse().unwrap()).collect();
    let lists = RepositoryLists {
        allow: globs(&["library/*"]),
        deny: globs(&["library/secret"]),
    };
    let rig = Rig::with(Duration::ZERO, lists).await;
    rig.upstream.image("library/a", "1", &[]);
    assert_eq!(rig.get("/v2/library/a/manifests/1").await.status, 200);
    let before = rig.upstream.seen().len();
    for path in [
        "/v2/library/secret/manifests/1",
        "/v2/other/manifests/1",
        "/v2/other/tags/list",
    ] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "NAME_UNKNOWN"));
    }
    assert_eq!(rig.upstream.seen().len(), before);
    assert_eq!(rig.counted("manifest", "denied"), 2);
}
