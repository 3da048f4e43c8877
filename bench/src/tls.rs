//! A certificate for loopback, and clients that trust it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::{CipherSuite, ClientConfig, RootCertStore};

/// What a server presents and clients trust.
pub struct Tls {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// For clients.
    pub client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a certificate (ECDSA P-256) and writes it into the directory.
    pub fn new(directory: &Path) -> Result<Arc<Self>> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params
            .subject_alt_names
            .push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let pair = KeyPair::generate()?;
        let own = params.self_signed(&pair)?;
        let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        fs::write(&certificate, own.pem())?;
        fs::write(&key, pair.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone())?;
        let mut provider = rustls::crypto::ring::default_provider();
        // In the order of Go's clients, so that every server chooses as it does for containerd.
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(Self {
            certificate,
            key,
            client: Arc::new(client),
        }))
    }
}
