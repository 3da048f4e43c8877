//! The helper as a process, with the signals that kubelet and people send.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use regcache_node::state::{State, StateDir};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_regcache-node");

/// A node with a plan for `a`; each helper has a state directory of its own, as pods have.
struct Node {
    dir: TempDir,
    port: u16,
    metrics: SocketAddr,
}

struct Helper {
    child: Child,
    state: PathBuf,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Answers every request with 200 and an empty body.
fn cache() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .unwrap();
                }
            });
        }
    });
    url
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("certs.d")).unwrap();
        let cache = cache();
        let plan = format!(
            r#"{{"stable":{{"upstreams":[{{"host":"a","server":"https://a","caches":[
                {{"name":"c","url":"{cache}","region":"r"}}]}}]}}}}"#
        );
        std::fs::write(dir.path().join("plan.json"), plan).unwrap();
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let port = free_port();
        Self { dir, port, metrics }
    }

    fn start(&self, name: &str) -> Helper {
        let state = self.dir.path().join(name);
        std::fs::create_dir_all(&state).unwrap();
        let child = Command::new(PROGRAM)
            .args(["run", "--node", "n1", "--log-format", "text"])
            .args([
                "--port",
                &self.port.to_string(),
                "--metrics-address",
                &self.metrics.to_string(),
            ])
            .arg("--plan")
            .arg(self.dir.path().join("plan.json"))
            .arg("--certs-dir")
            .arg(self.dir.path().join("certs.d"))
            .arg("--state-dir")
            .arg(&state)
            .spawn()
            .unwrap();
        Helper { child, state }
    }

    fn hosts_toml(&self) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join("certs.d/a/hosts.toml")).ok()
    }

    fn entries(&self, dir: &str) -> usize {
        std::fs::read_dir(self.dir.path().join(dir)).unwrap().count()
    }

    fn metrics(&self) -> String {
        let mut stream = std::net::TcpStream::connect(self.metrics).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Helper {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn probe(&self, name: &str) -> Output {
        Command::new(PROGRAM)
            .args([name, "--state-dir"])
            .arg(&self.state)
            .output()
            .unwrap()
    }

    fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) -> State {
        let mut last = None;
        for _ in 0..1000 {
            last = StateDir::new(&self.state).read().ok();
            if let Some(state) = last.take_if(|state| wanted(state)) {
                return state;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("not {what} in time: {last:?}");
    }

    fn ready(&self) -> State {
        self.until("ready", |state| state.ready)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sigterm_takes_the_files_away_and_ends_well() {
    let node = Node::new();
    let mut helper = node.start("one");
    let said = String::from_utf8(helper.probe("ready").stderr).unwrap();
    assert!(said.lines().count() <= 1, "{said}");
    helper.ready();
    for probe in ["ready", "live"] {
        let output = helper.probe(probe);
        assert!(output.status.success(), "{output:?}");
    }
    let metrics = node.metrics();
    for line in [
        "regcache_node_ready 1",
        "regcache_node_upstream_state{upstream=\"a\",state=\"Published\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    helper.signal(Signal::TERM);
    let begin = Instant::now();
    while node.hosts_toml().is_some() {
        assert!(begin.elapsed() < Duration::from_secs(2), "hosts.toml goes first");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(node.entries("certs.d/a"), 1, "the CA outlives it");
    assert!(helper.child.wait().unwrap().success());
    assert_eq!(node.entries("certs.d"), 0);
}

#[test]
fn a_frozen_helper_fails_its_liveness_probe_within_a_second() {
    let node = Node::new();
    let helper = node.start("one");
    helper.ready();
    helper.signal(Signal::STOP);
    let begin = Instant::now();
    let output = helper.probe("live");
    let took = begin.elapsed();
    helper.signal(Signal::CONT);
    assert!(!output.status.success());
    assert!(
        (Duration::from_millis(850)..Duration::from_secs(2)).contains(&took),
        "{took:?}"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("does not answer within 900 ms"), "{said}");
}

#[test]
fn after_a_kill_the_next_one_takes_over() {
    let node = Node::new();
    let mut first = node.start("one");
    first.ready();
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let before = node.hosts_toml();
    assert!(before.is_some(), "nobody tidied up");
    let second = node.start("one");
    second.until("of another instance", |state| {
        before.as_ref().is_some_and(|text| !text.contains(&state.instance))
    });
    second.ready();
    assert_ne!(node.hosts_toml(), before);
    assert!(second.probe("live").status.success());
}

#[test]
fn an_overlapping_successor_keeps_its_file() {
    let node = Node::new();
    let mut old = node.start("old");
    old.ready();
    let new = node.start("new");
    new.until("waiting for the port", |state| {
        state.waiting_for.iter().any(|why| why.contains("is taken"))
    });
    assert!(node.hosts_toml().is_some(), "the old one still serves it");
    assert!(new.probe("live").status.success());
    old.signal(Signal::TERM);
    assert!(old.child.wait().unwrap().success());
    let state = new.ready();
    assert!(node.hosts_toml().unwrap().contains(&state.instance));
    assert_eq!(node.entries("certs.d/a"), 2);
}
