//! The whole helper in one process: plan in, files and gateway out, with a cache on loopback.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use regcache_mirror::plan::{CacheRef, Mode, Plan, PlanFile, UpstreamPlan};
use regcache_node::cli::{RunArgs, StateArgs};
use regcache_node::state::{Gateway, State, StateDir, Upstream};
use regcache_node::{probes, run};
use regcache_runtime::probe;
use regcache_runtime::telemetry::LogFormat;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Node {
    dir: TempDir,
    port: u16,
}

struct Helper {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

/// Heads of requests, as they came.
type Heard = Arc<Mutex<Vec<String>>>;

/// Answers every request with 200 and an empty body.
async fn cache() -> String {
    cache_of(Bytes::new()).await.0
}

/// Answers every request with 200 and `body`.
async fn cache_of(body: Bytes) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (body, log) = (body.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(size @ 1..) = stream.read(&mut buffer).await {
                    let request = buffer.get(..size).unwrap();
                    log.lock().unwrap().push(String::from_utf8_lossy(request).into_owned());
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all(&[answer.as_bytes(), &body].concat()).await.unwrap();
                }
            });
        }
    });
    (url, heard)
}

fn upstream(host: &str, cache: &str) -> UpstreamPlan {
    UpstreamPlan {
        host: host.into(),
        server: format!("https://{host}"),
        mode: Mode::Enforce,
        caches: vec![CacheRef {
            name: "c".into(),
            url: cache.into(),
            region: "r".into(),
            ns: false,
            probe: false,
        }],
    }
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["certs.d", "state"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { dir, port }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn plan(&self, upstreams: Vec<UpstreamPlan>) {
        let file = PlanFile {
            stable: Plan { upstreams },
            ..PlanFile::default()
        };
        let temporary = self.path("plan.tmp");
        std::fs::write(&temporary, serde_json::to_vec(&file).unwrap()).unwrap();
        std::fs::rename(temporary, self.path("plan.json")).unwrap();
    }

    fn start(&self) -> Helper {
        let shutdown = CancellationToken::new();
        let args = RunArgs {
            plan: self.path("plan.json"),
            certs_dir: self.path("certs.d"),
            certs_dir_on_host: "/etc/containerd/certs.d".into(),
            containerd_config: self.path("config.toml"),
            port: self.port,
            metrics_address: None,
            state: StateArgs {
                state_dir: self.path("state"),
            },
            node: "n1".into(),
            log_format: LogFormat::Text,
        };
        let task = tokio::spawn(run::run(args, shutdown.clone()));
        Helper { task, shutdown }
    }

    fn state_dir(&self) -> StateDir {
        StateDir::new(self.path("state"))
    }

    /// Waits for a state that is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) -> State {
        let mut last = None;
        for _ in 0..1000 {
            last = self.state_dir().read().ok();
            if let Some(state) = last.take_if(|state| wanted(state)) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {what} in time: {last:?}");
    }

    fn has(&self, host: &str) -> bool {
        self.path("certs.d").join(host).join("hosts.toml").exists()
    }

    async fn live(&self) -> Result<(), probes::ProbeError> {
        let dir = self.state_dir();
        tokio::task::spawn_blocking(move || probes::live(&dir)).await.unwrap()
    }
}

impl Helper {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_plan_to_files_and_back() {
    let node = Node::new();
    let cache = cache().await;
    node.plan(vec![upstream("a", &cache), upstream("b:5000", &cache)]);
    let helper = node.start();
    let state = node.until("ready", |state| state.ready).await;
    assert_eq!(state.gateway, Gateway::Up);
    assert!(state.upstreams.values().all(|state| *state == Upstream::Published));
    assert!(node.has("a") && node.has("b:5000"));
    assert_eq!(state.findings[0].id, "config-unreadable");
    node.live().await.unwrap();
    assert!(probes::ready(&node.state_dir()).is_ok());

    // Everybody's kill switch.
    node.plan(Vec::new());
    node.until("withdrawn", |state| state.upstreams.is_empty()).await;
    assert!(!node.has("a") && !node.has("b:5000"));
    node.plan(vec![upstream("a", &cache)]);
    node.until("published again", |state| {
        state.upstreams.get("a") == Some(&Upstream::Published)
    })
    .await;

    helper.stop().await;
    assert_eq!(entries(&node.path("certs.d")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said_and_nothing_is_published() {
    let node = Node::new();
    let cache = cache().await;
    let taken = StdListener::bind(("127.0.0.1", node.port)).unwrap();
    node.plan(vec![upstream("a", &cache)]);
    let helper = node.start();
    let down = |state: &State| matches!(&state.gateway, Gateway::Down(why) if why.contains("is taken by another process (listening on 127.0.0.1"));
    node.until("down", down).await;
    node.live().await.expect("a restart would not help");
    let error = probes::ready(&node.state_dir()).unwrap_err().to_string();
    assert!(
        error.contains(&format!("port {} on 127.0.0.1 is taken", node.port)),
        "{error}"
    );
    assert!(!node.has("a"));
    drop(taken);
    node.until("ready", |state| state.ready).await;
    assert!(node.has("a"));
    helper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_dies_later_changes_nothing_and_ready_stays() {
    let node = Node::new();
    let cache = cache().await;
    let dead = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    node.plan(vec![upstream("a", &cache)]);
    let helper = node.start();
    node.until("ready", |state| state.ready).await;
    node.plan(vec![
        upstream("a", &format!("http://{dead}")),
        upstream("b", &format!("http://{dead}")),
    ]);
    let state = node
        .until("waiting", |state| {
            matches!(state.upstreams.get("b"), Some(Upstream::Waiting(_)))
        })
        .await;
    assert!(state.ready);
    assert!(node.has("a") && !node.has("b"));
    helper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_ours_hears_what_became_of_its_plan() {
    let node = Node::new();
    let (url, heard) = cache_of(probe::blob()).await;
    let mut entry = upstream("a", &url);
    entry.caches[0].probe = true;
    node.plan(vec![entry]);
    let helper = node.start();
    let state = node.until("ready", |state| state.ready).await;
    let report = format!(
        "regcache-node: n1\r\nregcache-plan: {}\r\nregcache-upstreams: a Published\r\n",
        state.plan.unwrap()
    );
    for _ in 0..1000 {
        if heard.lock().unwrap().iter().any(|head| head.contains(&report)) {
            helper.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not told in time: {:?}", heard.lock().unwrap());
}
