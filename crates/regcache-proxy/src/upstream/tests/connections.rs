//! TLS, proxies, and connections that die.

use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::*;

/// A server's side of TLS for 127.0.0.1, HTTP/2 offered, and the authority that vouches for it.
fn identity() -> (TlsAcceptor, Vec<u8>) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), pem.into_bytes())
}

async fn secure() -> (Server, Vec<u8>) {
    let (tls, authority) = identity();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_at(
        address,
        Some(tls),
        |seen| async move { thing_reply(&seen, &content(10)) },
    )
    .await;
    (server, authority)
}

#[tokio::test]
async fn an_upstream_with_an_authority_of_its_own_is_believed_over_http_2() {
    let (server, authority) = secure().await;
    let mut settings = settings(&server.url);
    settings.ca_pem = Some(authority);
    let upstream = upstream(settings);
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    for source in sources(&upstream) {
        drain(source.open(Span::default()).await.unwrap()).await;
    }
    let seen: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| (seen.version, seen.connection))
        .collect();
    let two = Version::HTTP_2;
    assert_eq!(
        seen,
        [(two, 0), (two, 0), (two, 1)],
        "the fresh source does not share the connection"
    );
}

#[tokio::test]
async fn an_upstream_that_nobody_vouches_for_is_not_asked_anything() {
    let (server, _) = secure().await;
    let mut settings = settings(&server.url);
    for authority in [None, Some(identity().1)] {
        settings.ca_pem = authority;
        let error = upstream(settings.clone())
            .manifest(&repository(), &latest(), "")
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable(text) if text.contains("certificate")),
            "{error}"
        );
    }
    assert!(server.seen().is_empty());
}

/// A proxy that opens tunnels, and the first lines of what it was asked.
async fn tunnels() -> (Url, Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let lines = asked.clone();
    let task = tokio::spawn(async move {
        let mut tunnels = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let lines = lines.clone();
            tunnels.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                lines.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                let target = head.split(' ').nth(1).unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, asked, task)
}

#[tokio::test]
async fn tls_goes_through_a_proxy_in_a_tunnel() {
    let (server, authority) = secure().await;
    let (proxy, asked, task) = tunnels().await;
    let mut settings = settings(&server.url);
    settings.ca_pem = Some(authority);
    let expected = format!("CONNECT {} HTTP/1.1", server.address);
    let mut own = settings.clone();
    own.proxy = Some(proxy.clone());
    // The upstream's own one is used whatever the environment says.
    let environment = |name: &str| (name == "no_proxy").then(|| "*".to_owned());
    let by_own = Upstream::with(own, &UpstreamMetrics::default(), environment).unwrap();
    by_own.manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!(*asked.lock().unwrap(), std::slice::from_ref(&expected));
    let environment = |name: &str| (name == "HTTPS_PROXY").then(|| proxy.to_string());
    let by_environment = Upstream::with(settings, &UpstreamMetrics::default(), environment).unwrap();
    by_environment.manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [expected.clone(), expected]);
    task.abort();
}

#[tokio::test]
async fn plain_http_goes_through_a_proxy_by_its_whole_address_unless_it_is_excepted() {
    let proxy = Server::start(|_| async { reply(200, &[], "{}") }).await;
    let server = Server::start(|_| async { reply(200, &[], "{}") }).await;
    let address = proxy.url.to_string();
    let ask = |none: &'static str| {
        let environment = |name: &str| match name {
            "HTTP_PROXY" => Some(address.clone()),
            "NO_PROXY" => Some(none.to_owned()),
            _ => None,
        };
        let upstream = Upstream::with(settings(&server.url), &UpstreamMetrics::default(), environment).unwrap();
        async move { upstream.manifest(&repository(), &latest(), "").await.unwrap() }
    };
    ask("example.com").await;
    assert_eq!(
        proxy.seen()[0].path,
        format!("{}v2/library/a/manifests/latest", server.url)
    );
    assert!(server.seen().is_empty());
    ask("127.0.0.0/8").await;
    ask("127.0.0.1").await;
    assert_eq!((proxy.seen().len(), server.seen().len()), (1, 2));
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_a_request_is_replaced_without_a_word() {
    // The second request of each connection is read and never answered: its connection ends.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await
                .unwrap();
            let _ = stream.read(&mut buffer).await;
        }
    });
    let upstream = upstream(settings(&url));
    for _ in 0..3 {
        upstream.manifest(&repository(), &latest(), "").await.unwrap();
        assert_eq!(upstream.resting(), None);
    }
    task.abort();
}

#[tokio::test]
async fn names_are_resolved_by_ourselves() {
    let server = Server::start(|_| async { reply(200, &[], "{}") }).await;
    let url = format!("http://localhost:{}", server.address.port());
    let upstream = upstream(settings(&url.parse().unwrap()));
    upstream.manifest(&repository(), &latest(), "").await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_question_after_doubts_does_not_queue_on_a_connection_that_hangs() {
    let (tls, authority) = identity();
    let hung = Arc::new(AtomicBool::new(false));
    let is_hung = hung.clone();
    let server = Server::start_at("127.0.0.1:0".parse().unwrap(), Some(tls), move |seen| {
        let hangs = seen.connection == 0 && is_hung.load(Ordering::SeqCst);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            reply(200, &[], "{}")
        }
    })
    .await;
    let mut settings = settings(&server.url);
    settings.ca_pem = Some(authority);
    let upstream = upstream(settings);
    let (repository, latest) = (repository(), latest());
    upstream.manifest(&repository, &latest, "").await.unwrap();
    hung.store(true, Ordering::SeqCst);
    let short = Duration::from_millis(200);
    for _ in 0..2 {
        let asked = tokio::time::timeout(short, upstream.manifest(&repository, &latest, "")).await;
        assert!(asked.is_err(), "all of them go over one connection");
    }
    upstream.doubt();
    upstream.manifest(&repository, &latest, "").await.unwrap();
}
