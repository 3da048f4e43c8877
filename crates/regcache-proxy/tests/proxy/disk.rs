//! Disks that are full, too small, or somebody else's.

use std::process::Command;

use tempfile::TempDir;

use crate::client;
use crate::content::{Image, MIB, digest};
use crate::program::{Start, blob, manifest, wait_for};
use crate::registry::Registry;

#[test]
fn a_full_disk_streams_through_and_stores_again_when_there_is_room() {
    // A file system of 16 MiB that only the program sees; its own namespace needs no privilege where users may have one.
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--mount",
        "--propagation",
        "private",
        "true",
    ]);
    let may = unshare.status().is_ok_and(|status| status.success());
    assert!(
        may,
        "this test needs `unshare --user --mount`: allow unprivileged user namespaces, or run it as root"
    );
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let image = Image::of(&[2 * MIB, 12 * MIB, 12 * MIB]);
    registry.push("a", "v1", &image);
    let mut small = Command::new("unshare");
    small.args([
        "--user",
        "--map-root-user",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
    ]);
    small.arg(format!(
        "mount -t tmpfs -o size=16m tmpfs '{}' && exec \"$@\"",
        store.path().display()
    ));
    small.arg("sh");
    let program = Start::on(store.path(), &[("up.test", &registry)])
        .max_bytes("1GiB")
        .within(small)
        .go();
    assert!(program.get(&manifest("a", "v1")).is_whole());
    for (index, bytes) in image.blobs[1..].iter().enumerate() {
        let answers = client::herd(3, program.address, &blob("a", &image.layer(index)));
        for answer in answers {
            assert!(
                answer.is_whole() && answer.body == *bytes,
                "layer {index}: {} {:?} {}",
                answer.status,
                answer.end,
                answer.body.len()
            );
        }
    }
    // What is too large for the disk goes through; what fits is kept.
    wait_for("a small blob to be kept", || {
        program.blob("a", &image.layer(0));
        let before = registry.sent();
        assert!(program.blob("a", &image.layer(0)).is_whole());
        registry.sent() == before
    });
}

#[test]
fn a_blob_larger_than_the_budget_goes_through() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[6 * MIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)])
        .max_bytes("4MiB")
        .go();
    program.get(&manifest("a", "v1"));
    let answer = program.blob("a", &image.layer(0));
    assert!(answer.is_whole() && answer.body == image.blobs[1]);
}

#[test]
fn two_programs_on_one_store_both_serve_and_the_second_says_so() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[2 * MIB]));
    registry.push("a", "v1", &image);
    let first = Start::on(store.path(), &[("up.test", &registry)]).go();
    let second = Start::on(store.path(), &[("up.test", &registry)]).go();
    for program in [&second, &first] {
        assert!(program.get(&manifest("a", "v1")).is_whole());
        let answer = program.blob("a", &image.layer(0));
        assert!(answer.is_whole() && answer.body == image.blobs[1]);
    }
    let ready = String::from_utf8(client::get(second.admin, "/readyz").body).unwrap();
    assert!(ready.contains("another process"), "{ready}");
    assert!(second.has_said("another process"));
    first.kill();
    wait_for("the second to take the store over", || {
        let ready = String::from_utf8(client::get(second.admin, "/readyz").body).unwrap();
        !ready.contains("another process")
    });
    assert!(second.blob("a", &image.layer(0)).is_whole());
}

#[test]
fn eviction_keeps_to_the_budget_and_to_what_was_used_last() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let image = Image::of(&[2 * MIB; 12]);
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)])
        .max_bytes("10MiB")
        .go();
    program.get(&manifest("a", "v1"));
    for bytes in &image.blobs[1..] {
        assert!(program.blob("a", &image.layer(0)).is_whole());
        assert!(program.blob("a", &digest(bytes)).is_whole());
        let used = program.metric("regcache_store_used_bytes", "");
        assert!(used <= 12 * MIB as u64, "{used}: more than the budget and one fill");
    }
    assert_eq!(
        registry.seen("GET", &image.layer(0)).len(),
        1,
        "used all the time, so never evicted"
    );
}
