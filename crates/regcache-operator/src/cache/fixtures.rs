//! Objects for tests, with names unlike the product's, so that a swapped one shows.

use k8s_openapi::api::core::v1::ResourceRequirements;
use regcache_api::{Engine, RegistryCache};
use serde_json::{Value, json};

use super::engine::ConfigFile;
use super::validate::{Site, Upstream};

fn upstream(host: &str, url: &str) -> Upstream {
    Upstream {
        host: host.into(),
        url: url.into(),
    }
}

/// A cache of two upstreams.
pub(crate) fn shared_site() -> Site {
    Site {
        name: "rc-owner-here-0".into(),
        upstreams: vec![
            upstream("upstream.example", "https://upstream.example"),
            upstream("second.example:5000", "http://second.test"),
        ],
        engine: Engine::Builtin,
        ..site()
    }
}

/// A cache of one upstream.
pub(crate) fn site() -> Site {
    Site {
        name: "rc-upstream-example-here-0".into(),
        registry_cache: "owner".into(),
        region: "here".into(),
        region_label: "example/region".into(),
        idle: false,
        upstreams: vec![upstream("upstream.example", "https://upstream.example")],
        left_out: None,
        engine: Engine::Distribution,
        image: "engine:1".into(),
        image_pull_policy: "IfNotPresent".into(),
        image_pull_secrets: Vec::new(),
        upstream_ca: None,
        resources: serde_json::from_value::<ResourceRequirements>(json!({"limits": {"memory": "1Gi"}})).unwrap(),
        size: "7Gi".into(),
        capacity: None,
        class: Some("fast".into()),
    }
}

pub(crate) fn labels_json() -> Value {
    json!({
        "app.kubernetes.io/name": "regcache",
        "app.kubernetes.io/component": "cache",
        "app.kubernetes.io/managed-by": "regcache-operator",
        "regcache.dev/registrycache": "owner",
        "regcache.dev/region": "here",
        "regcache.dev/upstream": regcache_api::names::upstream_label("upstream.example"),
    })
}

pub(crate) fn shared_labels_json() -> Value {
    json!({
        "app.kubernetes.io/name": "regcache",
        "app.kubernetes.io/component": "cache",
        "app.kubernetes.io/managed-by": "regcache-operator",
        "regcache.dev/registrycache": "owner",
        "regcache.dev/region": "here",
        "regcache.dev/site": "rc-owner-here-0",
    })
}

pub(crate) fn config_file() -> ConfigFile {
    ConfigFile {
        directory: "/etc/distribution",
        name: "config.yml",
        text: "a: 1\n".into(),
    }
}

/// A RegistryCache of the year that `created` names.
pub(crate) fn registry_cache(name: &str, created: u16, spec: &Value) -> RegistryCache {
    serde_json::from_value(json!({
        "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache",
        "metadata": {
            "name": name, "uid": format!("{name}-uid"), "generation": 3,
            "creationTimestamp": format!("{created}-01-01T00:00:00Z"),
        },
        "spec": spec,
    }))
    .unwrap()
}
