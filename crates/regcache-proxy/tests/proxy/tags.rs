//! Tags while upstream is well, slow, gone and back.

use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{self, Answer};
use crate::content::{INDEX, Image, KIB, digest};
use crate::program::{Start, manifest, wait_for};
use crate::registry::{Fault, Registry};

/// Within a second, which a busy machine may make three of.
const WELL_AGAIN: Duration = Duration::from_secs(3);

#[test]
fn simultaneous_askers_share_one_head() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    let before = registry.seen("HEAD", "/manifests/").len();
    registry.fault(Some("HEAD"), "/manifests/", 1, Fault::Late(Duration::from_secs(1)));
    let answers = client::herd(50, program.address, &manifest("a", "v1"));
    assert!(answers.iter().all(Answer::is_whole));
    let heads = registry.seen("HEAD", "/manifests/").len() - before;
    assert!(heads <= 3, "{heads} HEADs for 50 clients");
}

#[test]
fn a_moved_tag_is_seen_at_once() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let (old, new) = (Image::of(&[KIB]), Image::of(&[KIB]));
    registry.push("a", "v1", &old);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).body == old.manifest);
    registry.push("a", "v1", &new);
    assert!(program.get(&manifest("a", "v1")).body == new.manifest);
}

#[test]
fn a_tag_within_its_age_is_not_asked_again() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)])
        .arg("--tag-max-age", "1h")
        .go();
    for _ in 0..5 {
        assert!(program.get(&manifest("a", "v1")).is_whole());
    }
    assert!(registry.seen("HEAD", "/manifests/").len() + registry.seen("GET", "/manifests/").len() <= 2);
}

#[test]
fn a_cached_tag_survives_an_upstream_that_hangs_and_sees_it_well_again() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let (old, new) = (Image::of(&[KIB]), Image::of(&[KIB]));
    registry.push("a", "v1", &old);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    registry.fault(None, "/v2/", 100_000, Fault::Silent);
    let first = program.get(&manifest("a", "v1"));
    assert!(first.is_whole() && first.body == old.manifest);
    assert!(first.all < Duration::from_secs(5), "{:?}", first.all);
    let next = program.get(&manifest("a", "v1"));
    assert!(next.is_whole() && next.all < Duration::from_secs(1), "{:?}", next.all);
    registry.push("a", "v1", &new);
    registry.heal();
    // Asked for all the while, as a region's nodes do; the questions from before go on hanging.
    let healed = Instant::now();
    wait_for("the new image", || {
        program.get(&manifest("a", "v1")).body == new.manifest
    });
    let took = healed.elapsed();
    assert!(took < WELL_AGAIN, "{took:?}");
}

#[test]
fn an_upstream_that_hung_for_long_is_seen_well_again_as_soon() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let (old, new) = (Image::of(&[KIB]), Image::of(&[KIB]));
    registry.push("a", "v1", &old);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    registry.fault(None, "/v2/", 100_000, Fault::Silent);
    assert!(program.get(&manifest("a", "v1")).is_whole());
    wait_for("the first question to be given up", || {
        program.metric("regcache_upstream_resting", "up.test") == 1
    });
    // Beyond the first rest, when somebody may try again: who has an answer at hand does not wait for that.
    let hung = Instant::now();
    while hung.elapsed() < Duration::from_secs(4) {
        let answer = program.get(&manifest("a", "v1"));
        assert!(
            answer.is_whole() && answer.all < Duration::from_secs(1),
            "{:?}",
            answer.all
        );
        thread::sleep(Duration::from_millis(50));
    }
    registry.push("a", "v1", &new);
    registry.heal();
    let healed = Instant::now();
    wait_for("the new image", || {
        program.get(&manifest("a", "v1")).body == new.manifest
    });
    let took = healed.elapsed();
    assert!(took < WELL_AGAIN, "{took:?}");
}

#[test]
fn an_unknown_tag_with_upstream_hanging_is_unavailable_in_time() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    registry.fault(None, "/v2/", 100_000, Fault::Silent);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    let answer = program.get(&manifest("a", "v1"));
    assert_eq!(answer.status, 503);
    assert!(
        answer.all < Duration::from_secs(10),
        "below the gateway's own limit: {:?}",
        answer.all
    );
}

#[test]
fn stale_tags_end_with_their_time() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)])
        .arg("--tag-stale-for", "0s")
        .go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    registry.fault(None, "/v2/", 100_000, Fault::Status(500, vec![]));
    assert_eq!(program.get(&manifest("a", "v1")).status, 503);
}

#[test]
fn refusals_after_success_are_stale_and_a_deletion_is_a_deletion() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    for status in [401, 403, 429, 500] {
        registry.fault(None, "/manifests/", 100_000, Fault::Status(status, vec![]));
        let answer = program.get(&manifest("a", "v1"));
        assert!(answer.is_whole() && answer.body == image.manifest, "{status}");
        registry.heal();
    }
    wait_for("upstream to be asked again, and its 404", || {
        registry.fault(None, "/manifests/", 1, Fault::Status(404, vec![]));
        program.get(&manifest("a", "v1")).status == 404
    });
}

#[test]
fn a_program_starts_and_serves_with_upstream_down() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    assert!(program.blob("a", &image.layer(0)).is_whole());
    wait_for("the fill to finish", || {
        program.metric("regcache_fill_in_flight", "") == 0
    });
    // Ended in order: what a kill may lose of the last second's facts is another test's affair.
    program.stop();
    registry.fault(None, "/v2/", 100_000, Fault::Status(500, vec![]));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    assert!(program.get(&manifest("a", "v1")).body == image.manifest);
    assert!(program.blob("a", &image.layer(0)).body == image.blobs[1]);
}

#[test]
fn accepted_media_types_are_kept_apart() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[KIB]));
    registry.push("a", "single", &image);
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{}\",\"size\":{}}}]}}",
        digest(&image.manifest),
        image.manifest.len()
    );
    registry.put_manifest("a", "multi", INDEX, index.as_bytes());
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    let accept = [("Accept", INDEX)];
    let answer = client::ask(program.address, "GET", &manifest("a", "multi"), &accept);
    assert_eq!(answer.header("content-type"), Some(INDEX));
    let child = manifest("a", &digest(&image.manifest));
    let child = client::ask(program.address, "GET", &child, &[]);
    assert!(child.is_whole() && child.body == image.manifest);
    let head = client::ask(program.address, "HEAD", &manifest("a", "multi"), &accept);
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some(index.len().to_string().as_str()));
    assert_eq!(
        head.header("docker-content-digest"),
        Some(digest(index.as_bytes()).as_str())
    );
}
