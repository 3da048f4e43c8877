//! Blobs: whole, in part, and what HEAD says of them.

use http::Method;

use super::rig::Rig;
use super::upstream::Mood;

const BYTES: &[u8] = b"0123456789";

/// The path of a blob of ten bytes.
fn blob(rig: &Rig) -> String {
    format!("/v2/a/blobs/{}", rig.upstream.blob("a", BYTES))
}

#[tokio::test]
async fn a_blob_says_what_it_is() {
    let rig = Rig::new().await;
    let path = blob(&rig);
    let digest = path.rsplit_once('/').unwrap().1;
    for _ in 0..2 {
        let answer = rig.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, BYTES));
        assert_eq!(answer.header("content-length"), "10");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.digest(), digest);
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert!(!answer.headers.contains_key("content-encoding"));
        let head = rig.head(&path).await;
        assert_eq!(
            (head.status, head.headers, head.body.len()),
            (answer.status, answer.headers, 0)
        );
    }
    assert_eq!(rig.upstream.count(&Method::GET, "/blobs/"), 1);
    assert_eq!(rig.counted("blob", "miss"), 1);
}

#[tokio::test]
async fn head_of_what_is_not_here_asks_upstream_and_fetches_nothing() {
    let rig = Rig::new().await;
    let path = blob(&rig);
    for _ in 0..2 {
        let head = rig.head(&path).await;
        assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "10"));
    }
    assert_eq!(rig.upstream.count(&Method::GET, ""), 0);
    rig.upstream.feels(Mood::Refuses(503));
    assert_eq!(rig.head(&path).await.status, 503);
}

#[rstest::rstest]
#[case("bytes=0-", 206, "bytes 0-9/10", "0123456789")]
#[case("bytes=3-5", 206, "bytes 3-5/10", "345")]
#[case("bytes=8-99", 206, "bytes 8-9/10", "89")]
#[case("bytes=-3", 206, "bytes 7-9/10", "789")]
#[case("bytes=-30", 206, "bytes 0-9/10", "0123456789")]
#[case("bytes=0-1,3-4", 200, "", "0123456789")]
#[case("bytes=5-3", 200, "", "0123456789")]
#[case("lines=1-2", 200, "", "0123456789")]
#[tokio::test]
async fn a_part_of_a_blob(#[case] range: &str, #[case] status: u16, #[case] said: &str, #[case] bytes: &str) {
    let rig = Rig::new().await;
    let path = blob(&rig);
    // Not stored, then stored.
    for _ in 0..2 {
        let answer = rig.ask(Method::GET, &path, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (status, said));
        assert_eq!(answer.body.as_ref(), bytes.as_bytes());
        assert_eq!(answer.header("content-length"), bytes.len().to_string());
        rig.get(&path).await;
    }
}

#[tokio::test]
async fn a_part_behind_the_end_is_refused_with_the_size() {
    let rig = Rig::new().await;
    let path = blob(&rig);
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
        rig.get(&path).await;
        let answer = rig.ask(Method::GET, &path, &[("range", range)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-range")),
            (416, "bytes */10"),
            "{range}"
        );
    }
}

#[tokio::test]
async fn a_part_of_other_bytes_than_these_is_not_given() {
    let rig = Rig::new().await;
    let path = blob(&rig);
    let digest = path.rsplit_once('/').unwrap().1;
    let (same, range) = (format!("\"{digest}\""), ("range", "bytes=1-2"));
    assert_eq!(
        rig.ask(Method::GET, &path, &[range, ("if-range", &same)]).await.status,
        206
    );
    assert_eq!(
        rig.ask(Method::GET, &path, &[range, ("if-range", "\"other\"")])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_blob_that_nobody_has_is_unknown() {
    let rig = Rig::new().await;
    let path = format!("/v2/a/blobs/{}", regcache_transfer::Digest::sha256(b"nowhere"));
    for _ in 0..2 {
        let answer = rig.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "BLOB_UNKNOWN"));
    }
    assert_eq!(rig.upstream.seen().len(), 1, "remembered for seconds");
}

#[tokio::test]
async fn upstream_that_fails_is_unavailable() {
    let rig = Rig::new().await;
    let path = blob(&rig);
    rig.upstream.feels(Mood::Refuses(500));
    let answer = rig.get(&path).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "UNAVAILABLE"));
    assert!(answer.headers.contains_key("retry-after"));
}
