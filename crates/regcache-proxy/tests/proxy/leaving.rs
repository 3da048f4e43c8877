//! Clients that go away, and clients that are slow: the fill is nobody's hostage.

use std::time::Duration;

use tempfile::TempDir;

use crate::client;
use crate::content::{Image, MIB};
use crate::program::{Start, blob, manifest, wait_for};
use crate::registry::{Fault, Registry};

#[test]
fn the_first_client_leaves_and_the_second_gets_all() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[8 * MIB]));
    registry.push("a", "v1", &image);
    registry.fault(Some("GET"), &image.layer(0), 1, Fault::Slow(8 * MIB));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let path = blob("a", &image.layer(0));
    let mut first = client::open(program.address, "GET", &path, &[]);
    let second = client::open(program.address, "GET", &path, &[]);
    first.read(MIB);
    drop(first);
    let answer = second.finish();
    assert!(answer.is_whole() && answer.body == image.blobs[1]);
    assert_eq!(registry.seen("GET", &image.layer(0)).len(), 1);
}

#[test]
fn all_clients_leave_and_the_next_is_served_without_upstream() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[8 * MIB]));
    registry.push("a", "v1", &image);
    registry.fault(Some("GET"), &image.layer(0), 1, Fault::Slow(8 * MIB));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let path = blob("a", &image.layer(0));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = client::open(program.address, "GET", &path, &[]);
            client.read(1);
            client
        })
        .collect();
    drop(clients);
    wait_for("the fill to finish", || {
        program.metric("regcache_fill_in_flight", "") == 0
    });
    let answer = program.get(&path);
    assert!(answer.is_whole() && answer.body == image.blobs[1]);
    assert_eq!(registry.seen("GET", &image.layer(0)).len(), 1);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[32 * MIB]));
    registry.push("a", "v1", &image);
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let path = blob("a", &image.layer(0));
    let mut lazy = client::open(program.address, "GET", &path, &[]);
    let answer = program.get(&path);
    assert!(answer.is_whole() && answer.body == image.blobs[1]);
    assert!(answer.all < Duration::from_secs(20), "{:?}", answer.all);
    assert_eq!(
        lazy.read(usize::MAX),
        32 * MIB,
        "it gets all of it when it reads at last"
    );
}

#[test]
fn a_fill_under_way_at_the_end_is_ended_in_order_and_resumed() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[16 * MIB]));
    registry.push("a", "v1", &image);
    registry.fault(Some("GET"), &image.layer(0), 1, Fault::Slow(8 * MIB));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let mut client = client::open(program.address, "GET", &blob("a", &image.layer(0)), &[]);
    assert!(client.read(4 * MIB) >= 4 * MIB);
    drop(client);
    let ended = program.stop();
    wait_for("the fill's line", || ended.has_said("\"outcome\":\"stopped\""));
    assert!(!ended.has_said("streaming through without storing"));
    let before = registry.sent();
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    assert!(program.get(&blob("a", &image.layer(0))).is_whole());
    let sent = registry.sent() - before;
    assert!(sent < 13 * MIB as u64, "{sent} bytes again after 4 MiB were there");
}
