//! The Service: the address that plans name.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::cache::engine::{METRICS_PORT, PORT};
use crate::cache::validate::Site;

pub(super) fn build(site: &Site, namespace: &str) -> Service {
    Service {
        metadata: meta::of(site, namespace),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(meta::labels(site)),
            ports: Some(vec![port("registry", PORT), port("metrics", METRICS_PORT)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.into())),
        protocol: Some("TCP".into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cache::fixtures::{labels_json, shared_labels_json, shared_site, site};
    use serde_json::json;

    /// While one engine follows another, caches of both are there.
    #[test]
    fn no_service_selects_the_pods_of_another_engines_cache() {
        let [own, shared] = [site(), shared_site()].map(|site| build(&site, "caches").spec.unwrap().selector.unwrap());
        assert_eq!(serde_json::to_value(&shared).unwrap(), shared_labels_json());
        let selects = |selector: &BTreeMap<_, _>, pod: &BTreeMap<_, _>| {
            selector.iter().all(|pair| pod.iter().any(|label| label == pair))
        };
        assert!(!selects(&own, &shared) && !selects(&shared, &own));
    }

    #[test]
    fn service_selects_the_pods_of_its_site_only() {
        let service = build(&site(), "caches");
        assert_eq!(
            serde_json::to_value(service).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "name": "rc-upstream-example-here-0", "namespace": "caches",
                    "labels": labels_json(),
                    "annotations": {"regcache.dev/upstream-host": "upstream.example"},
                },
                "spec": {
                    "type": "ClusterIP",
                    "selector": labels_json(),
                    "ports": [
                        {"name": "registry", "port": 5000, "targetPort": "registry", "protocol": "TCP"},
                        {"name": "metrics", "port": 5001, "targetPort": "metrics", "protocol": "TCP"},
                    ],
                },
            })
        );
    }
}
