//! What a spec means when it leaves something out, and who owns what: pure, shared by both controllers.

use kube::ResourceExt as _;
use regcache_api::{Engine, NodesMode, RegistryCache, UpstreamSpec, names};

use crate::cache::engine;

/// The registry's own address, without a trailing slash.
pub fn upstream_url(upstream: &UpstreamSpec) -> String {
    match (upstream.url.as_deref(), upstream.host.as_str()) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        // Docker Hub is known by a name under which no registry answers.
        (None, "docker.io") => "https://registry-1.docker.io".to_owned(),
        (None, host) => format!("https://{host}"),
    }
}

/// The program in the cache pods.
pub fn engine(registry_cache: &RegistryCache) -> Engine {
    let cache = registry_cache.spec.cache.as_ref();
    cache.and_then(|cache| cache.engine).unwrap_or_default()
}

/// The name of the cache of `host` in `region`, made or not: one that all upstreams share, or its own.
pub fn site_name(registry_cache: &RegistryCache, region: &str, host: &str) -> String {
    let name = registry_cache.name_any();
    if engine::of(engine(registry_cache)).capabilities().several_upstreams {
        names::shared_site(&name, region)
    } else {
        names::site(&name, region, host)
    }
}

/// What happens on the nodes.
pub fn nodes_mode(registry_cache: &RegistryCache) -> NodesMode {
    registry_cache
        .spec
        .nodes
        .as_ref()
        .and_then(|nodes| nodes.mode)
        .unwrap_or_default()
}

/// True when the kill switch of `registry_cache` is on.
pub fn is_stopped(registry_cache: &RegistryCache) -> bool {
    registry_cache
        .annotations()
        .get(regcache_api::labels::STOP)
        .is_some_and(|value| value == "true")
}

/// True when the operator changes nothing for `registry_cache`.
pub fn is_paused(registry_cache: &RegistryCache) -> bool {
    registry_cache.spec.paused.unwrap_or_default()
}

/// The RegistryCache that serves `host`: the oldest that names it (by name among equals). One that is being deleted
/// has let go of its upstreams.
pub fn owner<'a>(host: &str, all: impl IntoIterator<Item = &'a RegistryCache>) -> Option<&'a RegistryCache> {
    all.into_iter()
        .filter(|candidate| candidate.metadata.deletion_timestamp.is_none())
        .filter(|candidate| candidate.spec.upstreams.iter().any(|upstream| upstream.host == host))
        .min_by_key(|candidate| {
            let created = candidate.metadata.creation_timestamp.as_ref().map(|time| time.0);
            // Without a time stamp (never seen from a server): the youngest.
            (created.is_none(), created, candidate.name_any())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn registry_cache(name: &str, created: &str, hosts: &[&str]) -> RegistryCache {
        let upstreams: Vec<_> = hosts.iter().map(|host| json!({"host": host})).collect();
        serde_json::from_value(json!({
            "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache",
            "metadata": {"name": name, "creationTimestamp": created},
            "spec": {"upstreams": upstreams, "regions": [{"name": "r"}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_oldest_owns_an_upstream_and_the_name_decides_among_equals() {
        let mut all = vec![
            registry_cache("young", "2026-01-02T00:00:00Z", &["a", "b"]),
            registry_cache("old-z", "2026-01-01T00:00:00Z", &["a"]),
            registry_cache("old-a", "2026-01-01T00:00:00Z", &["a"]),
        ];
        let name = |host: &str, all: &[RegistryCache]| owner(host, all).map(kube::ResourceExt::name_any);
        assert_eq!(name("a", &all).as_deref(), Some("old-a"));
        assert_eq!(name("b", &all).as_deref(), Some("young"));
        assert_eq!(name("c", &all), None);
        all[2].metadata.deletion_timestamp = all[2].metadata.creation_timestamp.clone();
        assert_eq!(name("a", &all).as_deref(), Some("old-z"));
    }

    #[test]
    fn upstreams_share_a_cache_where_the_engine_can() {
        let mut object = registry_cache("o", "2026-01-01T00:00:00Z", &["a", "b"]);
        assert_eq!(site_name(&object, "r", "a"), names::shared_site("o", "r"), "by default");
        assert_eq!(site_name(&object, "r", "a"), site_name(&object, "r", "b"));
        object.spec.cache.get_or_insert_default().engine = Some(Engine::Distribution);
        assert_eq!(site_name(&object, "r", "a"), names::site("o", "r", "a"));
        assert_ne!(site_name(&object, "r", "a"), site_name(&object, "r", "b"));
    }

    #[test]
    fn upstream_urls_have_defaults() {
        let url = |host: &str, url: Option<&str>| {
            upstream_url(&UpstreamSpec {
                host: host.into(),
                url: url.map(Into::into),
            })
        };
        assert_eq!(url("docker.io", None), "https://registry-1.docker.io");
        assert_eq!(url("registry.corp:5000", None), "https://registry.corp:5000");
        assert_eq!(url("docker.io", Some("http://mirror/")), "http://mirror");
    }
}
