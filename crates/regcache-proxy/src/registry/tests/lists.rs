//! Lists of tags and referrers.

use futures::future::join_all;
use http::Method;
use regcache_transfer::Digest;

use super::rig::Rig;
use super::upstream::Mood;

const TAGS: &[u8] = br#"{"name": "a", "tags": ["1"]}"#;

#[tokio::test]
async fn a_list_is_relayed_once_for_all_with_the_next_page_at_our_address() {
    let rig = Rig::new().await;
    rig.upstream.has("a/tags/list", "application/json", TAGS);
    rig.upstream.link("</v2/a/tags/list?n=1&last=1>; rel=\"next\"");
    let path = "/v2/a/tags/list?n=1&ns=up.test";
    for answer in join_all((0..9).map(|_| rig.get(path))).await {
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, TAGS));
        let next = "</v2/a/tags/list?n=1&last=1&ns=up.test>; rel=\"next\"";
        assert_eq!(answer.header("link"), next);
        assert_eq!(answer.header("content-type"), "application/json");
    }
    assert_eq!((rig.counted("list", "miss"), rig.counted("list", "join")), (1, 8));
    let answer = rig.get("/v2/up.test/a/tags/list?n=1").await;
    assert_eq!(rig.counted("list", "hit"), 1);
    assert_eq!(
        answer.header("link"),
        "</v2/up.test/a/tags/list?n=1&last=1>; rel=\"next\""
    );
    let seen = rig.upstream.seen();
    assert_eq!((seen.len(), seen[0].query.as_str()), (1, "n=1"));
    rig.get("/v2/a/tags/list?n=2&ns=up.test").await;
    assert_eq!(rig.upstream.seen().len(), 2, "another page is another list");
}

#[tokio::test]
async fn referrers_are_relayed_or_unknown() {
    let rig = Rig::new().await;
    let (digest, other) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    rig.upstream.has(
        &format!("a/referrers/{digest}"),
        "application/vnd.oci.image.index.v1+json",
        b"{}",
    );
    let path = format!("/v2/a/referrers/{digest}?artifactType=x%2Fy");
    assert_eq!(rig.get(&path).await.body.as_ref(), b"{}");
    assert_eq!(rig.upstream.seen()[0].query, "artifactType=x%2Fy");
    assert_eq!(
        rig.get(&format!("/v2/a/referrers/{other}")).await.code(),
        "NAME_UNKNOWN"
    );
}

#[tokio::test]
async fn a_list_that_upstream_cannot_give_is_unavailable() {
    let rig = Rig::new().await;
    rig.upstream.feels(Mood::Refuses(429));
    let answer = rig.get("/v2/a/tags/list").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(rig.upstream.count(&Method::GET, "tags"), 1);
}
