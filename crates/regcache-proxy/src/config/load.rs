//! Reads the files that a configuration names: certificates, authorities, credentials.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Config, CredentialFiles, TlsFiles, UpstreamConfig};

/// The largest file that is read, bytes; a bundle of all public authorities is a quarter of it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// A configuration with the contents of all files that it names. Two that are equal mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What was asked for.
    pub config: Config,
    /// The contents of `config.tls`.
    pub tls: Option<PemFiles>,
    /// `config.upstreams` in their order.
    pub upstreams: Vec<LoadedUpstream>,
}

/// The contents of [`TlsFiles`].
#[derive(Clone, PartialEq, Eq)]
pub struct PemFiles {
    /// PEM, the leaf first.
    pub certificate: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
    /// PEM.
    pub client_ca: Option<Vec<u8>>,
}

/// A registry with its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedUpstream {
    /// What was asked for.
    pub config: UpstreamConfig,
    /// `None`: anonymous.
    pub login: Option<Login>,
    /// PEM.
    pub ca_pem: Option<Vec<u8>>,
}

/// User name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub username: String,
    /// Never shown.
    pub password: String,
}

/// A file that the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{field}: cannot read {}", path.display())]
    Read {
        /// The field that names it.
        field: String,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has not what it should. Never repeats the content.
    #[error("{field}: {} {problem}", path.display())]
    Content {
        /// The field that names it.
        field: String,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads all files that `config` names.
///
/// # Errors
/// Names the first file that cannot be used, and the field that names it.
pub fn load(config: Config) -> Result<Loaded, LoadError> {
    let tls = config.tls.as_ref().map(pem_files).transpose()?;
    let upstreams = config.upstreams.iter().enumerate();
    let upstreams = upstreams
        .map(|(index, upstream)| {
            let field = |name: &str| format!("upstreams[{index}].{name}");
            let login = upstream.credentials.as_ref();
            let login = login.map(|files| login_of(&upstream.host, files, &field("credentials")));
            let ca = upstream.ca.as_ref();
            Ok(LoadedUpstream {
                login: login.transpose()?,
                ca_pem: ca.map(|path| read(path, &field("ca"))).transpose()?,
                config: upstream.clone(),
            })
        })
        .collect::<Result<_, LoadError>>()?;
    Ok(Loaded { config, tls, upstreams })
}

fn pem_files(files: &TlsFiles) -> Result<PemFiles, LoadError> {
    let client_ca = files.client_ca.as_ref();
    Ok(PemFiles {
        certificate: read(&files.certificate, "tls.certificate")?,
        key: read(&files.key, "tls.key")?,
        client_ca: client_ca.map(|path| read(path, "tls.clientCA")).transpose()?,
    })
}

fn login_of(host: &str, files: &CredentialFiles, field: &str) -> Result<Login, LoadError> {
    match files {
        CredentialFiles::Pair { username, password } => Ok(Login {
            username: line(username, &format!("{field}.usernameFile"))?,
            password: line(password, &format!("{field}.passwordFile"))?,
        }),
        CredentialFiles::DockerConfig(path) => {
            let field = format!("{field}.dockerConfigFile");
            let content = read(path, &field)?;
            docker_login(&content, host).map_err(|problem| LoadError::Content {
                field,
                path: path.clone(),
                problem,
            })
        }
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// The login for `host` in a docker `config.json`.
fn docker_login(content: &[u8], host: &str) -> Result<Login, String> {
    // The parser's own message could repeat a part of the file.
    let config: DockerConfig = serde_json::from_slice(content).map_err(|_| "is not a docker config.json".to_owned())?;
    let name = |key: &str| {
        let key = key
            .strip_prefix("https://")
            .or_else(|| key.strip_prefix("http://"))
            .unwrap_or(key);
        key.split('/').next().unwrap_or(key).to_owned()
    };
    let fits = |key: &str| match name(key).as_str() {
        // As `docker login` has always written Docker Hub.
        "index.docker.io" | "registry-1.docker.io" => host == "docker.io",
        name => name == host,
    };
    let exact = config.auths.get(host);
    let auth = exact.or_else(|| config.auths.iter().find(|(key, _)| fits(key)).map(|(_, auth)| auth));
    let auth = auth.ok_or_else(|| format!("has no auths entry for {host}"))?;
    let broken = || format!("has an auths entry for {host} without user name and password");
    let (username, password) = match (&auth.username, &auth.password, &auth.auth) {
        (Some(username), Some(password), _) if !username.is_empty() => (username.clone(), password.clone()),
        (_, _, Some(auth)) => {
            let text = base64(auth)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(broken)?;
            let (username, password) = text.split_once(':').ok_or_else(broken)?;
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        _ => return Err(broken()),
    };
    Ok(Login { username, password })
}

/// Standard base64, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for char in text.trim().trim_end_matches('=').bytes() {
        let value = match char {
            b'A'..=b'Z' => char - b'A',
            b'a'..=b'z' => char - b'a' + 26,
            b'0'..=b'9' => char - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// A file with one word; editors end it with a line feed.
fn line(path: &Path, field: &str) -> Result<String, LoadError> {
    let content = read(path, field)?;
    let text = String::from_utf8(content).ok();
    let text = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    text.filter(|text| !text.is_empty() && !text.contains(['\r', '\n']))
        .ok_or_else(|| LoadError::Content {
            field: field.to_owned(),
            path: path.to_owned(),
            problem: "is not one line of text".to_owned(),
        })
}

fn read(path: &Path, field: &str) -> Result<Vec<u8>, LoadError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut content))
        .map_err(|source| LoadError::Read {
            field: field.to_owned(),
            path: path.to_owned(),
            source,
        })?;
    if content.len() as u64 > LARGEST_FILE {
        return Err(LoadError::Content {
            field: field.to_owned(),
            path: path.to_owned(),
            problem: "is larger than 1 MiB".to_owned(),
        });
    }
    Ok(content)
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl fmt::Debug for PemFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemFiles").finish_non_exhaustive()
    }
}
