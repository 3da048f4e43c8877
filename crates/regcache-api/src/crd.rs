//! The CustomResourceDefinition as it is applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use crate::conditions::{READY, reasons};
use crate::registry_cache::RegistryCache;

/// The CRD of [`RegistryCache`].
///
/// Beyond what is derived it says `Ready=Unknown` from the first moment on: a tool that asks before the operator has
/// looked must not take an object without conditions for a healthy one (kstatus does).
pub fn registry_cache() -> CustomResourceDefinition {
    let mut crd = RegistryCache::crd();
    for version in &mut crd.spec.versions {
        if let Some(status) = status_schema(version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut())) {
            status.default = Some(JSON(json!({
                "conditions": [{
                    "type": READY,
                    "status": "Unknown",
                    "reason": reasons::PENDING,
                    "message": "the operator has not looked at this object yet: is it running?",
                    "lastTransitionTime": "1970-01-01T00:00:00Z",
                }]
            })));
        }
    }
    crd
}

fn status_schema(root: Option<&mut JSONSchemaProps>) -> Option<&mut JSONSchemaProps> {
    root?.properties.as_mut()?.get_mut("status")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_schema() -> serde_json::Value {
        let crd = serde_json::to_value(registry_cache()).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clone()
    }

    #[test]
    fn status_is_unknown_before_the_operator_has_looked() {
        let default = &spec_schema()["status"]["default"];
        assert_eq!(default["conditions"][0]["type"], "Ready");
        assert_eq!(default["conditions"][0]["status"], "Unknown");
    }

    #[test]
    fn spec_has_no_defaults_and_no_unsigned_numbers() {
        fn walk(path: &str, value: &serde_json::Value) {
            let serde_json::Value::Object(map) = value else { return };
            assert!(
                !map.contains_key("default"),
                "{path} has a default: a permanent difference for GitOps tools"
            );
            let format = map.get("format").and_then(|format| format.as_str()).unwrap_or_default();
            assert!(!format.starts_with("uint"), "{path}: API servers warn about {format}");
            map.iter()
                .for_each(|(key, value)| walk(&format!("{path}.{key}"), value));
        }
        walk("spec", &spec_schema()["spec"]);
    }

    #[test]
    fn lists_merge_by_key() {
        let schema = spec_schema();
        for (list, key) in [("upstreams", "host"), ("regions", "name")] {
            let list = &schema["spec"]["properties"][list];
            assert_eq!(list["x-kubernetes-list-type"], "map");
            assert_eq!(list["x-kubernetes-list-map-keys"][0], key);
            assert!(
                list["maxItems"].is_number(),
                "a bound keeps the CEL rules within their budget"
            );
        }
    }

    /// Kubernetes reads YAML 1.1, where these words are booleans or null when nobody quotes them.
    const TRAPS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];

    #[test]
    fn no_enum_value_reads_as_something_else() {
        fn walk(value: &serde_json::Value) {
            match value {
                serde_json::Value::Object(map) => {
                    for word in map.get("enum").and_then(|list| list.as_array()).into_iter().flatten() {
                        let word = word.as_str().unwrap_or("~").to_lowercase();
                        assert!(!TRAPS.contains(&word.as_str()), "{word}");
                    }
                    map.values().for_each(walk);
                }
                serde_json::Value::Array(list) => list.iter().for_each(walk),
                _ => {}
            }
        }
        walk(&spec_schema());
    }

    #[test]
    fn every_rule_says_how_to_mend() {
        fn walk(value: &serde_json::Value, rules: &mut usize) {
            if let Some(list) = value.get("x-kubernetes-validations").and_then(|list| list.as_array()) {
                for rule in list {
                    *rules += 1;
                    assert!(
                        rule["message"].as_str().is_some_and(|text| text.contains(':')),
                        "{rule}"
                    );
                }
            }
            match value {
                serde_json::Value::Object(map) => map.values().for_each(|value| walk(value, rules)),
                serde_json::Value::Array(list) => list.iter().for_each(|value| walk(value, rules)),
                _ => {}
            }
        }
        let mut rules = 0;
        walk(&serde_json::to_value(registry_cache()).unwrap(), &mut rules);
        assert!(rules >= 6, "{rules}");
    }
}
