//! The ConfigMap: the engine's configuration.

use k8s_openapi::api::core::v1::ConfigMap;

use super::meta;
use crate::cache::engine::ConfigFile;
use crate::cache::validate::Site;

pub(super) fn build(site: &Site, config: &ConfigFile, namespace: &str) -> ConfigMap {
    ConfigMap {
        metadata: meta::of(site, namespace),
        data: Some([(config.name.to_owned(), config.text.clone())].into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{config_file, labels_json, site};
    use serde_json::json;

    #[test]
    fn config_map_holds_the_file() {
        let config_map = build(&site(), &config_file(), "caches");
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
