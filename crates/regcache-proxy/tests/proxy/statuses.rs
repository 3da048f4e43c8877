//! What upstream's refusals become: never a 401, a 429 or a challenge, and credentials stay where they belong.

use std::time::Duration;

use rstest::rstest;
use tempfile::TempDir;

use crate::content::{Image, KIB, MANIFEST, MIB, digest};
use crate::program::{Start, manifest};
use crate::registry::{Fault, Registry};

#[rstest]
// A refusal is of this image, and no reason to leave the cache: containerd asks upstream itself, as with an unknown one.
#[case(401, 404)]
#[case(403, 404)]
#[case(404, 404)]
#[case(429, 503)]
#[case(500, 503)]
#[case(503, 503)]
fn a_refused_tag_becomes(#[case] upstream: u16, #[case] expected: u16) {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    registry.push("a", "v1", &Image::of(&[KIB]));
    let challenge = ("WWW-Authenticate".to_owned(), "Basic realm=\"x\"".to_owned());
    registry.fault(None, "/manifests/", 99, Fault::Status(upstream, vec![challenge]));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    let answer = program.get(&manifest("a", "v1"));
    assert_eq!(answer.status, expected);
    assert_eq!(answer.header("www-authenticate"), None);
}

#[rstest]
#[case(401, 503)]
#[case(403, 503)]
#[case(404, 404)]
#[case(429, 503)]
#[case(500, 503)]
fn a_refused_blob_becomes(#[case] upstream: u16, #[case] expected: u16) {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[2 * MIB]));
    registry.push("a", "v1", &image);
    registry.fault(None, "/blobs/", 99, Fault::Status(upstream, vec![]));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    let answer = program.blob("a", &image.layer(0));
    assert_eq!(answer.status, expected);
    assert_eq!(answer.header("www-authenticate"), None);
}

#[test]
fn a_loop_of_redirects_ends() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[2 * MIB]));
    registry.push("a", "v1", &image);
    let to = format!("{}/v2/a/blobs/{}", registry.url(), image.layer(0));
    registry.fault(
        None,
        "/blobs/",
        10_000,
        Fault::Status(307, vec![("Location".to_owned(), to)]),
    );
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let answer = program.blob("a", &image.layer(0));
    assert_eq!(answer.status, 503);
    assert!(
        registry.seen("GET", "/blobs/").len() < 60,
        "{}",
        registry.seen("GET", "/blobs/").len()
    );
}

#[test]
fn a_cdn_never_sees_the_token() {
    let (store, image) = (TempDir::new().unwrap(), Image::of(&[2 * MIB]));
    let (registry, cdn, tokens) = (Registry::start(), Registry::start_on("127.0.0.2:0"), Registry::start());
    registry.push("a", "v1", &image);
    cdn.put("/blob", "application/octet-stream", &image.blobs[1]);
    tokens.put("/token", "application/json", br#"{"token":"T1","expires_in":300}"#);
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"s\",scope=\"repository:a:pull\"",
        tokens.url()
    );
    registry.guard("Bearer T1", &challenge);
    let to = vec![("Location".to_owned(), format!("{}/blob", cdn.url()))];
    // The first answer to an unknown request is the challenge; the redirect comes after.
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(
        program.get(&manifest("a", "v1")).is_whole(),
        "the realm is on the registry's own host"
    );
    registry.fault(Some("GET"), "/blobs/", 99, Fault::Status(307, to));
    let answer = program.blob("a", &image.layer(0));
    assert!(answer.is_whole() && answer.body == image.blobs[1]);
    let seen = cdn.seen("GET", "/blob");
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| !seen.headers.contains_key("authorization")),
        "{seen:?}"
    );
}

#[test]
fn a_token_that_expires_in_the_middle_is_replaced() {
    let (store, registry, image) = (
        TempDir::new().unwrap(),
        Registry::start(),
        Image::of(&[2 * MIB, 4 * MIB]),
    );
    registry.push("a", "v1", &image);
    let tokens = Registry::start();
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"s\",scope=\"repository:a:pull\"",
        tokens.url()
    );
    tokens.put("/token", "application/json", br#"{"token":"T1","expires_in":300}"#);
    registry.guard("Bearer T1", &challenge);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    assert!(program.blob("a", &image.layer(0)).is_whole());
    tokens.put("/token", "application/json", br#"{"token":"T2","expires_in":300}"#);
    registry.guard("Bearer T2", &challenge);
    let answer = program.blob("a", &image.layer(1));
    assert!(answer.is_whole() && answer.body == image.blobs[2]);
    assert_eq!(tokens.seen("GET", "/token").len(), 2);
}

#[test]
fn tokens_are_shared_between_clients() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB, KIB, KIB]));
    registry.push("a", "v1", &image);
    let tokens = Registry::start();
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"s\",scope=\"repository:a:pull\"",
        tokens.url()
    );
    tokens.put("/token", "application/json", br#"{"token":"T1","expires_in":300}"#);
    registry.guard("Bearer T1", &challenge);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    let answers = crate::client::herd(20, program.address, &manifest("a", "v1"));
    assert!(answers.iter().all(crate::client::Answer::is_whole));
    for index in 0..3 {
        assert!(program.blob("a", &image.layer(index)).is_whole());
    }
    assert_eq!(tokens.seen("GET", "/token").len(), 1);
}

#[test]
fn a_head_without_a_digest_is_asked_by_get() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "v1", &image);
    registry.fault(None, "/manifests/", 99, Fault::NoDigest);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    let answer = program.get(&manifest("a", "v1"));
    assert!(answer.is_whole() && answer.body == image.manifest);
    assert_eq!(
        answer.header("docker-content-digest"),
        Some(digest(&image.manifest).as_str())
    );
}

#[test]
fn upstream_that_changes_between_head_and_get_never_mixes_two_images() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let (old, new) = (Image::of(&[KIB]), Image::of(&[KIB]));
    registry.push("a", "v1", &old);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    registry.fault(Some("GET"), "/manifests/", 1, Fault::Late(Duration::from_millis(700)));
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| program.get(&manifest("a", "v1")));
        crate::program::wait_for("the HEAD", || !registry.seen("HEAD", "/manifests/v1").is_empty());
        registry.put_manifest("a", "v1", MANIFEST, &new.manifest);
        let answer = pull.join().unwrap();
        assert!(answer.is_whole());
        assert_eq!(
            answer.header("docker-content-digest"),
            Some(digest(&answer.body).as_str())
        );
        assert!(answer.body == old.manifest || answer.body == new.manifest);
    });
}
