//! The ConfigMap with a place's plan and the times of its rollout.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regcache_api::labels;
use regcache_mirror::plan::PLAN_KEY;
use regcache_mirror::rank::Place;

use crate::context::Settings;
use crate::nodes::rollout::Rollout;
use crate::nodes::validate::{CANARY_FAILED_AT, CANARY_SINCE};

/// The plan of `place`.
pub fn build_plan(place: &Place, rollout: &Rollout, settings: &Settings) -> Result<ConfigMap, serde_json::Error> {
    let times = [
        (labels::CHANGED_AT, rollout.changed_at),
        (CANARY_SINCE, rollout.canary_since),
        (CANARY_FAILED_AT, rollout.failed_at),
    ];
    let annotations = times
        .into_iter()
        .filter_map(|(key, time)| Some((key.to_owned(), time?.to_string())));
    Ok(ConfigMap {
        metadata: ObjectMeta {
            annotations: Some(annotations.collect()),
            ..super::metadata(place, settings)
        },
        data: Some([(PLAN_KEY.to_owned(), serde_json::to_string_pretty(&rollout.file)? + "\n")].into()),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_json_diff::assert_json_eq;
    use regcache_mirror::plan::{Plan, PlanFile};
    use serde_json::json;

    #[test]
    fn plan_carries_its_times_and_what_it_is_for() {
        let rollout = Rollout {
            file: PlanFile {
                stable: Plan::default(),
                canary: Some(Plan::default()),
                percent: 10,
            },
            changed_at: "2026-01-01T00:00:01Z".parse().ok(),
            canary_since: "2026-01-01T00:00:02Z".parse().ok(),
            failed_at: None,
        };
        let place = Place {
            region: "eu".into(),
            zone: String::new(),
        };
        let plan = build_plan(&place, &rollout, &Settings::default()).unwrap();
        assert_json_eq!(
            plan,
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": "node-eu-583df51e",
                    "namespace": "regcache-nodes",
                    "labels": {
                        "app.kubernetes.io/name": "regcache",
                        "app.kubernetes.io/component": "node",
                        "app.kubernetes.io/managed-by": "regcache-operator",
                        "regcache.dev/place": "node-eu-583df51e",
                        "regcache.dev/region": "eu",
                    },
                    "annotations": {
                        "regcache.dev/changed-at": "2026-01-01T00:00:01Z",
                        "regcache.dev/canary-since": "2026-01-01T00:00:02Z",
                    },
                },
                "data": {"plan.json": "{\n  \"stable\": {\n    \"upstreams\": []\n  },\n  \"canary\": {\n    \"upstreams\": []\n  },\n  \"percent\": 10\n}\n"},
            })
        );
    }
}
