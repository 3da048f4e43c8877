//! Ctrl-C: takes this process's clusters down and ends it.
//!
//! Processes of a cluster are in sessions of their own and would survive. Starting a process and taking clusters down
//! exclude each other, so that nothing is started behind the back of the cleaning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use anyhow::{Result, bail};

/// The clusters to take down. Also locked while a process is started.
static CLUSTERS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Apart from the lock, so that it can be read while the clusters are being taken down.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static HANDLER: Once = Once::new();

fn clusters() -> MutexGuard<'static, Vec<String>> {
    CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a process is started and recorded.
pub struct Gate(#[expect(dead_code, reason = "held for its lock")] MutexGuard<'static, Vec<String>>);

/// Permission to start a process; refused after Ctrl-C.
pub fn gate() -> Result<Gate> {
    let gate = Gate(clusters());
    check()?;
    Ok(gate)
}

/// Does something that leaves traces (a namespace, a directory) and that cleaning up must not overlap. Must not start
/// processes by [`super::process::Journal::spawn`], which asks for the same permission.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _gate = gate()?;
    work()
}

/// An error after Ctrl-C.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// From now on the cluster is taken down when this process gets SIGINT, SIGTERM or SIGHUP.
pub fn protect(cluster: &str) {
    HANDLER.call_once(|| {
        std::thread::spawn(listen);
    });
    clusters().push(cluster.to_owned());
}

/// The cluster is gone, or meant to stay.
pub fn release(cluster: &str) {
    clusters().retain(|name| name != cluster);
}

fn listen() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
        ) else {
            return;
        };
        tokio::select! { _ = int.recv() => {} _ = term.recv() => {} _ = hup.recv() => {} }
    });
    INTERRUPTED.store(true, Ordering::SeqCst);
    let mut clusters = clusters();
    for cluster in std::mem::take(&mut *clusters) {
        eprintln!("interrupted: taking cluster {cluster} down");
        if let Err(error) = super::reaper::remove(&cluster) {
            eprintln!("cluster {cluster} is not gone: {error:#}");
        }
    }
    std::process::exit(130);
}
