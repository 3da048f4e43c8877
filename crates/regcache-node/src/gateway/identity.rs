//! The gateway's certificate: made at start, kept in memory, believed by whoever reads our `hosts.toml` and nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;

/// A certificate for `127.0.0.1` and `::1` with its key, and the CA that containerd is told to trust for it.
#[derive(Clone, Debug)]
pub struct LoopbackIdentity {
    /// The CA's certificate, for `ca` in hosts.toml. Its key is gone: it has signed this one certificate only.
    pub ca_pem: String,
    /// TLS with that certificate, HTTP/1.1 only.
    pub server_config: Arc<ServerConfig>,
}

/// No certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Key or certificate.
    #[error("cannot make the gateway's certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS settings were refused.
    #[error("cannot use the gateway's certificate")]
    Tls(#[from] rustls::Error),
}

impl LoopbackIdentity {
    /// Makes a new CA, key and certificate.
    pub fn generate() -> Result<Self, IdentityError> {
        // Validity stays at its widest (1975 to 4096): the key lives as long as the process, and a node whose clock is
        // wrong must still pull.
        let mut ca = CertificateParams::default();
        ca.distinguished_name
            .push(DnType::CommonName, "regcache loopback gateway CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let mut leaf = CertificateParams::default();
        leaf.distinguished_name
            .push(DnType::CommonName, "regcache loopback gateway");
        leaf.subject_alt_names = vec![
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&leaf_key, &issuer)?;

        let key = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem,
            server_config: Arc::new(config),
        })
    }
}
