//! The configured registries as the registry's interface takes them.

use std::sync::Arc;

use crate::config::{LoadedUpstream, Login};
use crate::registry::{Entry, Upstreams};
use crate::upstream::{Credentials, Settings, SettingsError, Upstream, UpstreamMetrics};

/// A registry of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("upstreams: {host} cannot be used")]
pub struct UpstreamError {
    host: String,
    #[source]
    source: SettingsError,
}

/// One client for each; those of `old` whose settings are the same go on, with their tokens and connections.
pub(super) fn upstreams(
    loaded: &[LoadedUpstream],
    old: &Upstreams,
    metrics: &UpstreamMetrics,
) -> Result<Upstreams, UpstreamError> {
    let entry = |loaded: &LoadedUpstream| {
        let settings = settings(loaded);
        let kept = old.get(&settings.host).map(|entry| &entry.upstream);
        let upstream = match kept.filter(|upstream| *upstream.settings() == settings) {
            Some(upstream) => Arc::clone(upstream),
            None => Upstream::new(settings, metrics).map_err(|source| UpstreamError {
                host: loaded.config.host.clone(),
                source,
            })?,
        };
        Ok(Entry {
            upstream,
            tags: loaded.config.tags,
            repositories: loaded.config.repositories.clone(),
        })
    };
    loaded.iter().map(entry).collect()
}

fn settings(loaded: &LoadedUpstream) -> Settings {
    let config = &loaded.config;
    Settings {
        host: config.host.as_str().into(),
        url: config.url.clone(),
        credentials: loaded
            .login
            .clone()
            .map(|Login { username, password }| Credentials { username, password }),
        ca_pem: loaded.ca_pem.clone(),
        realm_hosts: config.realm_hosts.clone(),
        proxy: config.proxy_url.clone(),
        max_transfers: config.max_transfers,
    }
}
