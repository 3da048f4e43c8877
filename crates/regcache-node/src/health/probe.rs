//! One small request to a cache over a kept-alive connection: does it answer? To a cache of ours some of them carry
//! the node's report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::observations::Probed;

mod blob;

/// Longer than any way inside a region takes; the gateway's own limit is the same.
const CONNECT: Duration = Duration::from_secs(1);
/// For a whole small answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Time from one telling of the report to the next while it stays the same: several within the 90 s after which a cache
/// forgets a node, and little enough traffic with 64 upstreams in it.
const REPORT_EVERY: Duration = Duration::from_secs(15);
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
    /// The probe blob is another one.
    #[error("the probe blob has wrong bytes")]
    WrongBlob,
    /// The probe blob did not come, or stopped.
    #[error("the probe blob did not come within {} s", .0.as_secs())]
    StalledBlob(Duration),
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
    told: Option<Told>,
}

/// What the cache has been told on this connection. Behind a new one there may be another process, with an empty table.
struct Told {
    report: Arc<HeaderMap>,
    at: Instant,
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
            told: None,
        })
    }

    /// Asks once, and tells `report` when that is due. A kept connection that has been closed meanwhile is no fault of the cache: then a new one counts.
    pub async fn ask(&mut self, report: Option<&Arc<HeaderMap>>) -> Result<(), ProbeError> {
        if let Some(connection) = self.connection.take_if(|connection| !connection.is_closed()) {
            match self.ask_on(connection, report).await {
                Err(ProbeError::Http(_)) => {}
                result => return result,
            }
        }
        let connection = self.connect().await?;
        self.told = None;
        self.ask_on(connection, report).await
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

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
        Request::get(path)
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, concat!("regcache-node/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| ProbeError::Address(self.authority.clone()))
    }

    async fn ask_on(
        &mut self,
        mut connection: SendRequest<Empty<Bytes>>,
        report: Option<&Arc<HeaderMap>>,
    ) -> Result<(), ProbeError> {
        let mut request = self.request("/v2/")?;
        let now = Instant::now();
        let tell = report.filter(|report| is_news(self.told.as_ref(), report, now));
        if let Some(report) = tell {
            request.headers_mut().extend(HeaderMap::clone(report));
        }
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
        if let Some(report) = tell {
            let report = Arc::clone(report);
            self.told = Some(Told { report, at: now });
        }
        Ok(())
    }
}

fn is_news(told: Option<&Told>, report: &HeaderMap, now: Instant) -> bool {
    told.is_none_or(|told| *told.report != *report || now.saturating_duration_since(told.at) >= REPORT_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_told_when_it_is_new_or_the_cache_might_forget_it() {
        let report = |node: &str| {
            let value = node.parse().unwrap();
            Arc::new(HeaderMap::from_iter([(regcache_runtime::probe::NODE, value)]))
        };
        let at = Instant::now();
        assert!(is_news(None, &report("a"), at));
        let told = Told {
            report: report("a"),
            at,
        };
        let later = |seconds| at + Duration::from_secs(seconds);
        assert!(!is_news(Some(&told), &report("a"), later(14)));
        assert!(is_news(Some(&told), &report("b"), later(2)));
        assert!(is_news(Some(&told), &report("a"), later(15)));
    }
}
