//! The few settings of distribution's configuration file that matter here; all others are passed over.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

/// distribution's `config.yml`.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Whose cache it is.
    pub proxy: Proxy,
    /// Where it listens.
    #[serde(default)]
    pub http: Http,
}

/// `proxy`.
#[derive(Debug, Deserialize)]
pub struct Proxy {
    /// `https://images.test`.
    pub remoteurl: String,
}

/// `http`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Http {
    /// `:5000`.
    pub addr: String,
    /// Its own port, where the faults are set.
    pub debug: Debug,
    /// With a certificate it speaks TLS, and can play an upstream.
    pub tls: Tls,
}

/// `http.debug`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Debug {
    /// `:5001`.
    pub addr: String,
}

/// `http.tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// PEM certificate.
    pub certificate: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: ":5000".to_owned(),
            debug: Debug::default(),
            tls: Tls::default(),
        }
    }
}

impl Default for Debug {
    fn default() -> Self {
        Self {
            addr: ":5001".to_owned(),
        }
    }
}

impl Config {
    /// Reads the YAML text.
    pub fn parse(text: &str) -> Result<Self> {
        serde_yaml::from_str(text).context("configuration")
    }

    /// What does the TLS handshakes; none for plain HTTP.
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>> {
        let (Some(certificate), Some(key)) = (&self.http.tls.certificate, &self.http.tls.key) else {
            return Ok(None);
        };
        let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_written_for_distribution_is_understood() {
        let config = Config::parse(
            "version: 0.1
log: {accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ':5000', draintimeout: 20s, debug: {addr: ':5001', prometheus: {enabled: true}}}
proxy: {remoteurl: 'https://images.test', ttl: 168h}
",
        )
        .unwrap();
        assert_eq!(config.proxy.remoteurl, "https://images.test");
        assert_eq!(
            (config.http.addr.as_str(), config.http.debug.addr.as_str()),
            (":5000", ":5001")
        );
        assert!(config.acceptor().unwrap().is_none());
    }
}
