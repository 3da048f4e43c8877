//! The real program as a process.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{self, Answer};
use crate::registry::Registry;

/// Generous: for conditions, not for measuring.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// How to start it.
pub struct Start {
    arguments: Vec<OsString>,
    max_bytes: &'static str,
    /// Another program that starts it, by its last arguments.
    wrapper: Option<Command>,
}

impl Start {
    /// On that store, for these upstreams (`host=url`).
    pub fn on(store: &Path, upstreams: &[(&str, &Registry)]) -> Self {
        let mut arguments: Vec<OsString> = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain", "0s"]
            .map(OsString::from)
            .into();
        arguments.extend(["--log-format", "json", "--store"].map(OsString::from));
        arguments.push(store.into());
        for (host, registry) in upstreams {
            arguments.extend(["--upstream".into(), format!("{host}={}", registry.url()).into()]);
        }
        Self {
            arguments,
            // Said, since without it the disk's free space decides, and this machine's may be short.
            max_bytes: "1GiB",
            wrapper: None,
        }
    }

    pub fn arg(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.into(), value.into()]);
        self
    }

    pub fn max_bytes(mut self, size: &'static str) -> Self {
        self.max_bytes = size;
        self
    }

    pub fn within(mut self, wrapper: Command) -> Self {
        self.wrapper = Some(wrapper);
        self
    }

    /// Waits until it serves.
    pub fn go(self) -> Program {
        let program = env!("CARGO_BIN_EXE_regcache-proxy");
        let mut command = match self.wrapper {
            Some(mut wrapper) => {
                wrapper.arg(program);
                wrapper
            }
            None => Command::new(program),
        };
        command.args(self.arguments).args(["--max-bytes", self.max_bytes]);
        // A group of its own, so that a wrapper dies with it.
        let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = log.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let address = find(&log, "\"listening\"");
        let admin = find(&log, "health and metrics");
        let program = Program {
            child,
            address,
            admin,
            log,
        };
        wait_for("ready", || client::get(admin, "/readyz").status == 200);
        program
    }
}

impl Program {
    pub fn get(&self, path: &str) -> Answer {
        client::get(self.address, path)
    }

    pub fn blob(&self, repository: &str, digest: &str) -> Answer {
        self.get(&blob(repository, digest))
    }

    /// A whole number among its metrics, summed over the label sets that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> u64 {
        let answer = client::get(self.admin, "/metrics");
        let text = String::from_utf8(answer.body).unwrap();
        let fits = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
        };
        let values = text
            .lines()
            .filter(fits)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// Whether a line of its log contains these words.
    pub fn has_said(&self, words: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(words))
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and waits until it is gone. What is left is what it has said.
    pub fn stop(mut self) -> Self {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        wait_for("the end after SIGTERM", || self.child.try_wait().unwrap().is_some());
        self
    }

    fn end(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("the program's log:\n{}", self.log.lock().unwrap().join("\n"));
        }
    }
}

/// The path of a blob.
pub fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}?ns=up.test")
}

/// The path of a manifest.
pub fn manifest(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}?ns=up.test")
}

/// Waits for a condition.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn find(log: &Mutex<Vec<String>>, words: &str) -> SocketAddr {
    let mut found = None;
    let started = Instant::now();
    while found.is_none() {
        let waited = started.elapsed();
        assert!(
            waited < PATIENCE,
            "never said \"{words}\":\n{}",
            log.lock().unwrap().join("\n")
        );
        thread::sleep(Duration::from_millis(5));
        let lines = log.lock().unwrap();
        let line = lines.iter().find(|line| line.contains(words));
        found = line.and_then(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["address"].as_str()?.parse().ok()
        });
    }
    found.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}
