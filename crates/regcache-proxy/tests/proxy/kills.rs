//! kill -9 at any moment: it starts again, and every blob that it serves and keeps has its digest.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{self, End};
use crate::content::{Image, KIB, MIB, digest};
use crate::program::{Program, Start, blob, manifest};
use crate::registry::{Fault, Registry};

/// How often the program is killed.
const KILLS: usize = 200;

#[test]
fn a_fill_that_was_killed_is_resumed() {
    let (store, registry, image) = (TempDir::new().unwrap(), Registry::start(), Image::of(&[16 * MIB]));
    registry.push("a", "v1", &image);
    registry.fault(Some("GET"), "/blobs/", 1, Fault::Slow(8 * MIB));
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let mut reader = client::open(program.address, "GET", &blob("a", &image.layer(0)), &[]);
    assert!(reader.read(8 * MIB) >= 8 * MIB);
    program.kill();
    let before = registry.sent();
    let program = Start::on(store.path(), &[("up.test", &registry)]).go();
    program.get(&manifest("a", "v1"));
    let answer = program.blob("a", &image.layer(0));
    assert!(answer.is_whole() && answer.body == image.blobs[1]);
    let sent = registry.sent() - before;
    assert!(sent < 9 * MIB as u64, "{sent} bytes again after 8 MiB were there");
}

/// Fills, evictions and index writes are all under way when the kill comes: blobs of all sizes in a store that is too
/// small for them.
#[test]
fn two_hundred_kills_leave_only_whole_blobs() {
    let (store, registry) = (TempDir::new().unwrap(), Registry::start());
    let sizes = [KIB, 40 * KIB, 300 * KIB, MIB, 1300 * KIB, 3 * MIB];
    let images: Vec<Image> = (0..4).map(|_| Image::of(&sizes)).collect();
    let mut known = HashMap::new();
    for (index, image) in images.iter().enumerate() {
        registry.push("a", &format!("v{index}"), image);
        known.extend(image.blobs.iter().map(|bytes| (digest(bytes), bytes.clone())));
    }
    // A kill leaves readers with half an answer; a store's own defect would show as a whole wrong one.
    for round in 0..KILLS {
        let program = start(store.path(), &registry);
        let address = program.address;
        thread::scope(|scope| {
            for (index, image) in images.iter().enumerate() {
                scope.spawn(move || {
                    let tag = client::try_get(address, &manifest("a", &format!("v{index}")));
                    if tag.is_none() {
                        return;
                    }
                    for bytes in &image.blobs {
                        let Some(answer) = client::try_get(address, &blob("a", &digest(bytes))) else {
                            return;
                        };
                        assert!(
                            answer.status != 200 || answer.end != End::Complete || answer.body == *bytes,
                            "a whole answer with wrong bytes in round {round}"
                        );
                    }
                });
            }
            // Spread over the first moments, where everything happens.
            let moment = u64::try_from(round * 7919 % 200).unwrap();
            thread::sleep(Duration::from_millis(moment));
            program.kill();
        });
    }
    let mut checked = 0;
    for (path, bytes) in files(&store.path().join("blobs")) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        assert_eq!(digest(&bytes), format!("sha256:{name}"), "{path}");
        checked += 1;
    }
    assert!(checked > 0, "nothing was stored in {KILLS} rounds");
    let program = start(store.path(), &registry);
    for (index, image) in images.iter().enumerate() {
        assert!(program.get(&manifest("a", &format!("v{index}"))).is_whole());
        for bytes in &image.blobs {
            let answer = program.blob("a", &digest(bytes));
            assert!(answer.is_whole() && answer.body == *bytes);
        }
    }
}

fn start(store: &Path, registry: &Registry) -> Program {
    Start::on(store, &[("up.test", registry)]).max_bytes("8MiB").go()
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}
