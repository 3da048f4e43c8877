//! Requests that nobody should send: the right code at a bounded cost, and nothing asked of upstream or stored.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rstest::rstest;
use tempfile::TempDir;

use crate::client;
use crate::content::{Image, KIB};
use crate::program::{Program, Start};
use crate::registry::Registry;

struct Bed {
    store: TempDir,
    registry: Registry,
    program: Program,
}

impl Bed {
    fn start() -> Self {
        let (store, registry) = (TempDir::new().unwrap(), Registry::start());
        registry.push("a", "v1", &Image::of(&[KIB]));
        let program = Start::on(store.path(), &[("up.test", &registry), ("second.test", &registry)]).go();
        Self {
            store,
            registry,
            program,
        }
    }

    fn nothing_happened(&self) {
        let asked = self.registry.seen("GET", "").len() + self.registry.seen("HEAD", "").len();
        assert_eq!(asked, 0, "upstream was asked");
        let blobs = self.store.path().join("blobs");
        let empty = std::fs::read_dir(blobs).map_or(true, |entries| {
            entries
                .flatten()
                .all(|entry| std::fs::read_dir(entry.path()).is_ok_and(|mut inner| inner.next().is_none()))
        });
        assert!(empty, "something was stored");
    }
}

#[rstest]
#[case::climbing_path("GET", "/v2/../../etc/passwd/manifests/x?ns=up.test", 400..=404, "")]
#[case::escaped_climbing("GET", "/v2/%2e%2e/%2e%2e/manifests/x?ns=up.test", 400..=404, "")]
#[case::climbing_tag("GET", "/v2/a/manifests/..?ns=up.test", 400..=404, "")]
#[case::upper_case("GET", "/v2/A/manifests/v1?ns=up.test", 400..=400, "NAME_INVALID")]
#[case::malformed_digest("GET", "/v2/a/blobs/sha256:xyz?ns=up.test", 400..=400, "DIGEST_INVALID")]
#[case::short_digest("GET", "/v2/a/blobs/sha256:12?ns=up.test", 400..=400, "DIGEST_INVALID")]
#[case::unknown_registry("GET", "/v2/a/manifests/v1?ns=other.test", 404..=404, "")]
#[case::no_registry("GET", "/v2/a/manifests/v1", 400..=404, "")]
#[case::a_url_for_a_registry("GET", "/v2/a/manifests/v1?ns=http://127.0.0.1:1", 400..=404, "")]
#[case::write("PUT", "/v2/a/manifests/v1?ns=up.test", 405..=405, "UNSUPPORTED")]
#[case::upload("POST", "/v2/a/blobs/uploads/?ns=up.test", 404..=405, "")]
#[case::removal("DELETE", "/v2/a/manifests/v1?ns=up.test", 405..=405, "UNSUPPORTED")]
#[case::unknown_method("BREW", "/v2/a/manifests/v1?ns=up.test", 405..=405, "")]
#[case::elsewhere("GET", "/etc/passwd", 404..=404, "")]
#[case::no_path("GET", "*", 400..=404, "")]
fn is_refused(
    #[case] method: &str,
    #[case] path: &str,
    #[case] statuses: std::ops::RangeInclusive<u16>,
    #[case] code: &str,
) {
    let bed = Bed::start();
    let answer = client::ask(bed.program.address, method, path, &[]);
    assert!(statuses.contains(&answer.status), "{}", answer.status);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(body.contains(code), "{body}");
    assert_eq!(answer.header("www-authenticate"), None);
    bed.nothing_happened();
}

#[test]
fn over_long_names_are_refused() {
    let bed = Bed::start();
    for path in [
        format!("/v2/{}/manifests/v1?ns=up.test", "a".repeat(300)),
        format!("/v2/a/manifests/{}?ns=up.test", "a".repeat(200)),
        format!("/v2/a/manifests/v1?ns={}", "a".repeat(4000)),
    ] {
        let status = bed.program.get(&path).status;
        assert!((400..=414).contains(&status), "{status}");
    }
    bed.nothing_happened();
}

#[test]
fn header_bombs_end_with_a_status_or_the_connection() {
    let bed = Bed::start();
    let many = "x-many: y\r\n".repeat(5000);
    let long = format!("x: {}\r\n", "y".repeat(2 << 20));
    for bomb in [many, long] {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{bomb}\r\n");
        let answer = client::raw(bed.program.address, "GET", request.as_bytes()).finish();
        assert!(
            answer.status == 431 || answer.status == 400 || answer.status == 0,
            "{}",
            answer.status
        );
    }
    assert_eq!(bed.program.get("/v2/").status, 200);
    bed.nothing_happened();
}

#[test]
fn strange_ranges_are_ignored_or_unsatisfiable() {
    let bed = Bed::start();
    let image = Image::of(&[100 * KIB]);
    bed.registry.push("b", "v1", &image);
    bed.program.get("/v2/b/manifests/v1?ns=up.test");
    let path = format!("/v2/b/blobs/{}?ns=up.test", image.layer(0));
    for (range, status) in [
        ("bytes=x-y", 200),
        ("lines=1-2", 200),
        ("bytes=5-2", 200),
        ("bytes=0-1,5-6", 200),
        ("bytes=99999999999999999999-", 416),
        ("bytes=-0", 416),
    ] {
        let answer = client::ask(bed.program.address, "GET", &path, &[("Range", range)]);
        assert!(
            answer.status == status || (status == 416 && answer.status == 200),
            "{range}: {}",
            answer.status
        );
        assert!(answer.status != 200 || answer.body == image.blobs[1], "{range}");
    }
}

#[test]
fn a_client_that_never_finishes_its_headers_is_shown_out() {
    let bed = Bed::start();
    let mut socket = TcpStream::connect(bed.program.address).unwrap();
    socket.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let started = Instant::now();
    let mut sink = [0; 512];
    while let Ok(1..) = socket.read(&mut sink) {}
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());
    bed.nothing_happened();
}
