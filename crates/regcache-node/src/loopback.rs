//! A real request to the gateway as containerd makes it: TLS on loopback, trusting this run's CA alone.
//!
//! Blocking, so that the liveness probe is a small program without a runtime.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::gateway::LIVE_PATH;

/// Why the gateway did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// The CA is not one.
    #[error("the gateway's CA cannot be used")]
    Ca(#[source] rustls::Error),
    /// The CA is not PEM.
    #[error("the gateway's CA is not PEM")]
    Pem,
    /// Nobody listens, or no answer in time, or somebody else's certificate.
    #[error("the gateway on {address} does not answer within {} ms", .limit.as_millis())]
    Io {
        /// Where it should be.
        address: SocketAddr,
        /// How long was waited at most.
        limit: Duration,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// It answered something else.
    #[error("the gateway answered {0:?} instead of a success")]
    Answer(String),
}

/// Asks the gateway on `port`; `limit` is for the whole of it.
pub fn check(port: u16, ca_pem: &str, limit: Duration) -> Result<(), LoopbackError> {
    let config = client_config(ca_pem)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let status = ask(address, config, limit).map_err(|source| LoopbackError::Io { address, limit, source })?;
    if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
        Ok(())
    } else {
        Err(LoopbackError::Answer(status))
    }
}

fn client_config(ca_pem: &str) -> Result<Arc<ClientConfig>, LoopbackError> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|_| LoopbackError::Pem)?;
    roots.add(certificate).map_err(LoopbackError::Ca)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(LoopbackError::Ca)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn ask(address: SocketAddr, config: Arc<ClientConfig>, limit: Duration) -> io::Result<String> {
    let end = Instant::now() + limit;
    let socket = TcpStream::connect_timeout(&address, limit)?;
    let name = ServerName::IpAddress(IpAddr::from(address.ip()));
    let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, Limited { socket, end });
    write!(
        stream,
        "GET {LIVE_PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    stream.flush()?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    Ok(status.trim_end().to_owned())
}

/// A socket whose every call ends when the time for all of them is over.
struct Limited {
    socket: TcpStream,
    end: Instant,
}

impl Limited {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl io::Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl io::Write for Limited {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca() -> String {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    }

    #[test]
    fn somebody_who_accepts_and_says_nothing_is_given_up_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let begin = Instant::now();
        let error = check(listener.local_addr().unwrap().port(), &ca(), Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, LoopbackError::Io { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn nobody_there_and_no_ca_are_errors() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert!(matches!(
            check(port, &ca(), Duration::from_secs(1)),
            Err(LoopbackError::Io { .. })
        ));
        assert!(matches!(
            check(port, "nonsense", Duration::from_secs(1)),
            Err(LoopbackError::Pem)
        ));
    }
}
