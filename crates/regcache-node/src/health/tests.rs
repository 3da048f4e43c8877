//! The tracker with real caches on loopback.

use std::sync::atomic::{AtomicU16, Ordering};

use regcache_mirror::plan::{Mode, UpstreamPlan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A cache that answers every request with the status that is set.
struct Cache {
    url: String,
    status: Arc<AtomicU16>,
    connections: Arc<AtomicU16>,
}

/// Accepts and never answers.
const MUTE: u16 = 0;

async fn cache() -> Cache {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (status, connections) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(0)));
    let (answer, accepted) = (Arc::clone(&status), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let status = answer.load(Ordering::SeqCst);
                    if status != MUTE {
                        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}");
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    Cache {
        url,
        status,
        connections,
    }
}

fn plan(url: &str) -> Plan {
    let caches = vec![CacheRef {
        name: "c".into(),
        url: url.into(),
        region: "r".into(),
        ns: false,
        probe: false,
    }];
    let host = "a".into();
    let server = "https://a".into();
    let mode = Mode::Enforce;
    Plan {
        upstreams: vec![UpstreamPlan {
            host,
            server,
            mode,
            caches,
        }],
    }
}

/// Waits until the upstream has so many candidates.
async fn until(tracker: &Tracker, count: usize) {
    let wait = async {
        while tracker
            .candidates("a")
            .is_none_or(|candidates| candidates.len() != count)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_cache_comes_goes_and_comes_back_on_one_connection() {
    let cache = cache().await;
    let tracker = Tracker::new(Arc::default());
    let (sender, plans) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(Arc::clone(&tracker), plans, shutdown.clone()));
    assert_eq!(tracker.candidates("a"), None);
    sender.send_replace(Some(Arc::new(plan(&cache.url))));
    until(&tracker, 1).await;
    assert_eq!(tracker.usable("a"), Ok(()));
    cache.status.store(503, Ordering::SeqCst);
    until(&tracker, 0).await;
    assert!(tracker.usable("a").unwrap_err().contains("does not answer"));
    cache.status.store(200, Ordering::SeqCst);
    until(&tracker, 1).await;
    // Each failure takes a new connection; an answer keeps it.
    assert_eq!(cache.connections.load(Ordering::SeqCst), 2);
    sender.send_replace(Some(Arc::default()));
    until_unknown(&tracker).await;
    shutdown.cancel();
    task.await.unwrap();
}

async fn until_unknown(tracker: &Tracker) {
    while tracker.candidates("a").is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn probes_end_in_time_and_say_why() {
    let cache = cache().await;
    let mut probe = Probe::new(&cache.url).unwrap();
    assert!(probe.ask().await.is_ok());
    assert!(probe.ask().await.is_ok());
    assert_eq!(cache.connections.load(Ordering::SeqCst), 1, "kept alive");
    cache.status.store(MUTE, Ordering::SeqCst);
    let begin = Instant::now();
    assert!(matches!(
        probe.ask().await,
        Err(ProbeError::TimeOut { what: "answer", .. })
    ));
    assert!(begin.elapsed() < Duration::from_secs(4));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut nobody = Probe::new(&format!("http://{free}")).unwrap();
    assert!(matches!(nobody.ask().await, Err(ProbeError::Connect(_))));
}

#[test]
fn addresses_that_are_none_are_refused() {
    for url in ["", "10.0.0.1:5000", "https://10.0.0.1", "http://"] {
        assert!(matches!(Probe::new(url), Err(ProbeError::Address(_))), "{url}");
    }
}

#[test]
fn what_ended_under_an_earlier_plan_counts_for_nothing() {
    let tracker = Tracker::new(Arc::default());
    tracker.set_plan(Arc::new(plan("http://c:1")));
    tracker.observe("a", "of an earlier plan", Outcome::Corrupt);
    tracker.observe("elsewhere", "c", Outcome::Corrupt);
    assert!(tracker.usable("a").unwrap_err().contains("has not answered yet"));
}
