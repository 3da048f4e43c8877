//! The registry that plays the internet: it counts, has the latency and the rate of a link, and can be made to hang.

mod pace;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use crate::http1::Head;
use crate::image::{Blob, Image, MANIFEST};
use pace::Pace;

/// How much goes at a time: small enough for connections to get even shares of a slow link.
const PIECE: usize = 64 << 10;

/// What the link to the registry is like.
#[derive(Clone, Copy)]
pub struct Link {
    /// Before every answer.
    pub latency: Duration,
    /// Over all connections together; 0 is no limit.
    pub bytes_per_second: u64,
}

impl Link {
    /// 20 ms and so many MiB/s.
    pub fn mib(mib_per_second: u64) -> Self {
        Self {
            latency: Duration::from_millis(20),
            bytes_per_second: mib_per_second << 20,
        }
    }

    /// A link that costs nothing, for preparations.
    pub fn none() -> Self {
        Self {
            latency: Duration::ZERO,
            bytes_per_second: 0,
        }
    }
}

/// What was asked for and sent.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Every request, of whatever kind.
    pub requests: u64,
    /// GETs of blobs, Range or not.
    pub blob_gets: u64,
    /// Bytes of blobs handed to the kernel.
    pub blob_bytes: u64,
}

/// A running upstream; it ends with this value.
pub struct Upstream {
    /// Where it listens, plain HTTP.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    link: Link,
    pace: Pace,
    /// Path -> what is there and its media type.
    content: RwLock<HashMap<String, (Blob, &'static str)>>,
    counts: Mutex<Counts>,
    hangs: AtomicBool,
}

impl Upstream {
    /// Starts one on a port of its own.
    pub fn start(link: Link) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        // Room for a herd: a full queue costs whoever comes a second.
        let listener = socket.listen(4096)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            link,
            pace: Pace::new(link.bytes_per_second),
            content: RwLock::default(),
            counts: Mutex::default(),
            hangs: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&served);
                // What goes wrong on a connection shows at the client.
                tokio::spawn(async move { shared.serve(stream).await.ok() });
            }
        });
        Ok(Self {
            address,
            shared,
            task: task.abort_handle(),
        })
    }

    /// Holds this image from now on; its tag leads to it, wherever it led before.
    pub fn hold(&self, image: &Image) {
        let mut content = self.shared.content.write().unwrap_or_else(PoisonError::into_inner);
        let base = format!("/v2/{}", image.repository);
        for reference in [&*image.tag, &*image.manifest.digest] {
            content.insert(
                format!("{base}/manifests/{reference}"),
                (image.manifest.clone(), MANIFEST),
            );
        }
        for blob in &image.blobs {
            let path = format!("{base}/blobs/{}", blob.digest);
            content.insert(path, (blob.clone(), "application/octet-stream"));
        }
    }

    /// Whether new requests are left without an answer. Those that came meanwhile never get one.
    pub fn set_hanging(&self, hangs: bool) {
        self.shared.hangs.store(hangs, Ordering::Relaxed);
    }

    /// What was counted so far, since the last call of `reset`.
    pub fn counts(&self) -> Counts {
        *self.shared.counts()
    }

    /// Starts counting anew.
    pub fn reset(&self) {
        *self.shared.counts() = Counts::default();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        while let Some(head) = Head::read(&mut stream, &mut buffer).await? {
            self.counts().requests += 1;
            if self.hangs.load(Ordering::Relaxed) {
                while stream.read_buf(&mut buffer).await? > 0 {}
                return Ok(());
            }
            if !self.link.latency.is_zero() {
                tokio::time::sleep(self.link.latency).await;
            }
            self.answer(&mut stream, &head).await?;
            if head.closes() {
                break;
            }
        }
        stream.shutdown().await
    }

    async fn answer(&self, stream: &mut TcpStream, head: &Head) -> io::Result<()> {
        let (path, _) = head.word(1).split_once('?').unwrap_or((head.word(1), ""));
        let found = self
            .content
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned();
        let Some((blob, media_type)) = found else {
            let answer = if path == "/v2/" {
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            } else {
                "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            };
            return stream.write_all(answer.as_bytes()).await;
        };
        let is_blob = media_type != MANIFEST;
        let total = blob.len();
        let range = head.field("range").and_then(|range| parse_range(range, total));
        let (start, end) = range.unwrap_or((0, total));
        let status = if range.is_some() {
            format!(
                "206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}",
                end.saturating_sub(1)
            )
        } else {
            "200 OK".to_owned()
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {}\r\nAccept-Ranges: bytes\r\n\r\n",
            end - start,
            blob.digest,
        );
        stream.write_all(answer.as_bytes()).await?;
        if head.word(0) == "HEAD" {
            return Ok(());
        }
        if is_blob {
            self.counts().blob_gets += 1;
        }
        let mut left = end - start;
        for mut part in blob.from(start) {
            while left > 0 && !part.is_empty() {
                let mut piece = part.split_to(part.len().min(left).min(PIECE));
                left -= piece.len();
                self.pace.pass(piece.len()).await;
                while !piece.is_empty() {
                    let sent = stream.write_buf(&mut piece).await?;
                    if is_blob {
                        self.counts().blob_bytes += sent as u64;
                    }
                }
            }
        }
        Ok(())
    }
}

/// `bytes=A-` and `bytes=A-B` as a half-open range within the blob; anything else is answered with the whole.
fn parse_range(value: &str, total: usize) -> Option<(usize, usize)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = if end.is_empty() {
        total
    } else {
        end.parse::<usize>().ok()? + 1
    };
    (start < end && start < total).then_some((start, end.min(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes=3-", 10), Some((3, 10)));
        assert_eq!(parse_range("bytes=3-4", 10), Some((3, 5)));
        assert_eq!(parse_range("bytes=3-99", 10), Some((3, 10)));
        for none in ["bytes=10-", "bytes=4-3", "bytes=-3", "3-4"] {
            assert_eq!(parse_range(none, 10), None, "{none}");
        }
    }
}
