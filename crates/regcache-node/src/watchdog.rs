//! Ends the process when the runtime stands still: a frozen gateway costs every request of the node ten seconds, one
//! that is gone costs none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How often the runtime shows that it is alive, and how often that is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Looks without a tick until the end: three seconds. Looks are counted, not time, since a machine that slept and woke
/// finds an old clock and a healthy runtime.
const LOOKS: u32 = 12;

/// Starts the watch over the current runtime; `end` is called at most once, from a plain thread.
///
/// # Errors
/// When the system gives no thread.
pub fn start(end: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let ticks = Arc::new(AtomicU64::new(0));
    let seen = Arc::downgrade(&ticks);
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(TICK);
        loop {
            interval.tick().await;
            ticks.fetch_add(1, Ordering::Relaxed);
        }
    });
    let watch = move || {
        let (mut last, mut still) = (0, 0);
        // The runtime's end takes the counter away, and the watch with it.
        while let Some(ticks) = seen.upgrade() {
            let now = ticks.load(Ordering::Relaxed);
            drop(ticks);
            still = if now == last { still + 1 } else { 0 };
            last = now;
            if still >= LOOKS {
                end();
                return;
            }
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(watch)?;
    Ok(())
}

/// What the helper does then: kubelet starts it again, and until then pulls go to the upstream.
pub fn end_process() {
    tracing::error!("nothing moved for three seconds; ending, to be started again");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_runtime_that_stands_still_is_noticed() {
        let (sender, ended) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            start(move || sender.send(()).unwrap()).unwrap();
            tokio::time::sleep(TICK * 2).await;
            assert!(ended.try_recv().is_err());
            // Blocks the only thread, as a deadlock would.
            ended.recv_timeout(Duration::from_secs(20)).unwrap();
        });
    }
}
