//! PEM files into what rustls serves with.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::PemFiles;

/// Certificate, key and authorities do not make a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in PEM.
    #[error("tls.certificate: no certificate in PEM in it")]
    Certificate,
    /// No private key in PEM.
    #[error("tls.key: no private key in PEM in it")]
    Key,
    /// They do not belong together, or are of a kind that is not supported.
    #[error("tls.key: not the key of tls.certificate, or of a kind that is not supported")]
    Mismatch(#[source] rustls::Error),
    /// No authority in PEM.
    #[error("tls.clientCA: no usable certificate in PEM in it")]
    ClientCa,
    /// The library has no way to serve like this.
    #[error("tls: cannot be served")]
    Protocol(#[source] rustls::Error),
}

/// A server with this certificate, which asks every client for one when there is a client CA. HTTP/2 is offered.
///
/// # Errors
/// Names the field whose file cannot be used.
pub fn server_config(files: &PemFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.certificate).ok_or(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::Key)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).ok_or(TlsError::ClientCa)? {
                roots.add(authority).map_err(|_| TlsError::ClientCa)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|_| TlsError::ClientCa)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// All certificates in a PEM file; `None` when there are none or one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    (!certificates.is_empty()).then_some(certificates)
}
