//! The ConfigMap: the engine's configuration.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use regcache_api::labels;

use super::meta;
use crate::cache::engine::{self, ConfigFile};
use crate::cache::gather::Live;
use crate::cache::validate::Site;
use crate::named_since;

/// For a cache that takes up changes while it runs, with a note since when it names each upstream.
pub(super) fn build(site: &Site, config: &ConfigFile, live: &Live, namespace: &str, now: Timestamp) -> ConfigMap {
    let mut config_map = ConfigMap {
        metadata: meta::of(site, namespace),
        data: Some([(config.name.to_owned(), config.text.clone())].into()),
        ..Default::default()
    };
    if engine::of(site.engine).capabilities().hot_reload {
        let before = live.config_maps.get(&site.name).map(named_since::read);
        let now = live.deployments.contains_key(&site.name).then_some(now);
        let hosts = site.upstreams.iter().map(|upstream| upstream.host.as_str());
        let note = named_since::note(hosts, &before.unwrap_or_default(), now);
        config_map.annotations_mut().insert(labels::NAMED_SINCE.into(), note);
    }
    config_map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{config_file, labels_json, shared_labels_json, shared_site, site};
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T00:00:07Z".parse().unwrap()
    }

    #[test]
    fn an_upstream_that_comes_to_a_running_cache_is_noted_with_its_time() {
        let mut live = Live::default();
        let mut site = shared_site();
        let second = site.upstreams.pop().unwrap();
        let first = build(&site, &config_file(), &live, "caches", now());
        live.config_maps.insert(site.name.clone(), first);
        live.deployments.insert(site.name.clone(), Deployment::default());
        site.upstreams.push(second);
        assert_eq!(
            serde_json::to_value(build(&site, &config_file(), &live, "caches", now())).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": "rc-owner-here-0", "namespace": "caches",
                    "labels": shared_labels_json(),
                    "annotations": {
                        "regcache.dev/named-since":
                            "{\"second.example:5000\":\"2026-01-01T00:00:07Z\",\"upstream.example\":null}",
                    },
                },
                "data": {"config.yml": "a: 1\n"},
            })
        );
    }

    #[test]
    fn config_map_holds_the_file() {
        let config_map = build(&site(), &config_file(), &Live::default(), "caches", now());
        assert_eq!(
            serde_json::to_value(config_map).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": "rc-upstream-example-here-0", "namespace": "caches",
                    "labels": labels_json(),
                    "annotations": {"regcache.dev/upstream-host": "upstream.example"},
                },
                "data": {"config.yml": "a: 1\n"},
            })
        );
    }
}
