//! The tracker with real caches on loopback.

use std::sync::atomic::{AtomicU16, Ordering};

use regcache_mirror::plan::{Mode, UpstreamPlan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;

/// A cache that answers every request with the status that is set, and has the probe blob as it is set.
struct Cache {
    url: String,
    status: Arc<AtomicU16>,
    connections: Arc<AtomicU16>,
    blob: Arc<Mutex<Blob>>,
    /// The heads of all requests.
    heard: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy, Debug)]
enum Blob {
    Right,
    Wrong,
    /// Right, and more than it should be.
    Longer,
    /// Less than it should be, and well ended.
    Shorter,
    /// Stops in the middle.
    Stalls,
    /// Headers never come.
    Mute,
    /// Ends in the middle.
    Breaks,
    Absent,
    Draining,
}

/// Accepts and never answers.
const MUTE: u16 = 0;

async fn cache() -> Cache {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cache = Cache {
        url,
        status: Arc::new(AtomicU16::new(200)),
        connections: Arc::default(),
        blob: Arc::new(Mutex::new(Blob::Right)),
        heard: Arc::default(),
    };
    let (status, connections) = (Arc::clone(&cache.status), Arc::clone(&cache.connections));
    let (blob, heard) = (Arc::clone(&cache.blob), Arc::clone(&cache.heard));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (status, blob, heard) = (Arc::clone(&status), Arc::clone(&blob), Arc::clone(&heard));
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(size @ 1..) = stream.read(&mut buffer).await {
                    let request = String::from_utf8_lossy(&buffer[..size]).into_owned();
                    let for_blob = request.contains(regcache_runtime::probe::PATH);
                    heard.lock().unwrap().push(request);
                    if for_blob {
                        let blob = *blob.lock().unwrap();
                        send_blob(&mut stream, blob).await;
                        return;
                    }
                    let status = status.load(Ordering::SeqCst);
                    if status != MUTE {
                        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}");
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    cache
}

async fn send_blob(stream: &mut TcpStream, blob: Blob) {
    let mut bytes = regcache_runtime::probe::blob().to_vec();
    let mut status = 200;
    match blob {
        Blob::Right | Blob::Stalls | Blob::Breaks => {}
        Blob::Wrong => bytes[40_000] ^= 1,
        Blob::Longer => bytes.push(0),
        Blob::Shorter => bytes.truncate(40_000),
        Blob::Mute => return std::future::pending().await,
        Blob::Absent => status = 404,
        Blob::Draining => status = 503,
    }
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", bytes.len());
    let _ = stream.write_all(head.as_bytes()).await;
    match blob {
        Blob::Stalls => {
            let _ = stream.write_all(&bytes[..40_000]).await;
            std::future::pending::<()>().await;
        }
        Blob::Breaks => drop(stream.write_all(&bytes[..40_000]).await),
        // The client may have left at the first wrong byte.
        _ => drop(stream.write_all(&bytes).await),
    }
}

impl Cache {
    /// The requests that `wanted` picks.
    fn heard(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|head| wanted(head)).count()
    }

    fn blobs(&self) -> usize {
        self.heard(|head| head.contains(regcache_runtime::probe::PATH))
    }
}

fn plan(url: &str) -> Plan {
    plan_with(url, false)
}

