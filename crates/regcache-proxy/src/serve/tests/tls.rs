//! Certificates, HTTP/2.

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::{PemFiles, server_config};

/// An authority, a server and a client that it knows.
pub(super) struct Certificates {
    ca: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        Self {
            server: leaf("localhost"),
            client: leaf("client"),
            ca: ca.pem(),
        }
    }

    pub(super) fn pem(&self, client_ca: bool) -> PemFiles {
        PemFiles {
            certificate: self.server.0.clone().into_bytes(),
            key: self.server.1.clone().into_bytes(),
            client_ca: client_ca.then(|| self.ca.clone().into_bytes()),
        }
    }

    pub(super) fn server(&self, client_ca: bool) -> Arc<ServerConfig> {
        server_config(&self.pem(client_ca)).unwrap()
    }

    fn client(&self, certificate: bool, alpn: &[&[u8]]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if certificate {
            let chain = vec![CertificateDer::from_pem_slice(self.client.0.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(self.client.1.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

pub(super) async fn connect_tls(
    server: &Server,
    certificates: &Certificates,
    certificate: bool,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(certificates.client(certificate, alpn)));
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, server.connect().await).await
}

#[tokio::test]
async fn certificate_is_swapped_while_connections_live() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let server = Server::start(Limits::default(), Some(old.server(false)), |_| ok("ok")).await;
    let mut before = connect_tls(&server, &old, false, &[]).await.unwrap();
    get(&mut before, "/").await;
    server.tls.store(Some(new.server(false)));
    get(&mut before, "/").await;
    assert!(connect_tls(&server, &old, false, &[]).await.is_err());
    let mut after = connect_tls(&server, &new, false, &[]).await.unwrap();
    get(&mut after, "/").await;
    server.tls.store(None);
    get(&mut server.connect().await, "/").await;
}

#[test]
fn bad_certificates_are_refused_by_name() {
    let (one, other) = (Certificates::new(), Certificates::new());
    let with = |change: fn(&mut PemFiles, &Certificates)| {
        let mut files = one.pem(true);
        change(&mut files, &other);
        server_config(&files).unwrap_err().to_string()
    };
    assert!(with(|files, _| files.certificate = b"x".to_vec()).starts_with("tls.certificate:"));
    assert!(with(|files, _| files.key = b"".to_vec()).starts_with("tls.key:"));
    assert!(with(|files, other| files.key = other.pem(false).key).starts_with("tls.key: not the key of"));
    assert!(with(|files, _| files.client_ca = Some(b"x".to_vec())).starts_with("tls.clientCA:"));
}

#[tokio::test]
async fn client_without_certificate_is_refused_in_the_handshake() {
    let certificates = Certificates::new();
    let server = Server::start(Limits::default(), Some(certificates.server(true)), |_| ok("ok")).await;
    let mut known = connect_tls(&server, &certificates, true, &[]).await.unwrap();
    get(&mut known, "/").await;
    // TLS 1.3 tells a client after its own part is done.
    let refused = match connect_tls(&server, &certificates, false, &[]).await {
        Err(error) => error,
        Ok(mut stream) => stream.read(&mut [0; 1]).await.unwrap_err(),
    };
    assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
}

async fn http2(server: &Server, certificates: &Certificates) -> http2::SendRequest<Empty<Bytes>> {
    let stream = connect_tls(server, certificates, false, &[b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("https://localhost{path}");
    Request::builder().method(method).uri(uri).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn http2_streams_end_early_and_the_connection_goes_on() {
    let (stored, content) = file(300_000);
    let certificates = Certificates::new();
    let server = Server::start(Limits::default(), Some(certificates.server(false)), move |request| {
        let (file, len) = (Arc::clone(&stored), 300_000);
        let whole = Ok(Piece::File { file, offset: 0, len });
        match request.uri().path() {
            "/whole" => pieces(len, vec![whole]),
            // Without a length, since a client's library may check it and call that a reset.
            _ => Response::new(Body::Pieces(stream::iter([whole, Err(ShortEnd)]).boxed())),
        }
    })
    .await;
    let mut sender = http2(&server, &certificates).await;
    let short = sender.send_request(request("GET", "/short")).await.unwrap();
    // An RST_STREAM would be an error here.
    assert!(short.into_body().collect().await.unwrap().to_bytes() == content);
    let whole = sender.send_request(request("GET", "/whole")).await.unwrap();
    assert!(whole.into_body().collect().await.unwrap().to_bytes() == content);
    let head = sender.send_request(request("HEAD", "/whole")).await.unwrap();
    assert_eq!(head.headers()["content-length"], "300000");
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn http2_bodies_that_outlast_the_grace_period_end_their_streams() {
    let certificates = Certificates::new();
    let limits = Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start(limits, Some(certificates.server(false)), |_| {
        let first = stream::iter([Ok(Piece::Bytes(Bytes::from_static(b"abc")))]);
        Response::new(Body::Pieces(first.chain(stream::pending()).boxed()))
    })
    .await;
    let mut sender = http2(&server, &certificates).await;
    let answer = sender.send_request(request("GET", "/")).await.unwrap();
    server.shutdown.cancel();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "abc");
    server.task.await.unwrap();
}

#[tokio::test]
async fn idle_http2_connection_is_ended() {
    let certificates = Certificates::new();
    let limits = Limits {
        idle: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start(limits, Some(certificates.server(false)), |_| ok("ok")).await;
    let mut sender = http2(&server, &certificates).await;
    sender.send_request(request("GET", "/")).await.unwrap();
    server.quiet().await;
    assert!(sender.is_closed());
}

#[tokio::test]
async fn http2_client_that_takes_nothing_any_more_is_ended() {
    const LEN: u64 = 8 * 1024 * 1024;
    let (stored, _) = file(8 * 1024 * 1024);
    let certificates = Certificates::new();
    let limits = Limits {
        stalled: Duration::from_millis(100),
        grace: Duration::from_millis(50),
        linger: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start(limits, Some(certificates.server(false)), move |_| {
        let file = Arc::clone(&stored);
        pieces(
            LEN,
            vec![Ok(Piece::File {
                file,
                offset: 0,
                len: LEN,
            })],
        )
    })
    .await;
    let mut sender = http2(&server, &certificates).await;
    let unread = sender.send_request(request("GET", "/")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), server.quiet())
        .await
        .unwrap();
    drop(unread);
}
