use std::path::Path;

use http::HeaderMap;
use regcache_runtime::probe::{self, Report};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// One request on a connection of its own.
async fn ask(address: SocketAddr, request: &str, headers: &HeaderMap, body: &str) -> (u16, Vec<u8>) {
    let mut text = format!(
        "{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.extend([name.as_str(), ": ", value.to_str().unwrap(), "\r\n"]);
    }
    text.extend(["\r\n", body]);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer.split_off(end + 4))
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, body) = ask(address, &format!("GET {path}"), &HeaderMap::new(), "").await;
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// A directory with a configuration that is changed by the tests.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.config("127.0.0.1:0", "");
        files
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn config(&self, listen: &str, more: &str) {
        let store = self.path().join("store").display().to_string();
        let text = format!(
            "{{listen: '{listen}', admin: '127.0.0.1:0', store: {{directory: {store}}}, \
             upstreams: [{{host: ghcr.io, url: 'http://127.0.0.1:9'}}]{more}}}"
        );
        self.write(&text);
    }

    /// At once, as Kubernetes and editors do.
    fn write(&self, text: &str) {
        std::fs::write(self.path().join("new"), text).unwrap();
        std::fs::rename(self.path().join("new"), self.path().join("config.yaml")).unwrap();
    }

    async fn start(&self, drain: Duration) -> Running {
        let source = Source::File(self.path().join("config.yaml"));
        let loaded = source.read().unwrap();
        let times = Times {
            look: Duration::from_millis(5),
            drain,
            grace: Duration::from_secs(5),
        };
        let proxy = Proxy::start(source, loaded, times).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = Running {
            main: proxy.address(),
            admin: proxy.admin_address().unwrap(),
            task: tokio::spawn(proxy.run(shutdown.clone())),
            shutdown,
        };
        while get(running.admin, "/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        running
    }
}

struct Running {
    main: SocketAddr,
    admin: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn until_ready_says(&self, part: &str) -> String {
        loop {
            let (status, text) = get(self.admin, "/readyz").await;
            assert_eq!(status, 200, "{text}");
            if text.contains(part) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_metrics_say(&self, part: &str) {
        while !get(self.admin, "/metrics").await.1.contains(part) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_health_are_answered_and_reports_taken_up() {
    let proxy = Files::new().start(Duration::ZERO).await;
    assert_eq!(get(proxy.main, "/v2/").await, (200, "{}".into()));
    let (status, blob) = ask(proxy.main, &format!("GET {}", probe::PATH), &HeaderMap::new(), "").await;
    assert_eq!((status, blob), (200, probe::blob().to_vec()));
    let report = Report {
        node: "n1".into(),
        plan: "0123".into(),
        containerd: None,
        upstreams: [].into(),
    };
    ask(proxy.main, "GET /v2/", &report.to_headers(), "").await;
    assert_eq!(
        get(proxy.admin, "/nodes").await.1,
        r#"{"nodes":[{"ageSeconds":0,"node":"n1","plan":"0123","upstreams":{}}]}"#
    );
    assert_eq!(get(proxy.admin, "/livez").await, (200, "ok\n".into()));
    let (_, metrics) = get(proxy.admin, "/metrics").await;
    assert!(metrics.contains("regcache_nodes_reporting 1"), "{metrics}");
    assert!(metrics.contains("regcache_build_info{version="), "{metrics}");
    let (status, _) = ask(proxy.admin, "POST /complete", &HeaderMap::new(), "{\"images\":[]}").await;
    assert_eq!(status, 200);
    let (status, _) = ask(proxy.admin, "POST /complete", &HeaderMap::new(), "nonsense").await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_fail_from_the_signal_on_while_everything_is_served_for_a_while() {
    let proxy = Files::new().start(Duration::from_millis(500)).await;
    proxy.shutdown.cancel();
    while get(proxy.admin, "/readyz").await.0 == 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(get(proxy.admin, "/readyz").await.1.starts_with("shutting down\n"));
    assert_eq!(get(proxy.main, probe::PATH).await.0, 503);
    assert_eq!(get(proxy.main, "/v2/").await.0, 200);
    proxy.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(proxy.main).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn address_and_certificate_change_while_it_runs() {
    let files = Files::new();
    let proxy = files.start(Duration::ZERO).await;
    let mut kept = TcpStream::connect(proxy.main).await.unwrap();
    let other = crate::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let other = {
        let address = other.local_addr().unwrap();
        drop(other);
        address
    };
    files.config(&other.to_string(), "");
    proxy
        .until_metrics_say("regcache_config_reloads_total{result=\"applied\"} 1")
        .await;
    assert_eq!(get(other, "/v2/").await.0, 200);
    assert_eq!(kept.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(proxy.main).await.is_err());
    let key = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(files.path().join("crt"), key.cert.pem()).unwrap();
    std::fs::write(files.path().join("key"), key.signing_key.serialize_pem()).unwrap();
    let directory = files.path().display();
    files.config(
        &other.to_string(),
        &format!(", tls: {{certificate: {directory}/crt, key: {directory}/key}}"),
    );
    proxy
        .until_metrics_say("regcache_config_reloads_total{result=\"applied\"} 2")
        .await;
    // A plain request is no TLS handshake.
    let mut plain = TcpStream::connect(other).await.unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    proxy.shutdown.cancel();
    proxy.task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configuration_is_refused_and_the_old_one_goes_on() {
    let files = Files::new();
    let proxy = files.start(Duration::ZERO).await;
    let taken = crate::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    for (text, says) in [
        ("{listen: '127.0.0.1:0'", "the configuration cannot be read"),
        (
            "{listen: 'x', store: {directory: y}, upstreams: []}",
            "listen: \"x\" is not an address",
        ),
        (
            "{listen: '127.0.0.1:0', store: {directory: y}, upstreams: [{host: a}]}",
            "which needs a restart",
        ),
    ] {
        files.write(text);
        let text = proxy.until_ready_says(says).await;
        assert!(
            text.starts_with("ok\nconfiguration refused, the old one goes on: "),
            "{text}"
        );
    }
    files.config(&taken.local_addr().unwrap().to_string(), "");
    proxy.until_ready_says("listen: cannot listen on").await;
    files.config(
        "127.0.0.1:0",
        &format!(
            ", tls: {{certificate: {0}, key: {0}}}",
            files.path().join("config.yaml").display()
        ),
    );
    proxy.until_ready_says("tls.certificate: no certificate").await;
    proxy.until_metrics_say("regcache_config_refused 1").await;
    assert_eq!(get(proxy.main, "/v2/").await.0, 200);
    files.config("127.0.0.1:0", ", logFormat: text");
    proxy.until_metrics_say("regcache_config_refused 0").await;
    assert_eq!(get(proxy.main, "/v2/").await.0, 200);
}
