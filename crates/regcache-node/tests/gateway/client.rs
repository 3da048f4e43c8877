//! A client as strict as containerd: trusts only the gateway's CA, and tells FIN from RST on the socket below TLS.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cache::{head, header};

/// How a connection or an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All bytes that the headers promised.
    Full,
    /// End of file before: FIN.
    Fin,
    /// `ECONNRESET`.
    Reset,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub ending: Ending,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Client {
    pub fn new(address: SocketAddr, ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address,
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    pub async fn connect(&self) -> std::io::Result<Connection> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::from(self.address.ip());
        Ok(Connection(self.tls.connect(name, tcp).await?))
    }

    /// One request on its own connection.
    pub async fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut connection = self.connect().await.unwrap();
        connection.send(method, target, headers).await;
        connection.answer(method).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[]).await
    }
}

pub struct Connection(pub TlsStream<TcpStream>);

impl Connection {
    pub async fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        for (name, value) in headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text.push_str("\r\n");
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub async fn head(&mut self) -> String {
        head(&mut self.0).await.expect("an answer")
    }

    pub async fn answer(&mut self, method: &str) -> Answer {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let size = match method {
            "HEAD" => 0,
            _ => header(&head, "content-length")
                .expect("a content-length")
                .parse()
                .unwrap(),
        };
        let mut body = Vec::new();
        let ending = self.body(size, &mut body).await;
        Answer {
            status,
            head,
            body,
            ending,
        }
    }

    /// Reads `size` bytes.
    pub async fn body(&mut self, size: usize, body: &mut Vec<u8>) -> Ending {
        let mut buffer = vec![0; 64 * 1024];
        while body.len() < size {
            let room = buffer.len().min(size - body.len());
            match self.0.read(&mut buffer[..room]).await {
                Ok(0) => return Ending::Fin,
                Ok(read) => body.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ending::Reset,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ending::Fin,
                Err(error) => panic!("{error}"),
            }
        }
        Ending::Full
    }

    /// What the socket below TLS says after the end.
    pub async fn socket_end(self) -> Ending {
        let (mut tcp, _) = self.0.into_inner();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match tcp.read(&mut buffer).await {
                Ok(0) => return Ending::Fin,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ending::Reset,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
