//! Whom we believe to be an upstream: the well-known authorities, those of this system, and the upstream's own.

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::warn;

use super::settings::SettingsError;

/// The TLS side of one upstream's connections, HTTP/2 preferred.
pub(crate) fn client_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, SettingsError> {
    let roots = match ca_pem {
        None => well_known(),
        Some(pem) => {
            let mut roots = RootCertStore::clone(&well_known());
            add(&mut roots, pem)?;
            Arc::new(roots)
        }
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Read once: what `SSL_CERT_FILE`, `SSL_CERT_DIR` or else the system's usual places hold, and a set of our own, so
/// that an image without any certificate works too.
fn well_known() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            warn!(%error, "some certificates of this system cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    };
    ROOTS.get_or_init(read).clone()
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), SettingsError> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| SettingsError::Certificate(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| SettingsError::Certificate(error.to_string()))?;
    }
    (roots.len() > before).then_some(()).ok_or(SettingsError::NoCertificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_told() {
        assert!(matches!(client_config(Some(b"")), Err(SettingsError::NoCertificate)));
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(client_config(Some(key)), Err(SettingsError::NoCertificate)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            client_config(Some(broken)),
            Err(SettingsError::Certificate(_))
        ));
    }

    #[test]
    fn there_are_authorities_without_any_configuration() {
        assert!(well_known().len() >= webpki_roots::TLS_SERVER_ROOTS.len());
        assert!(client_config(None).is_ok());
    }
}
