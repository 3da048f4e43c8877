//! `testbed front`: forwards TCP connections to a registry, as slowly as a file beside it says, and counts bytes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes per second towards clients, all connections together; 0 or no file: unlimited.
pub const RATE_FILE: &str = "rate";
/// Bytes sent towards clients since the start.
pub const SENT_FILE: &str = "sent";

/// How often the files are looked at and written.
const INTERVAL: Duration = Duration::from_millis(20);
/// Small enough that a slow line is smooth.
const CHUNK: usize = 16 * 1024;

#[derive(Default)]
struct Line {
    rate: AtomicU64,
    sent: AtomicU64,
    /// When the line will have sent what was given to it so far.
    free_at: Mutex<Option<Instant>>,
}

impl Line {
    /// Books `bytes` on the line and says how long the sender has to wait before it sends them.
    fn book(&self, bytes: usize, now: Instant) -> Duration {
        let rate = self.rate.load(Ordering::Relaxed);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        if rate == 0 {
            *free_at = None;
            return Duration::ZERO;
        }
        let begins = free_at.map_or(now, |at| at.max(now));
        let takes = Duration::from_micros(bytes as u64 * 1_000_000 / rate);
        *free_at = Some(begins + takes);
        begins + takes - now
    }
}

/// Runs until it is killed.
pub fn run(listen: SocketAddr, to: SocketAddr, dir: &Path) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(listen, to, dir.to_owned()))
}

async fn serve(listen: SocketAddr, to: SocketAddr, dir: PathBuf) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen on {listen}"))?;
    let line = Arc::new(Line::default());
    tokio::spawn(watch(line.clone(), dir));
    loop {
        let (client, _) = listener.accept().await?;
        let line = line.clone();
        tokio::spawn(async move {
            // Whatever goes wrong, both ends see their connection close.
            let _ = forward(client, to, &line).await;
        });
    }
}

async fn watch(line: Arc<Line>, dir: PathBuf) {
    let mut written = u64::MAX;
    loop {
        let rate = std::fs::read_to_string(dir.join(RATE_FILE))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        line.rate.store(rate.unwrap_or(0), Ordering::Relaxed);
        let sent = line.sent.load(Ordering::Relaxed);
        if sent != written {
            let partial = dir.join("sent.partial");
            if std::fs::write(&partial, sent.to_string())
                .and_then(|()| std::fs::rename(&partial, dir.join(SENT_FILE)))
                .is_ok()
            {
                written = sent;
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn forward(mut client: TcpStream, to: SocketAddr, line: &Line) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            tokio::time::sleep(line.book(count, Instant::now())).await;
            to_client.write_all(buffer.get(..count).unwrap_or_default()).await?;
            line.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
    };
    tokio::try_join!(up, down).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_line() {
        let line = Line::default();
        line.rate.store(1000, Ordering::Relaxed);
        let now = Instant::now();
        assert_eq!(line.book(500, now), Duration::from_millis(500));
        assert_eq!(line.book(500, now), Duration::from_secs(1));
        assert_eq!(line.book(500, now + Duration::from_secs(9)), Duration::from_millis(500));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let line = Line::default();
        assert_eq!(line.book(1 << 30, Instant::now()), Duration::ZERO);
    }
}