fn plan_with(url: &str, probe: bool) -> Plan {
    let caches = vec![CacheRef {
        name: "c".into(),
        url: url.into(),
        region: "r".into(),
        ns: false,
        probe,
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
    assert!(probe.ask(None).await.is_ok());
    assert!(probe.ask(None).await.is_ok());
    assert_eq!(cache.connections.load(Ordering::SeqCst), 1, "kept alive");
    cache.status.store(MUTE, Ordering::SeqCst);
    let begin = Instant::now();
    assert!(matches!(
        probe.ask(None).await,
        Err(ProbeError::TimeOut { what: "answer", .. })
    ));
    assert!(begin.elapsed() < Duration::from_secs(4));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut nobody = Probe::new(&format!("http://{free}")).unwrap();
    assert!(matches!(nobody.ask(None).await, Err(ProbeError::Connect(_))));
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

fn report(state: &str) -> Report {
    let (state, reason) = (state.to_owned(), String::new());
    let upstream = regcache_runtime::probe::UpstreamReport { state, reason };
    Report {
        node: "n1".into(),
        plan: "0123".into(),
        containerd: Some("2.4.2".into()),
        upstreams: [("a".to_owned(), upstream)].into(),
    }
}

/// Waits for a condition of the cache.
async fn when(what: &str, wanted: impl Fn() -> bool) {
    let wait = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect(what);
}

#[tokio::test]
async fn a_cache_of_ours_is_used_once_its_blob_has_come_and_hears_the_report() {
    let ours = cache().await;
    *ours.blob.lock().unwrap() = Blob::Draining;
    let tracker = Tracker::new(Arc::default());
    tracker.set_report(report("Waiting"));
    let (sender, plans) = watch::channel(Some(Arc::new(plan_with(&ours.url, true))));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(Arc::clone(&tracker), plans, shutdown.clone()));
    when("asked", || ours.blobs() == 1).await;
    until(&tracker, 0).await;
    *ours.blob.lock().unwrap() = Blob::Right;
    until(&tracker, 1).await;
    assert_eq!(ours.blobs(), 2, "on connections of their own");

    // Told once on a connection, and again as soon as it changes.
    let waiting = |head: &str| head.contains("regcache-upstreams: a Waiting\r\n") && head.contains("regcache-node: n1");
    let published = |head: &str| head.contains("regcache-upstreams: a Published\r\n");
    let told = ours.heard(waiting);
    assert!(told > 0 && ours.heard(published) == 0);
    tracker.set_report(report("Published"));
    when("told", || ours.heard(published) == 1).await;
    assert_eq!(ours.heard(waiting), told);
    assert_eq!(
        ours.heard(|head| head.contains(regcache_runtime::probe::PATH) && head.contains("regcache-")),
        2
    );
    drop(sender);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_cache_that_is_not_ours_hears_no_report_and_is_asked_for_no_blob() {
    let theirs = cache().await;
    let tracker = Tracker::new(Arc::default());
    tracker.set_report(report("Published"));
    let (sender, plans) = watch::channel(Some(Arc::new(plan(&theirs.url))));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(Arc::clone(&tracker), plans, shutdown.clone()));
    until(&tracker, 1).await;
    // The same cache at the same address gets our engine.
    sender.send_replace(Some(Arc::new(plan_with(&theirs.url, true))));
    when("asked for the blob", || theirs.blobs() == 1).await;
    until(&tracker, 1).await;
    let plain = theirs.heard(|head| head.starts_with("GET /v2/") && !head.contains("regcache-plan"));
    assert_eq!(plain, 1, "before it was ours");
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn each_way_to_send_a_wrong_blob_is_told_apart() {
    let cache = cache().await;
    let probe = Probe::new(&cache.url).unwrap();
    let check = async |blob| {
        *cache.blob.lock().unwrap() = blob;
        let begin = Instant::now();
        let result = probe.check().await;
        assert!(begin.elapsed() < Duration::from_secs(6), "{blob:?}");
        result
    };
    assert!(check(Blob::Right).await.is_ok());
    for blob in [Blob::Wrong, Blob::Longer, Blob::Shorter] {
        assert!(matches!(check(blob).await, Err(ProbeError::WrongBlob)), "{blob:?}");
    }
    for blob in [Blob::Stalls, Blob::Mute] {
        assert!(matches!(check(blob).await, Err(ProbeError::StalledBlob(_))), "{blob:?}");
    }
    assert!(matches!(check(Blob::Breaks).await, Err(ProbeError::Http(_))));
    assert!(matches!(check(Blob::Absent).await, Err(ProbeError::Status(404))));
    assert!(matches!(check(Blob::Draining).await, Err(ProbeError::Status(503))));
}

#[test]
fn what_a_blob_says_of_its_cache() {
    let plan = plan_with("http://c:1", true);
    let cache = &plan.upstreams[0].caches[0];
    let stalled = || ProbeError::StalledBlob(Duration::from_secs(5));
    for (result, expected) in [
        (Ok(()), None),
        (Err(ProbeError::Status(404)), None),
        (Err(ProbeError::Status(503)), Some("does not answer")),
        (Err(stalled()), Some("let a request hang")),
        (Err(ProbeError::WrongBlob), Some("sent wrong bytes")),
    ] {
        let tracker = Tracker::new(Arc::default());
        tracker.set_plan(Arc::new(plan.clone()));
        tracker.probed(cache, &Ok(()));
        assert!(
            tracker
                .usable("a")
                .unwrap_err()
                .contains("has not delivered its probe blob yet")
        );
        tracker.checked(cache, &result);
        match (tracker.usable("a"), expected) {
            (Ok(()), None) => {}
            (Err(why), Some(expected)) if why.contains(expected) => {}
            (usable, _) => panic!("{result:?}: {usable:?}"),
        }
    }
}
