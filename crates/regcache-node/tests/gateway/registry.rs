//! The gateway as a registry: what is served, what is passed on, what is refused.

use std::sync::atomic::Ordering;

use crate::bench::{Bench, UPSTREAM};
use crate::cache::Act;
use crate::client::Ending;

const SECRETS: [(&str, &str); 5] = [
    ("Accept", "application/vnd.oci.image.index.v1+json"),
    ("Accept", "*/*"),
    ("Authorization", "Bearer s3cret"),
    ("Cookie", "a=b"),
    ("Accept-Encoding", "gzip"),
];

#[tokio::test]
async fn manifest_and_blob_come_with_the_headers_that_describe_them() {
    let bench = Bench::start(100_000, &[Act::Serve]).await;
    let digest = bench.digest.to_string();
    let etag = format!("\"{digest}\"");
    let mut connection = bench.client.connect().await.unwrap();
    for path in [bench.manifest_path(), bench.blob_path()] {
        for method in ["HEAD", "GET"] {
            connection.send(method, &path, &[]).await;
            let answer = connection.answer(method).await;
            assert_eq!(answer.status, 200, "{method} {path}");
            assert_eq!(answer.header("content-length"), Some("100000"));
            assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(answer.header("etag"), Some(etag.as_str()));
            assert!(answer.header("content-type").is_some());
            assert_eq!(answer.header("set-cookie"), None);
            if method == "GET" {
                assert_eq!(answer.body, *bench.blob);
            }
        }
    }
    let metrics = bench.metrics();
    let counted = |line: &str| assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
    counted("regcache_gateway_requests_total{upstream=\"docker.io\",result=\"ok\"} 4");
    counted("regcache_gateway_cache_answers_total{upstream=\"docker.io\",result=\"ok\"} 4");
    counted("regcache_gateway_bytes_total{upstream=\"docker.io\"} 200000");
    assert!(!metrics.contains("library"), "no image names");
}

#[tokio::test]
async fn containerd_is_known_by_its_own_requests() {
    let bench = Bench::start(1000, &[Act::Serve]).await;
    for agent in ["curl/8.5.0", "containerd/v2.4.2"] {
        assert!(!bench.metrics().contains("version="));
        bench
            .client
            .request("GET", &bench.manifest_path(), &[("User-Agent", agent)])
            .await;
    }
    let metrics = bench.metrics();
    assert!(
        metrics.contains("regcache_gateway_containerd{version=\"2.4.2\"} 1"),
        "{metrics}"
    );
    let own = concat!("regcache-node/", env!("CARGO_PKG_VERSION"));
    let named = |head: &String| head.contains(own) && !head.contains("containerd");
    assert!(
        bench.caches[0].lines().iter().all(named),
        "the cache hears it by the report only"
    );
}

#[tokio::test]
async fn caches_see_accept_and_nothing_of_the_clients_secrets() {
    let bench = Bench::start(1000, &[Act::Serve]).await;
    for path in [bench.manifest_path(), bench.blob_path()] {
        assert_eq!(bench.client.request("GET", &path, &SECRETS).await.status, 200);
    }
    for head in bench.caches[0].lines() {
        let lower = head.to_lowercase();
        assert!(lower.contains("accept: application/vnd.oci.image.index.v1+json") && lower.contains("accept: */*"));
        for secret in ["authorization", "cookie", "gzip", "s3cret"] {
            assert!(!lower.contains(secret), "{head}");
        }
        assert!(head.contains("?ns=docker.io"), "this cache is asked with ns");
    }
}

#[tokio::test]
async fn ns_is_kept_from_a_cache_with_one_upstream() {
    let bench = Bench::start(1000, &[Act::Status(500), Act::Serve]).await;
    let path = format!("/v2/library/app/manifests/tag?x=1&ns={UPSTREAM}");
    assert_eq!(bench.client.get(&path).await.status, 200);
    let first = |i: usize| bench.caches[i].lines()[0].lines().next().unwrap().to_owned();
    assert_eq!(first(0), "GET /v2/library/app/manifests/tag?x=1 HTTP/1.1");
    assert_eq!(first(1), "GET /v2/library/app/manifests/tag?x=1&ns=docker.io HTTP/1.1");
}

