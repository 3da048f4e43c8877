//! What is stored is not for everybody.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::rig::Rig;
use super::upstream::{IMAGE, INDEX, Mood};

/// An image with one layer, pulled into the store by way of `mine`.
async fn stored(rig: &Rig) -> (String, String) {
    let manifest = rig.upstream.image("mine", "1", &[b"a secret layer"]);
    let layer = regcache_transfer::Digest::sha256(b"a secret layer");
    assert_eq!(rig.get("/v2/mine/manifests/1").await.status, 200);
    assert_eq!(rig.get(&format!("/v2/mine/blobs/{layer}")).await.status, 200);
    (manifest.to_string(), layer.to_string())
}

#[tokio::test]
async fn a_repository_that_does_not_hold_it_does_not_give_it() {
    let rig = Rig::new().await;
    let (manifest, layer) = stored(&rig).await;
    for path in [
        format!("/v2/yours/blobs/{layer}"),
        format!("/v2/yours/manifests/{manifest}"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(rig.ask(method, &path, &[]).await.status, 404);
        }
        assert_eq!(
            rig.upstream.count(&Method::HEAD, &path),
            1,
            "asked once, remembered for seconds"
        );
    }
}

#[tokio::test]
async fn a_repository_that_holds_it_too_gives_it_without_another_fetch() {
    let rig = Rig::new().await;
    let (_, layer) = stored(&rig).await;
    rig.upstream.blob("yours", b"a secret layer");
    let path = format!("/v2/yours/blobs/{layer}");
    for _ in 0..3 {
        assert_eq!(rig.get(&path).await.body.as_ref(), b"a secret layer");
    }
    assert_eq!(rig.upstream.count(&Method::HEAD, &path), 1);
    assert_eq!(rig.upstream.count(&Method::GET, "/blobs/"), 1);
}

#[tokio::test]
async fn nothing_is_given_on_a_guess_when_upstream_cannot_be_asked() {
    let rig = Rig::new().await;
    let (manifest, layer) = stored(&rig).await;
    rig.upstream.feels(Mood::Refuses(503));
    assert_eq!(rig.get(&format!("/v2/yours/blobs/{layer}")).await.status, 503);
    assert_eq!(rig.get(&format!("/v2/yours/manifests/{manifest}")).await.status, 503);
    assert_eq!(rig.get(&format!("/v2/mine/blobs/{layer}")).await.status, 200);
    assert_eq!(rig.get(&format!("/v2/mine/manifests/{manifest}")).await.status, 200);
}

#[tokio::test]
async fn an_image_lets_in_to_its_layers_and_an_index_to_nothing() {
    let rig = Rig::new().await;
    let (manifest, layer) = stored(&rig).await;
    // Registries take an index whose manifests they do not have.
    let index = json!({"mediaType": INDEX, "manifests": [{"digest": manifest}]}).to_string();
    rig.upstream.tag("yours", "1", INDEX, index.as_bytes());
    assert_eq!(rig.get("/v2/yours/manifests/1").await.status, 200);
    let (child, blob) = (
        format!("/v2/yours/manifests/{manifest}"),
        format!("/v2/yours/blobs/{layer}"),
    );
    assert_eq!(rig.get(&child).await.status, 404);
    assert_eq!(rig.get(&blob).await.status, 404);

    let rig = Rig::new().await;
    let (manifest, layer) = stored(&rig).await;
    rig.upstream.image("yours", "2", &[b"a secret layer"]);
    assert_eq!(rig.get(&format!("/v2/yours/manifests/{manifest}")).await.status, 200);
    rig.upstream.feels(Mood::Refuses(503));
    assert_eq!(rig.get(&format!("/v2/yours/blobs/{layer}")).await.status, 200);
}

