//! The registry's own port: honest answers, and harm.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::fault::{Asked, Fault, Kind};
use super::http1::{self, Request};
use super::record::Record;
use super::store::Answer;

/// Pieces of a body, so that the record grows while it is being sent.
const PIECE: usize = 64 * 1024;

/// A connection that can also be ended by a reset.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Connection for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Connection for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Whether the connection can take another request.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

/// Accepts for ever.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) -> Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        tokio::spawn(async move {
            match tls {
                // A client that goes away is no event.
                None => drop(converse(stream, &shared).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(converse(stream, &shared).await);
                    }
                }
            }
        });
    }
}

async fn converse(mut stream: impl Connection, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = http1::read(&mut stream, &mut buffer).await? {
        let number = (request.path != "/").then(|| shared.records.begin(record(&request)));
        let mut exchange = Exchange {
            stream: &mut stream,
            shared,
            number,
        };
        let next = exchange.run(&request).await;
        exchange.note(|record| record.ended = true);
        if next? == Next::Close {
            break;
        }
    }
    // TLS says goodbye; plain TCP just ends.
    stream.shutdown().await
}

fn record(request: &Request) -> Record {
    Record {
        at_ms: 0,
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        range: request.header("range").map(str::to_owned),
        agent: request.header("user-agent").map(str::to_owned),
        status: None,
        sent: 0,
        fault: None,
        ended: false,
    }
}

/// One request and its answer.
struct Exchange<'a, C> {
    stream: &'a mut C,
    shared: &'a Shared,
    number: Option<usize>,
}

impl<C: Connection> Exchange<'_, C> {
    async fn run(&mut self, request: &Request) -> io::Result<Next> {
        let mut asked = Asked {
            method: &request.method,
            path: &request.path,
            body: None,
        };
        let early = self.shared.faults().take(&asked);
        if let Some(fault) = early {
            return self.harm(request, &fault, &empty(200)).await;
        }
        if request.path == "/" || request.path == "/v2/" {
            return self.send(request, &ping(), None).await;
        }
        let answer = match self.shared.store.answer(request).await {
            Ok(answer) => cut(answer, request),
            Err(error) => {
                eprintln!("{} {}: {error:#}", request.method, request.path);
                empty(502)
            }
        };
        asked.body = Some(answer.length as u64);
        let late = self.shared.faults().take(&asked);
        match late {
            Some(fault) => self.harm(request, &fault, &answer).await,
            None => self.send(request, &answer, None).await,
        }
    }

    async fn harm(&mut self, request: &Request, fault: &Fault, answer: &Answer) -> io::Result<Next> {
        self.note(|record| record.fault = Some(fault.kind));
        let half = answer.body.slice(..answer.body.len() / 2);
        match fault.kind {
            Kind::Silent => self.hang().await,
            Kind::Status => self.send(request, &empty(fault.status.unwrap_or(503)), None).await,
            Kind::HeadersOnly => {
                self.head(answer).await?;
                self.hang().await
            }
            Kind::HalfStall => {
                self.head(answer).await?;
                self.body(&half, None).await?;
                self.hang().await
            }
            Kind::HalfReset => {
                self.head(answer).await?;
                self.body(&half, None).await?;
                // A reset throws away what the kernel has not sent yet; half of the body is to arrive.
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.stream.tcp().set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Kind::HalfFin => {
                self.head(answer).await?;
                self.body(&half, None).await?;
                Ok(Next::Close)
            }
            Kind::WrongBytes => {
                let mut wrong = answer.body.to_vec();
                let middle = wrong.len() / 2;
                if let Some(byte) = wrong.get_mut(middle) {
                    *byte ^= 0xff;
                }
                self.send(
                    request,
                    &Answer {
                        body: wrong.into(),
                        ..answer.clone()
                    },
                    None,
                )
                .await
            }
            Kind::Trickle => {
                self.send(request, answer, Some(fault.bytes_per_second.unwrap_or(1024)))
                    .await
            }
        }
    }

    async fn send(&mut self, request: &Request, answer: &Answer, speed: Option<u64>) -> io::Result<Next> {
        self.head(answer).await?;
        if request.method != "HEAD" {
            self.body(&answer.body, speed).await?;
        }
        Ok(if request.header("connection") == Some("close") {
            Next::Close
        } else {
            Next::Request
        })
    }

    async fn head(&mut self, answer: &Answer) -> io::Result<()> {
        self.note(|record| record.status = Some(answer.status));
        self.stream
            .write_all(&http1::head(answer.status, &answer.headers, answer.length))
            .await?;
        self.stream.flush().await
    }

    async fn body(&mut self, body: &Bytes, speed: Option<u64>) -> io::Result<()> {
        // A tenth of a second's worth at a time.
        let tenth = speed.map(|speed| usize::try_from(speed / 10).unwrap_or(PIECE).max(1));
        for piece in body.chunks(tenth.unwrap_or(PIECE)) {
            self.stream.write_all(piece).await?;
            self.stream.flush().await?;
            self.note(|record| record.sent += piece.len() as u64);
            if tenth.is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Keeps the connection open until the client gives up.
    async fn hang(&mut self) -> io::Result<Next> {
        let mut waste = [0; 1024];
        while self.stream.read(&mut waste).await? > 0 {}
        Ok(Next::Close)
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        if let Some(number) = self.number {
            self.shared.records.update(number, change);
        }
    }
}

fn empty(status: u16) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        length: 0,
        body: Bytes::new(),
    }
}

fn ping() -> Answer {
    let version = ("Docker-Distribution-Api-Version".to_owned(), "registry/2.0".to_owned());
    let kind = ("Content-Type".to_owned(), "application/json".to_owned());
    Answer {
        status: 200,
        headers: vec![version, kind],
        length: 2,
        body: Bytes::from_static(b"{}"),
    }
}

/// The part of a whole answer that the request's Range asks for.
fn cut(answer: Answer, request: &Request) -> Answer {
    let Some(header) = request
        .header("range")
        .filter(|_| answer.status == 200 && request.method == "GET")
    else {
        return answer;
    };
    let total = answer.body.len();
    let Some((first, end)) = http1::range(header, total) else {
        return empty(416);
    };
    let mut headers = answer.headers;
    headers.push(("Content-Range".to_owned(), format!("bytes {first}-{}/{total}", end - 1)));
    Answer {
        status: 206,
        headers,
        length: end - first,
        body: answer.body.slice(first..end),
    }
}
