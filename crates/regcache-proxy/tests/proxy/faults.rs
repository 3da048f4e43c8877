//! Bodies that break, stall, shorten and lie: either the exact bytes, or a short end by FIN, and nothing wrong is kept.

use std::time::Duration;

use rstest::rstest;
use tempfile::TempDir;

use crate::client::{self, End};
use crate::content::{Image, KIB, MIB};
use crate::program::{Program, Start, blob, manifest, wait_for};
use crate::registry::{Fault, Registry};

/// A program before one registry with one image of a small and a large layer, its manifest pulled.
struct Bed {
    _store: TempDir,
    registry: Registry,
    program: Program,
    image: Image,
}

impl Bed {
    fn start() -> Self {
        let store = TempDir::new().unwrap();
        let registry = Registry::start();
        let image = Image::of(&[200 * KIB, 6 * MIB]);
        registry.push("team/app", "v1", &image);
        let program = Start::on(store.path(), &[("up.test", &registry)]).go();
        assert!(program.get(&manifest("team/app", "v1")).is_whole());
        Self {
            _store: store,
            registry,
            program,
            image,
        }
    }

    fn small(&self) -> (String, &[u8]) {
        (self.image.layer(0), &self.image.blobs[1])
    }

    fn large(&self) -> (String, &[u8]) {
        (self.image.layer(1), &self.image.blobs[2])
    }
}

#[rstest]
#[case::reset(Fault::ResetAt(2 * MIB))]
#[case::short_with_a_clean_end(Fault::EndAt(3 * MIB))]
#[case::stall(Fault::StallAt(MIB))]
#[case::reset_before_any_byte(Fault::ResetAt(0))]
fn a_broken_body_is_resumed_at_its_byte(#[case] fault: Fault) {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 1, fault);
    let answer = bed.program.blob("team/app", &digest);
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert!(answer.body == bytes);
    let asked = bed.registry.seen("GET", &digest);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let again = bed.program.blob("team/app", &digest);
    assert!(again.is_whole() && again.body == bytes);
    assert_eq!(bed.registry.seen("GET", &digest).len(), 2);
}

#[test]
fn a_resume_fetches_no_byte_twice() {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 3, Fault::ResetAt(MIB));
    let before = bed.registry.sent();
    assert!(bed.program.blob("team/app", &digest).body == bytes);
    let sent = bed.registry.sent() - before;
    // What lay in a socket when the reset came is lost.
    assert!(sent < bytes.len() as u64 + 3 * MIB as u64, "{sent}");
}

#[test]
fn a_registry_without_ranges_is_read_anew_after_a_break() {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 1, Fault::ResetAt(2 * MIB));
    bed.registry.fault(Some("GET"), &digest, 9, Fault::NoRange);
    let answer = bed.program.blob("team/app", &digest);
    assert!(answer.is_whole() && answer.body == bytes);
}

#[test]
fn wrong_bytes_in_a_large_blob_never_look_complete() {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    let kept = bed.program.metric("regcache_store_blobs", "");
    bed.registry.fault(Some("GET"), &digest, 1, Fault::WrongBytes);
    let answer = bed.program.blob("team/app", &digest);
    assert_eq!((answer.status, answer.end), (200, End::Short));
    assert!(answer.body.len() <= bytes.len() - 64 * KIB, "{}", answer.body.len());
    let next = bed.program.blob("team/app", &digest);
    assert_eq!(next.status, 503, "for a while it is left to upstream");
    assert!(next.first < Duration::from_secs(1), "{:?}", next.first);
    assert_eq!(bed.program.metric("regcache_store_blobs", ""), kept, "it was kept");
}

#[test]
fn wrong_bytes_in_a_small_blob_are_never_sent() {
    let bed = Bed::start();
    let (digest, _) = bed.small();
    bed.registry.fault(Some("GET"), &digest, 9, Fault::WrongBytes);
    let answer = bed.program.blob("team/app", &digest);
    assert_eq!(answer.status, 503);
}