#[tokio::test]
async fn gateway_answers_for_itself_and_refuses_the_rest() {
    let bench = Bench::start(1000, &[Act::Serve]).await;
    for (method, path, status) in [
        ("GET", "/v2/", 200),
        ("HEAD", "/v2/", 200),
        ("GET", "/_regcache/live", 200),
        ("GET", "/", 404),
        ("GET", "/v2/_catalog?ns=docker.io", 404),
        ("GET", "/v2/library/app/manifests/tag", 404),
        ("GET", "/v2/library/app/manifests/tag?ns=ghcr.io", 404),
        ("GET", "/v2/library/app/manifests/other?ns=docker.io", 404),
        ("PUT", "/v2/library/app/manifests/tag?ns=docker.io", 405),
        ("POST", "/v2/library/app/blobs/uploads/?ns=docker.io", 405),
    ] {
        let answer = bench.client.request(method, path, &[]).await;
        assert_eq!(answer.status, status, "{method} {path}");
        if status > 400 {
            let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(document["errors"][0]["code"].is_string(), "{method} {path}");
        }
    }
    assert_eq!(
        bench.caches[0].lines().len(),
        1,
        "only the one request that a cache can answer"
    );
}

#[tokio::test]
async fn ranges_are_honoured_exactly() {
    let size = 2_000_000;
    for act in [Act::Serve, Act::Deaf] {
        let bench = Bench::start(size, &[act]).await;
        for (range, first, end) in [
            ("bytes=0-", 0, size),
            ("bytes=1999999-", size - 1, size),
            ("bytes=1000000-", 1_000_000, size),
            ("bytes=5-5", 5, 6),
            ("bytes=100-1500000", 100, 1_500_001),
            ("bytes=100-99999999", 100, size),
        ] {
            let answer = bench
                .client
                .request("GET", &bench.blob_path(), &[("Range", range)])
                .await;
            assert_eq!((answer.status, answer.ending), (206, Ending::Full), "{range}");
            assert!(answer.body == bench.blob[first..end], "{range}");
            let stated = format!("bytes {first}-{}/{size}", end - 1);
            assert_eq!(answer.header("content-range"), Some(stated.as_str()));
        }
        let behind = bench
            .client
            .request("GET", &bench.blob_path(), &[("Range", "bytes=2000000-")])
            .await;
        assert_eq!(
            (behind.status, behind.header("content-range")),
            (416, Some("bytes */2000000"))
        );
        let several = bench
            .client
            .request("GET", &bench.blob_path(), &[("Range", "bytes=1-2,5-6")])
            .await;
        assert_eq!((several.status, several.body.len()), (200, size));
    }
}

#[tokio::test]
async fn empty_blob_is_a_blob() {
    let bench = Bench::start(0, &[Act::Serve]).await;
    let answer = bench.client.get(&bench.blob_path()).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
}

#[tokio::test]
async fn connection_that_a_cache_closed_meanwhile_is_not_held_against_it() {
    let bench = Bench::start(1000, &[Act::ServeAndClose]).await;
    for _ in 0..20 {
        assert_eq!(bench.client.get(&bench.blob_path()).await.status, 200);
    }
    assert!(bench.outcomes().iter().all(|outcome| outcome.as_str() == "ok"));
}

#[tokio::test]
async fn connections_to_caches_are_kept() {
    let bench = Bench::start(1000, &[Act::Serve]).await;
    for _ in 0..5 {
        assert_eq!(bench.client.get(&bench.blob_path()).await.status, 200);
    }
    assert_eq!(bench.caches[0].connections.load(Ordering::Relaxed), 1);
}
