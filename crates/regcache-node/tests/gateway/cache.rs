//! A cache on a real port that serves one blob and one manifest, and misbehaves as told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use regcache_transfer::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a cache does with every request for content.
#[derive(Clone, Debug)]
pub enum Act {
    Serve,
    /// Serves, and closes the connection that it said to keep.
    ServeAndClose,
    /// Reads the request, says nothing.
    Never,
    /// Headers and so many bytes, then nothing more.
    StallAt(usize),
    /// Headers and so many bytes, then RST.
    ResetAt(usize),
    /// Headers and so many bytes, then FIN.
    EndAt(usize),
    /// One bit of the body is wrong.
    Corrupt,
    /// Only a status, with everything that a client should not see.
    Status(u16),
    /// Stops after so many bytes until told to go on.
    HoldAt(usize, Arc<tokio::sync::Semaphore>),
    /// No ranges.
    Deaf,
}

pub struct Cache {
    pub address: SocketAddr,
    /// Connections accepted.
    pub connections: Arc<AtomicUsize>,
    /// Heads of the requests, as they came.
    pub heard: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cache {
    pub async fn start(content: &Arc<Vec<u8>>, act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let accepted: Arc<AtomicUsize> = Arc::default();
        let (content, log, count) = (content.clone(), heard.clone(), accepted.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection(tcp, content.clone(), act.clone(), log.clone()));
            }
        });
        Self {
            address,
            connections: accepted,
            heard,
            task,
        }
    }

    /// The heads of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// The value of a header in a request's or an answer's head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Everything up to the empty line; `None` at the connection's end.
pub async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn connection(mut tcp: TcpStream, content: Arc<Vec<u8>>, act: Act, heard: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = head(&mut tcp).await {
        heard.lock().unwrap().push(head.clone());
        if answer(&mut tcp, &head, &content, &act).await.is_none() {
            return;
        }
    }
}

/// `None`: the connection is over.
async fn answer(tcp: &mut TcpStream, head: &str, content: &[u8], act: &Act) -> Option<()> {
    let digest = Digest::sha256(content).to_string();
    let target = head.split(' ').nth(1)?;
    let path = target.split('?').next()?;
    let last = path.rsplit('/').next()?;
    match act {
        Act::Never => std::future::pending().await,
        Act::Status(status) => {
            let text = format!(
                "HTTP/1.1 {status} X\r\nWWW-Authenticate: Basic realm=\"x\"\r\nLocation: http://127.0.0.1:1/\r\n\
                 Retry-After: 9\r\nContent-Length: 2\r\n\r\nno"
            );
            tcp.write_all(text.as_bytes()).await.ok()?;
            return Some(());
        }
        _ => {}
    }
    if !(last == digest || last == "tag") {
        let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        return tcp.write_all(text.as_bytes()).await.ok();
    }
    let range = header(head, "range").filter(|_| !matches!(act, Act::Deaf));
    let (first, end) = range.map_or((0, content.len()), |range| {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let end = last
            .parse::<usize>()
            .map_or(content.len(), |last| content.len().min(last + 1));
        (first.parse().unwrap(), end)
    });
    let total = content.len();
    if first > 0 && first >= total {
        let text = format!("HTTP/1.1 416 X\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n");
        return tcp.write_all(text.as_bytes()).await.ok();
    }
    let status = match range {
        None => "200 OK".to_owned(),
        Some(_) => format!(
            "206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}",
            end - 1
        ),
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/vnd.x\r\nDocker-Content-Digest: {digest}\r\n\
         ETag: \"{digest}\"\r\nSet-Cookie: a=b\r\n\r\n",
        end - first
    );
    tcp.write_all(text.as_bytes()).await.ok()?;
    if head.starts_with("HEAD") {
        return Some(());
    }
    let mut bytes = content[first..end].to_vec();
    let stop = |at: usize| at.clamp(first, end) - first;
    match act {
        Act::StallAt(at) => {
            tcp.write_all(&bytes[..stop(*at)]).await.ok()?;
            std::future::pending().await
        }
        Act::ResetAt(at) => {
            tcp.write_all(&bytes[..stop(*at)]).await.ok()?;
            // What was written is lost as well if the other side has not read it yet.
            tcp.set_zero_linger().unwrap();
            None
        }
        Act::EndAt(at) => {
            tcp.write_all(&bytes[..stop(*at)]).await.ok()?;
            None
        }
        Act::HoldAt(at, go) => {
            tcp.write_all(&bytes[..stop(*at)]).await.ok()?;
            go.acquire().await.unwrap().forget();
            tcp.write_all(&bytes[stop(*at)..]).await.ok()
        }
        Act::Corrupt => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            tcp.write_all(&bytes).await.ok()
        }
        Act::ServeAndClose => {
            tcp.write_all(&bytes).await.ok()?;
            None
        }
        _ => tcp.write_all(&bytes).await.ok(),
    }
}
