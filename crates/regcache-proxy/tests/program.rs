//! The program itself, started as people and Kubernetes start it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests count as tests"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regcache-proxy"));
    command.args(arguments).stderr(Stdio::piped());
    command
}

/// The addresses that the first lines name: of images, then of health.
fn addresses(child: &mut Child) -> (String, String) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut address = |message: &str| {
        loop {
            let line = lines.next().expect("the program ended").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == message {
                return line["address"].as_str().unwrap().to_owned();
            }
        }
    };
    (address("listening"), address("health and metrics"))
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_serves_with_upstream_down_and_ends_in_order_on_sigterm() {
    let store = tempfile::tempdir().unwrap();
    let store = store.path().join("store").display().to_string();
    let mut child = program(&[
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--store",
        &store,
        "--max-bytes",
        "1GiB",
        "--upstream",
        "docker.io=http://127.0.0.1:9",
        "--drain",
        "50ms",
    ])
    .spawn()
    .unwrap();
    let (main, admin) = addresses(&mut child);
    assert!(get(&main, "/v2/").starts_with("HTTP/1.1 200 "));
    while !get(&admin, "/readyz").starts_with("HTTP/1.1 200 ") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // Nobody reads its log any more, which must not matter.
    assert!(child.wait().unwrap().success());
    assert!(TcpStream::connect(main).is_err());
}

#[test]
fn it_says_in_one_line_why_it_cannot_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(
        &file,
        "{listen: '127.0.0.1:0', store: {directory: s}, upstreams: [{host: A}]}",
    )
    .unwrap();
    let output = program(&["--config", file.to_str().unwrap()]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("upstreams[0].host: \"A\" is not a registry's host"),
        "{text}"
    );
}
