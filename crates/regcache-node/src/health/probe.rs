//! One small request to a cache over a kept-alive connection: does it answer?

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::observations::Probed;

/// Longer than any way inside a region takes; the gateway's own limit is the same.
const CONNECT: Duration = Duration::from_secs(1);
/// For a whole small answer.
const ANSWER: Duration = Duration::from_secs(2);
/// More than any answer to a probe needs.
const MAX_BODY: usize = 64 * 1024;

/// Why a cache did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The plan's address is not one.
    #[error("{0:?} is not an address like http://10.96.0.17:5000")]
    Address(String),
    /// Nobody listens.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// No connection, or no answer, in time.
    #[error("no {what} within {} s", .limit.as_secs())]
    TimeOut {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The connection broke.
    #[error("connection broke")]
    Http(#[from] hyper::Error),
    /// It answered, but not with success.
    #[error("answered with status {0}")]
    Status(u16),
    /// Its answer was far longer than a probe's is.
    #[error("unreadable answer")]
    Body,
}

impl ProbeError {
    /// What it says of the cache.
    pub fn probed(&self) -> Probed {
        match self {
            Self::TimeOut { .. } => Probed::Late,
            _ => Probed::Gone,
        }
    }
}

/// A cache's address and the connection kept to it.
pub struct Probe {
    authority: String,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Probe {
    /// `url` is a base address without path, `http` only.
    pub fn new(url: &str) -> Result<Self, ProbeError> {
        let bad = || ProbeError::Address(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| bad())?;
        let authority = uri
            .authority()
            .filter(|_| uri.scheme_str() == Some("http"))
            .ok_or_else(bad)?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            connection: None,
        })
    }

    /// Asks once. A kept connection that has been closed meanwhile is no fault of the cache: then a new one counts.
    pub async fn ask(&mut self) -> Result<(), ProbeError> {
        if let Some(connection) = self.connection.take_if(|connection| !connection.is_closed()) {
            match self.ask_on(connection).await {
                Err(ProbeError::Http(_)) => {}
                result => return result,
            }
        }
        let connection = self.connect().await?;
        self.ask_on(connection).await
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ProbeError> {
        let (what, limit) = ("connection", CONNECT);
        let stream = timeout(limit, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| ProbeError::TimeOut { what, limit })?
            .map_err(ProbeError::Connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; its errors reach the sender too.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn ask_on(&mut self, mut connection: SendRequest<Empty<Bytes>>) -> Result<(), ProbeError> {
        let request = Request::get("/v2/")
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, concat!("regcache-node/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| ProbeError::Address(self.authority.clone()))?;
        let exchange = async {
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_BODY);
            body.collect().await.map_err(|_| ProbeError::Body)?;
            if status.is_success() {
                Ok(connection)
            } else {
                Err(ProbeError::Status(status.as_u16()))
            }
        };
        let (what, limit) = ("answer", ANSWER);
        let connection = timeout(limit, exchange)
            .await
            .map_err(|_| ProbeError::TimeOut { what, limit })??;
        self.connection = Some(connection);
        Ok(())
    }
}
