//! What one upstream is, as configured.

use std::fmt;
use std::sync::Arc;

use url::Url;

/// All there is to know about one upstream. Equal settings make equal clients.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The registry as image names spell it.
    pub host: Arc<str>,
    /// Where it is: `http` or `https`, a path is kept in front of `/v2/`.
    pub url: Url,
    /// `None`: anonymous.
    pub credentials: Option<Credentials>,
    /// Certificates to trust beside the well-known ones, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Hosts (`host` or `host:port`) outside the upstream's own site that may give out its tokens.
    pub realm_hosts: Vec<String>,
    /// The proxy for everything of this upstream; `None`: what the environment says.
    pub proxy: Option<Url>,
    /// How many blobs may be fetched at once; 0 counts as 1.
    pub max_transfers: usize,
}

impl Settings {
    /// The address that ends in `/v2/`.
    pub(crate) fn base(&self) -> Result<Url, SettingsError> {
        let url = &self.url;
        let anonymous = url.username().is_empty() && url.password().is_none();
        let plain = anonymous && url.query().is_none() && url.fragment().is_none();
        if !plain || !url.has_host() || !matches!(url.scheme(), "http" | "https") {
            return Err(SettingsError::Url);
        }
        let mut base = url.clone();
        base.set_path(&format!("{}/v2/", url.path().trim_end_matches('/')));
        Ok(base)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses may hold a password.
        let proxy = self.proxy.as_ref().and_then(Url::host_str);
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("at", &self.url.host_str())
            .field("credentials", &self.credentials)
            .field("ca", &self.ca_pem.is_some())
            .field("realm_hosts", &self.realm_hosts)
            .field("proxy", &proxy)
            .field("max_transfers", &self.max_transfers)
            .finish()
    }
}

/// Who we are to the upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Goes to the upstream and its token server only.
    pub username: String,
    /// Likewise.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

/// No client can be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an address that a registry can have.
    #[error("the upstream's address has to be http:// or https:// with a host, and no user, query or fragment")]
    Url,
    /// No certificate in what should be some.
    #[error("the CA file of the upstream holds no certificate in PEM")]
    NoCertificate,
    /// A certificate that cannot be read.
    #[error("the CA file of the upstream holds something that is no certificate: {0}")]
    Certificate(String),
    /// Not an address that a proxy can have.
    #[error("the proxy's address is not usable: {0}")]
    Proxy(String),
    /// The client could not be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings(url: &str) -> Settings {
        Settings {
            host: "a.io".into(),
            url: url.parse().unwrap(),
            credentials: Some(Credentials {
                username: "user".into(),
                password: "secret".into(),
            }),
            ca_pem: None,
            realm_hosts: Vec::new(),
            proxy: Some("http://u:secret@proxy:3128".parse().unwrap()),
            max_transfers: 1,
        }
    }

    #[rstest]
    #[case("https://a.io", Some("https://a.io/v2/"))]
    #[case("http://a.io:5000/", Some("http://a.io:5000/v2/"))]
    #[case("https://a.io/some/path/", Some("https://a.io/some/path/v2/"))]
    #[case("https://user@a.io", None)]
    #[case("https://a.io?x", None)]
    #[case("https://a.io#x", None)]
    #[case("ftp://a.io", None)]
    #[case("unix:/run/a", None)]
    fn a_registry_has_a_plain_address(#[case] url: &str, #[case] expected: Option<&str>) {
        assert_eq!(settings(url).base().ok().as_ref().map(Url::as_str), expected);
    }

    #[test]
    fn settings_do_not_show_what_is_secret() {
        let text = format!("{:?}", settings("https://a.io"));
        assert!(
            text.contains("a.io") && text.contains("proxy") && !text.contains("secret"),
            "{text}"
        );
    }
}
