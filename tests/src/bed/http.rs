//! HTTP from inside a cluster's network, for tests: a thread that enters the network namespace, and a small client.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::{Cluster, names, pki};

/// Runs `work` on a thread of its own inside the network namespace. This process as a whole stays where it is.
pub fn in_netns<T: Send + 'static>(netns: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let file = File::open(format!("/run/netns/{netns}")).with_context(|| format!("network namespace {netns}"))?;
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    });
    thread
        .join()
        .map_err(|_| anyhow!("a thread in network namespace panicked"))?
}

/// The same for a future, on a runtime of its own.
pub fn block_on_in_netns<T, F>(netns: &str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    in_netns(netns, move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(work)
    })
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One kept-alive connection to a server.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Plain HTTP to an address.
    pub async fn plain(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        Self::over(stream, address.to_string()).await
    }

    /// HTTPS to an address, believing the authority in a PEM file.
    pub async fn tls(address: SocketAddr, host: &str, authority: &Path) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        let name = ServerName::try_from(host.to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Self::over(stream, host.to_owned()).await
    }

    async fn over<S>(stream: S, host: String) -> Result<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; what goes wrong shows in the request.
        tokio::spawn(connection);
        Ok(Self { sender, host })
    }

    /// Sends a request to a path and reads the whole answer.
    pub async fn send(&mut self, method: Method, path: &str, kind: Option<&str>, body: Bytes) -> Result<Response> {
        let mut request = Request::builder().method(method).uri(path).header("Host", &self.host);
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

impl Cluster {
    /// One request from inside the cluster's network: pods and services by address, the internet by name.
    pub fn http(&self, method: &str, url: &str, body: &str) -> Result<Response> {
        let uri: Uri = url.parse().with_context(|| format!("address {url}"))?;
        let method: Method = method.parse()?;
        let body = Bytes::from(body.to_owned());
        let authority = pki::Authority::of_the_bed()?.certificate();
        block_on_in_netns(&names::cluster_netns(&self.spec().name), async move {
            let host = uri.host().context("no host in the address")?;
            let is_tls = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
            let known = names::INTERNET
                .iter()
                .find(|(name, _)| *name == host)
                .map_or(host, |(_, address)| address);
            let address = SocketAddr::new(known.parse().with_context(|| format!("address of {host}"))?, port);
            let mut connection = if is_tls {
                Connection::tls(address, host, &authority).await?
            } else {
                Connection::plain(address).await?
            };
            let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            connection.send(method, path, None, body).await
        })
    }

    /// The body of a GET that must succeed.
    pub fn http_get(&self, url: &str) -> Result<String> {
        let response = self.http("GET", url, "")?;
        if response.status != 200 {
            bail!("GET {url}: {} {}", response.status, response.text());
        }
        Ok(response.text())
    }
}
