//! One connection of a client, plain or TLS, and bodies read from it by the large piece.

use std::io;

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use rustix::net::RecvFlags;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::http1::Head;
use crate::image::MANIFEST;

/// At most so much is read at a time.
const READ: usize = 256 << 10;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A kept-alive connection.
pub struct Connection {
    stream: Stream,
    /// What was read beyond the head.
    buffer: BytesMut,
    host: String,
    /// The server said that this answer is the last.
    pub ends: bool,
}

/// The length of an answer's body; every answer here has one.
pub fn length(answer: &Head) -> Result<u64> {
    let length = answer
        .field("content-length")
        .context("an answer without Content-Length")?;
    Ok(length.parse()?)
}

/// The digest in the spelling of manifests.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Connection {
    /// Connects, with TLS's handshake if there is to be one.
    pub async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = match &target.tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let name = rustls_pki_types::ServerName::from(target.address.ip());
                let connector = TlsConnector::from(config.clone());
                Stream::Tls(Box::new(connector.connect(name, stream).await.context("TLS")?))
            }
        };
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
            host: target.address.to_string(),
            ends: false,
        })
    }

    /// Sends a request and reads the answer's head.
    pub async fn ask(&mut self, method: &str, path: &str) -> Result<Head> {
        let host = &self.host;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: containerd/2.4.2\r\nAccept: {MANIFEST}, */*\r\n\r\n"
        );
        let head = match &mut self.stream {
            Stream::Plain(stream) => {
                stream.write_all(request.as_bytes()).await?;
                Head::read(stream, &mut self.buffer).await?
            }
            Stream::Tls(stream) => {
                stream.write_all(request.as_bytes()).await?;
                stream.flush().await?;
                Head::read(stream, &mut self.buffer).await?
            }
        };
        let head = head.context("closed instead of an answer")?;
        self.ends = head.closes();
        Ok(head)
    }

    /// The body that follows, in memory.
    pub async fn whole(&mut self, length: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(length)?;
        while self.buffer.len() < length {
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await?,
                Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await?,
            };
            ensure!(read > 0, "a body that ends short");
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    /// The body that follows, in pieces.
    pub fn body(&mut self, length: u64, checks: bool) -> Body<'_> {
        let room = usize::try_from(length).unwrap_or(READ).min(READ);
        Body {
            connection: self,
            left: length,
            hasher: checks.then(Sha256::new),
            room: vec![0; room],
        }
    }
}

/// A body under way.
pub struct Body<'c> {
    connection: &'c mut Connection,
    left: u64,
    hasher: Option<Sha256>,
    room: Vec<u8>,
}

impl Body<'_> {
    /// Takes the next bytes and says how many they were; None at the end.
    pub async fn next(&mut self) -> Result<Option<u64>> {
        if self.left == 0 {
            return Ok(None);
        }
        let buffered = &mut self.connection.buffer;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let taken = if buffered.is_empty() {
            let most = most.min(self.room.len());
            let room = self.room.get_mut(..most).unwrap_or_default();
            let read = match (&mut self.connection.stream, &self.hasher) {
                (Stream::Plain(stream), None) => discard(stream, room).await,
                (Stream::Plain(stream), Some(_)) => stream.read(room).await,
                (Stream::Tls(stream), _) => stream.read(room).await,
            };
            let read = read.context("in the middle of a body")?;
            ensure!(read > 0, "a body that ends {} bytes short", self.left);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(room.get(..read).unwrap_or_default());
            }
            read
        } else {
            let piece = buffered.split_to(buffered.len().min(most));
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&piece);
            }
            piece.len()
        };
        self.left -= taken as u64;
        Ok(Some(taken as u64))
    }

    /// What the body's digest is, for a client that checks.
    pub fn digest(self) -> Option<String> {
        self.hasher
            .map(|hasher| format!("sha256:{}", hex::encode(hasher.finalize())))
    }
}

/// Throws away what has arrived, without copying it out of the kernel.
async fn discard(stream: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    stream
        .async_io(Interest::READABLE, || {
            let (_, discarded) = rustix::net::recv(stream, &mut *room, RecvFlags::TRUNC)?;
            Ok(discarded)
        })
        .await
}
