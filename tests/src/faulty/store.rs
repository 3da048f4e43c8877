//! Honest answers: from memory, or from upstream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http1::Request;

/// The headers of upstream that clients need.
const KEPT: [&str; 5] = [
    "content-type",
    "docker-content-digest",
    "etag",
    "accept-ranges",
    "docker-distribution-api-version",
];

/// An upstream's answer, complete.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Those of `KEPT`.
    pub headers: Vec<(String, String)>,
    /// Size of the body; of a HEAD's answer the size that a GET would have.
    pub length: usize,
    /// Empty for HEAD.
    pub body: Bytes,
}

/// One upstream and what was got from it.
pub struct Store {
    upstream: Uri,
    tls: Option<TlsConnector>,
    /// Answers to GETs of digests, by path.
    kept: Mutex<HashMap<String, Answer>>,
}

impl Store {
    /// For an upstream like `https://images.test`.
    pub fn new(upstream: &str) -> Result<Self> {
        let upstream: Uri = upstream
            .parse()
            .with_context(|| format!("proxy.remoteurl {upstream:?}"))?;
        let tls = if upstream.scheme_str() == Some("https") {
            Some(connector()?)
        } else {
            None
        };
        Ok(Self {
            upstream,
            tls,
            kept: Mutex::default(),
        })
    }

    /// The honest answer to a request.
    pub async fn answer(&self, request: &Request) -> Result<Answer> {
        let by_digest = request.path.contains("/sha256:");
        if by_digest {
            let kept = self
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&request.path)
                .cloned();
            if let Some(answer) = kept {
                return Ok(answer);
            }
        }
        let answer = self.fetch(request).await?;
        if by_digest && request.method == "GET" && answer.status == 200 {
            self.kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(request.path.clone(), answer.clone());
        }
        Ok(answer)
    }

    async fn fetch(&self, request: &Request) -> Result<Answer> {
        let host = self.upstream.host().context("upstream has no host")?;
        let port = self
            .upstream
            .port_u16()
            .unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let address: SocketAddr = tokio::net::lookup_host((host, port))
            .await?
            .next()
            .with_context(|| format!("no address of {host}"))?;
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {host}"))?;
        let mut sender = if let Some(tls) = &self.tls {
            let stream = tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        };
        let mut wanted = http::Request::builder()
            .method(request.method.as_str())
            .uri(&request.path)
            .header("host", host);
        if let Some(accept) = request.joined("accept") {
            wanted = wanted.header("accept", accept);
        }
        let response = sender
            .send_request(
                wanted
                    .header("user-agent", "faulty-registry")
                    .body(Empty::<Bytes>::new())?,
            )
            .await?;
        let (parts, body) = response.into_parts();
        let headers = KEPT
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), parts.headers.get(*name)?.to_str().ok()?.to_owned())))
            .collect();
        let stated = parts
            .headers
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = body.collect().await?.to_bytes();
        let length = if body.is_empty() {
            stated.unwrap_or(0)
        } else {
            body.len()
        };
        Ok(Answer {
            status: parts.status.as_u16(),
            headers,
            length,
            body,
        })
    }
}

/// TLS that believes the authorities of the image it runs in.
fn connector() -> Result<TlsConnector> {
    let file = std::env::var_os("SSL_CERT_FILE")
        .map_or_else(|| PathBuf::from("/etc/ssl/certs/ca-certificates.crt"), PathBuf::from);
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&file).with_context(|| format!("read {}", file.display()))?;
    roots.add_parsable_certificates(certificates.flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
