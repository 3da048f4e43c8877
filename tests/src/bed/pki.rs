//! The test bed's certificate authority: nodes, caches and tests trust it; it signs the registries that play the
//! internet and each cluster's API server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::paths;

/// An authority whose key lies in a directory.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    key: String,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM certificate.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

impl Authority {
    /// The test bed's own, made at the first use.
    pub fn of_the_bed() -> Result<Self> {
        Self::open(&paths::authority())
    }

    /// The authority in `dir`, made if there is none yet.
    pub fn open(dir: &Path) -> Result<Self> {
        let key_file = dir.join("ca.key");
        if !key_file.exists() {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
            let key = KeyPair::generate()?;
            let certificate = params().self_signed(&key)?;
            fs::write(dir.join("ca.crt"), certificate.pem())?;
            // The key last: its presence says that both are there.
            fs::write(&key_file, key.serialize_pem())?;
        }
        let key = fs::read_to_string(&key_file).with_context(|| format!("read {}", key_file.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            key,
        })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The machine's trusted authorities and this one, in one PEM text.
    pub fn bundle(&self) -> Result<String> {
        let system = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        Ok(system + &fs::read_to_string(self.certificate())?)
    }

    /// Signs a new key for these host names and addresses, as `<stem>.crt` and `<stem>.key` in `dir`.
    pub fn issue(&self, dir: &Path, stem: &str, names: &[&str]) -> Result<Identity> {
        let issuer = Issuer::new(params(), KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        leaf.distinguished_name.push(DnType::CommonName, stem);
        // Authority key identifier: Go finds the issuer by it among several of one name.
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &issuer)?;
        fs::create_dir_all(dir)?;
        let identity = Identity {
            certificate: dir.join(format!("{stem}.crt")),
            key: dir.join(format!("{stem}.key")),
        };
        fs::write(&identity.certificate, certificate.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

/// The authority's parameters: always the same, so that an issuer can be made again from the key alone.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "regcache test bed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

/// Writes a key pair for service account tokens: `sa.key`, `sa.pub`.
pub fn write_service_account_keys(dir: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    fs::write(dir.join("sa.key"), key.serialize_pem())?;
    fs::write(dir.join("sa.pub"), key.public_key_pem())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

    use super::*;

    /// A handshake in memory is the proof that clients will believe the certificate.
    fn handshake(authority: &Path, identity: &Identity, name: &str) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
            )?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
        let mut server = rustls::ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn certificates_of_a_reopened_authority_are_believed_for_their_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path()).unwrap();
        let again = Authority::open(dir.path()).unwrap();
        let identity = again
            .issue(dir.path(), "images", &["images.test", "10.77.0.200"])
            .unwrap();
        handshake(&first.certificate(), &identity, "images.test").unwrap();
        handshake(&first.certificate(), &identity, "10.77.0.200").unwrap();
        assert!(handshake(&first.certificate(), &identity, "other.test").is_err());
    }
}