#[tokio::test]
async fn what_a_registry_read_as_something_else_lets_nobody_in() {
    let rig = Rig::new().await;
    let (_, layer) = stored(&rig).await;
    let secret = json!([{"digest": layer}]);
    for (tag, claim) in [
        ("1", json!({"mediaType": INDEX, "manifests": [], "layers": secret})),
        ("2", json!({"mediaType": IMAGE, "layers": secret, "Layers": []})),
    ] {
        rig.upstream.tag("yours", tag, INDEX, claim.to_string().as_bytes());
        assert_eq!(rig.get(&format!("/v2/yours/manifests/{tag}")).await.status, 200);
        assert_eq!(
            rig.get(&format!("/v2/yours/blobs/{layer}")).await.status,
            404,
            "{claim}"
        );
    }
}

#[tokio::test]
async fn what_a_registry_takes_unseen_lets_nobody_in() {
    let rig = Rig::new().await;
    let (manifest, layer) = stored(&rig).await;
    let claim = json!({
        "mediaType": IMAGE,
        "layers": [{"digest": layer, "urls": ["https://elsewhere.test/layer"]}],
        "subject": {"digest": manifest},
    });
    rig.upstream.tag("yours", "1", IMAGE, claim.to_string().as_bytes());
    assert_eq!(rig.get("/v2/yours/manifests/1").await.status, 200);
    assert_eq!(rig.get(&format!("/v2/yours/blobs/{layer}")).await.status, 404);
    assert_eq!(rig.get(&format!("/v2/yours/manifests/{manifest}")).await.status, 404);
}

#[tokio::test]
async fn a_manifest_is_given_by_digest_whatever_the_client_prefers_if_it_takes_it_at_all() {
    let rig = Rig::new().await;
    let (manifest, _) = stored(&rig).await;
    let path = format!("/v2/mine/manifests/{manifest}");
    let before = rig.upstream.seen().len();
    for accept in [
        &[][..],
        &[("accept", "*/*")],
        &[("accept", IMAGE)],
        &[("accept", "x/y"), ("accept", "application/*")],
    ] {
        assert_eq!(rig.ask(Method::GET, &path, accept).await.status, 200);
    }
    assert_eq!(rig.upstream.seen().len(), before);
    assert_eq!(rig.ask(Method::GET, &path, &[("accept", INDEX)]).await.status, 200);
    assert_eq!(
        rig.upstream.seen().last().unwrap().accept,
        INDEX,
        "upstream decides about that"
    );
}

#[tokio::test]
async fn what_upstream_answers_about_something_else_lets_nobody_in() {
    let rig = Rig::new().await;
    let (manifest, layer) = stored(&rig).await;
    // A page that somebody in between has for every address.
    let page = b"<html>Sign in";
    rig.upstream.has(&format!("yours/blobs/{layer}"), "text/html", page);
    rig.upstream
        .has(&format!("yours/manifests/{manifest}"), "text/html", page);
    rig.upstream.feels(Mood::Coy);
    for method in [Method::HEAD, Method::GET] {
        for path in [
            format!("/v2/yours/blobs/{layer}"),
            format!("/v2/yours/manifests/{manifest}"),
        ] {
            assert_eq!(rig.ask(method.clone(), &path, &[]).await.status, 503, "{path}");
        }
    }
}

#[tokio::test]
async fn a_repository_that_does_not_have_it_any_more_does_not_speak_for_another() {
    let rig = Rig::new().await;
    let layer = rig.upstream.blob("yours", b"a layer");
    for repository in ["mine", "yours"] {
        let repository = repository.parse().unwrap();
        rig.store.note_holds("up.test", &repository, &[layer]).await;
    }
    rig.upstream.feels(Mood::Slow(Duration::from_millis(300)));
    let (path, registry) = (format!("/v2/mine/blobs/{layer}"), rig.registry.clone());
    let request = http::Request::builder().uri(&path).body(()).unwrap();
    let first = tokio::spawn(async move { registry.answer(request).await.status() });
    while rig.upstream.count(&Method::GET, &path) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = rig.get(&format!("/v2/yours/blobs/{layer}")).await;
    assert_eq!((second.status.as_u16(), &second.body[..]), (200, &b"a layer"[..]));
    assert_eq!(first.await.unwrap(), 404);
}
