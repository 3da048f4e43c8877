//! The file as it is written, and its check field by field.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::{Config, CredentialFiles, MAX_TRANSFERS, ParseError, StoreConfig, TAGS, TlsFiles, UpstreamConfig, values};
use crate::registry::RepositoryLists;
use crate::tags::TagPolicy;

/// More are not one region's cache any more.
const MOST_UPSTREAMS: usize = 64;
/// More transfers at a time are no limit.
const MOST_TRANSFERS: u64 = 1024;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Raw {
    listen: Text,
    admin: Option<Text>,
    store: RawStore,
    tls: Option<RawTls>,
    upstreams: Vec<RawUpstream>,
    log_format: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawStore {
    directory: PathBuf,
    max_bytes: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: PathBuf,
    key: PathBuf,
    #[serde(rename = "clientCA")]
    client_ca: Option<PathBuf>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawUpstream {
    host: Text,
    url: Option<Text>,
    credentials: Option<RawCredentials>,
    ca: Option<PathBuf>,
    #[serde(default)]
    realm_hosts: Vec<Text>,
    #[serde(rename = "proxyURL")]
    proxy_url: Option<Text>,
    #[serde(default)]
    tags: RawTags,
    #[serde(default)]
    repositories: RawRepositories,
    max_transfers: Option<u64>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawCredentials {
    username_file: Option<PathBuf>,
    password_file: Option<PathBuf>,
    docker_config_file: Option<PathBuf>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawTags {
    max_age: Option<Text>,
    stale_for: Option<Text>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepositories {
    #[serde(default)]
    allow: Vec<Text>,
    #[serde(default)]
    deny: Vec<Text>,
}

/// A text; numbers and the like are taken as they are spelt, so that the check can say what to write.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Gives a value's problem its field.
trait At<T> {
    fn at(self, field: impl Display) -> Result<T, ParseError>;
}

impl<T> At<T> for Result<T, String> {
    fn at(self, field: impl Display) -> Result<T, ParseError> {
        self.map_err(|problem| ParseError::Field {
            field: field.to_string(),
            problem,
        })
    }
}

impl Raw {
    pub(super) fn check(self) -> Result<Config, ParseError> {
        let listen = values::address(&self.listen.0).at("listen")?;
        let admin = self
            .admin
            .map(|text| values::address(&text.0))
            .transpose()
            .at("admin")?;
        if admin == Some(listen) && listen.port() != 0 {
            return Err("the same address as listen: write another port".to_owned()).at("admin");
        }
        let max_bytes = self.store.max_bytes.map(|text| values::size(&text.0)).transpose();
        if self.upstreams.is_empty() {
            return Err("empty: name at least one registry, as in {host: docker.io}".to_owned()).at("upstreams");
        }
        if self.upstreams.len() > MOST_UPSTREAMS {
            return Err(format!("more than {MOST_UPSTREAMS}: run a second proxy for the others")).at("upstreams");
        }
        let mut seen = BTreeSet::new();
        let mut upstreams = Vec::with_capacity(self.upstreams.len());
        for (index, upstream) in self.upstreams.into_iter().enumerate() {
            let path = format!("upstreams[{index}]");
            let upstream = upstream.check(&path)?;
            if !seen.insert(upstream.host.clone()) {
                let problem = format!("{:?} is there already: name each registry once", upstream.host);
                return Err(problem).at(format_args!("{path}.host"));
            }
            upstreams.push(upstream);
        }
        Ok(Config {
            listen,
            admin,
            store: StoreConfig {
                directory: values::path(self.store.directory).at("store.directory")?,
                max_bytes: max_bytes.at("store.maxBytes")?,
            },
            tls: self.tls.map(RawTls::check).transpose()?,
            upstreams,
            log_format: match self.log_format {
                Some(text) => text.0.parse().at("logFormat")?,
                None => regcache_runtime::telemetry::LogFormat::default(),
            },
        })
    }
}

impl RawTls {
    fn check(self) -> Result<TlsFiles, ParseError> {
        Ok(TlsFiles {
            certificate: values::path(self.certificate).at("tls.certificate")?,
            key: values::path(self.key).at("tls.key")?,
            client_ca: self.client_ca.map(values::path).transpose().at("tls.clientCA")?,
        })
    }
}

impl RawUpstream {
    fn check(self, path: &str) -> Result<UpstreamConfig, ParseError> {
        let field = |name: &str| format!("{path}.{name}");
        let host = values::host(&self.host.0).at(field("host"))?;
        let url = match &self.url {
            Some(url) => values::url(&url.0).at(field("url"))?,
            None => values::url_of(&host).at(field("host"))?,
        };
        let duration = |text: Option<Text>, or: Duration, name: &str| match text {
            Some(text) => values::duration(&text.0).at(field(name)),
            None => Ok(or),
        };
        let max_transfers = match self.max_transfers {
            None => MAX_TRANSFERS,
            Some(number @ 1..=MOST_TRANSFERS) => usize::try_from(number).unwrap_or(MAX_TRANSFERS),
            Some(number) => {
                let problem = format!("{number} is not possible: write a number from 1 to {MOST_TRANSFERS}");
                return Err(problem).at(field("maxTransfers"));
            }
        };
        Ok(UpstreamConfig {
            url,
            credentials: match self.credentials {
                Some(credentials) => Some(credentials.check().at(field("credentials"))?),
                None => None,
            },
            ca: self.ca.map(values::path).transpose().at(field("ca"))?,
            realm_hosts: list(path, "realmHosts", &self.realm_hosts, values::host)?,
            proxy_url: match &self.proxy_url {
                Some(url) => Some(values::proxy(&url.0).at(field("proxyURL"))?),
                None => None,
            },
            tags: TagPolicy {
                max_age: duration(self.tags.max_age, TAGS.max_age, "tags.maxAge")?,
                stale_for: duration(self.tags.stale_for, TAGS.stale_for, "tags.staleFor")?,
            },
            repositories: RepositoryLists {
                allow: list(path, "repositories.allow", &self.repositories.allow, values::pattern)?,
                deny: list(path, "repositories.deny", &self.repositories.deny, values::pattern)?,
            },
            max_transfers,
            host,
        })
    }
}

fn list<T>(path: &str, name: &str, texts: &[Text], check: fn(&str) -> Result<T, String>) -> Result<Vec<T>, ParseError> {
    let items = texts.iter().enumerate();
    items
        .map(|(index, text)| check(&text.0).at(format_args!("{path}.{name}[{index}]")))
        .collect()
}

impl RawCredentials {
    fn check(self) -> Result<CredentialFiles, String> {
        match (self.username_file, self.password_file, self.docker_config_file) {
            (Some(username), Some(password), None) => Ok(CredentialFiles::Pair {
                username: values::path(username)?,
                password: values::path(password)?,
            }),
            (None, None, Some(file)) => Ok(CredentialFiles::DockerConfig(values::path(file)?)),
            _ => Err("write usernameFile and passwordFile, or dockerConfigFile alone".to_owned()),
        }
    }
}