#[rstest]
#[case::too_long(1000)]
#[case::too_short(-1000)]
fn a_wrong_length_never_looks_complete(#[case] by: i64) {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 99, Fault::WrongLength(by));
    let answer = bed.program.blob("team/app", &digest);
    let promised: usize = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
    assert!(
        answer.status == 503 || (answer.end == End::Short && answer.body.len() < promised && promised != bytes.len()),
        "{} {:?} {}",
        answer.status,
        answer.end,
        answer.body.len()
    );
}

#[test]
fn a_registry_that_hangs_for_good_ends_readers_in_order_and_the_fill_goes_on() {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 99, Fault::StallAt(2 * MIB));
    let reader = client::open(bed.program.address, "GET", &blob("team/app", &digest), &[]);
    let answer = reader.finish();
    // 2 MiB come from each try: the fill moves, and then there is nothing more to be had.
    assert!(answer.is_whole() || answer.end == End::Short, "{:?}", answer.end);
    bed.registry.heal();
    wait_for("the fill to finish without any client", || {
        bed.program.metric("regcache_fill_in_flight", "") == 0
    });
    wait_for("the digest to be served again", || {
        let answer = bed.program.blob("team/app", &digest);
        answer.is_whole() && answer.body == bytes
    });
}

#[test]
fn no_headers_for_a_blob_cost_a_bounded_time() {
    let bed = Bed::start();
    let (digest, _) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 99, Fault::Silent);
    let answer = bed.program.blob("team/app", &digest);
    assert_eq!(answer.status, 503);
    assert!(answer.first < Duration::from_secs(10), "{:?}", answer.first);
    let next = bed.program.blob("team/app", &digest);
    assert_eq!(next.status, 503);
    assert!(next.first < Duration::from_secs(1), "{:?}", next.first);
}

#[test]
fn a_herd_costs_one_get_for_each_blob() {
    let bed = Bed::start();
    for (digest, bytes) in [bed.small(), bed.large()] {
        let answers = client::herd(50, bed.program.address, &blob("team/app", &digest));
        assert!(answers.iter().all(|answer| answer.is_whole() && answer.body == bytes));
        assert_eq!(bed.registry.seen("GET", &digest).len(), 1);
    }
}

#[test]
fn ranges_are_served_of_stored_and_of_growing_blobs() {
    let bed = Bed::start();
    let (digest, bytes) = bed.large();
    bed.registry.fault(Some("GET"), &digest, 1, Fault::Slow(2 * MIB));
    let path = blob("team/app", &digest);
    let address = bed.program.address;
    let whole = client::open(address, "GET", &path, &[]);
    let range = |range: &str| client::ask(address, "GET", &path, &[("Range", range)]);
    // The end, while the fill is at the beginning: fetched at once, not waited for.
    let end = range("bytes=6200000-");
    assert_eq!((end.status, end.end), (206, End::Complete));
    assert!(end.body == bytes[6_200_000..]);
    assert!(end.first < Duration::from_secs(1), "{:?}", end.first);
    let start = range("bytes=10-99");
    assert!(start.status == 206 && start.body == bytes[10..100]);
    assert!(whole.finish().body == bytes);
    for (asked, expected) in [
        ("bytes=0-0", &bytes[..1]),
        ("bytes=-5", &bytes[bytes.len() - 5..]),
        ("bytes=100-", &bytes[100..]),
        ("bytes=6291455-99999999", &bytes[6_291_455..]),
    ] {
        let answer = range(asked);
        assert!(answer.status == 206 && answer.body == expected, "{asked}");
        let told = answer.header("content-range").unwrap_or_default();
        assert!(told.ends_with(&format!("/{}", bytes.len())), "{told}");
    }
    let past = range("bytes=6291456-");
    assert_eq!(past.status, 416);
    assert_eq!(past.header("content-range"), Some("bytes */6291456"));
}
