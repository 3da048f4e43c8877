//! The DaemonSet of a place: one helper on each of its nodes.
//!
//! All alike but for the plan that they mount by name: another plan changes nothing here and restarts nobody.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use regcache_mirror::rank::Place;

use crate::context::Settings;
use crate::nodes::validate::PLACE;

/// The helpers of `place`.
pub fn build_daemon_set(place: &Place, settings: &Settings) -> DaemonSet {
    DaemonSet {
        metadata: super::metadata(place, settings),
        spec: Some(DaemonSetSpec {
            // It can never be changed: as little as tells the places apart, and nothing that a version may bring.
            selector: LabelSelector {
                match_labels: Some([(PLACE.to_owned(), super::name(place))].into()),
                ..Default::default()
            },
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::String("10%".into())),
                    // Explicit: a surge pod on a full node would preempt somebody else's.
                    max_surge: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(super::labels_of(place)),
                    ..Default::default()
                }),
                spec: Some(super::pod::build_pod_spec(place, settings)),
            },
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_json_diff::assert_json_eq;
    use serde_json::json;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a whole object, to be read beside the code")]
    fn helper_is_as_weak_as_its_work_allows() {
        let place = Place {
            region: "eu".into(),
            zone: "eu-a".into(),
        };
        let settings = Settings {
            image: "img:1".into(),
            certs_dir: "/etc/certs.d".into(),
            containerd_config: "/etc/rancher/containerd.toml".into(),
            ..Settings::default()
        };
        let name = "node-eu-a-b012bd3e";
        let labels = json!({
            "app.kubernetes.io/name": "regcache",
            "app.kubernetes.io/component": "node",
            "app.kubernetes.io/managed-by": "regcache-operator",
            "regcache.dev/place": name,
            "regcache.dev/region": "eu",
            "regcache.dev/zone": "eu-a",
        });
        let probe = |command: &str| json!(["/regcache-node", command, "--state-dir=/run/regcache"]);
        assert_json_eq!(
            build_daemon_set(&place, &settings),
            json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": name, "namespace": "regcache-nodes", "labels": labels},
                "spec": {
                    "selector": {"matchLabels": {"regcache.dev/place": name}},
                    "updateStrategy": {
                        "type": "RollingUpdate",
                        "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0},
                    },
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [{"matchExpressions": [
                                    {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                                    {"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]},
                                    {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["eu"]},
                                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-a"]},
                                ]}],
                            }}},
                            "automountServiceAccountToken": false,
                            "enableServiceLinks": false,
                            "hostNetwork": true,
                            "dnsPolicy": "Default",
                            "priorityClassName": "system-node-critical",
                            "terminationGracePeriodSeconds": 30,
                            "tolerations": [{"operator": "Exists"}],
                            "securityContext": {
                                "runAsUser": 0,
                                "runAsGroup": 0,
                                "seLinuxOptions": {"type": "spc_t"},
                                "seccompProfile": {"type": "RuntimeDefault"},
                            },
                            "containers": [{
                                "name": "helper",
                                "image": "img:1",
                                "imagePullPolicy": "IfNotPresent",
                                "command": ["/regcache-node"],
                                "args": [
                                    "run",
                                    "--plan=/etc/regcache/plan/plan.json",
                                    "--certs-dir=/host/certs.d",
                                    "--certs-dir-on-host=/etc/certs.d",
                                    "--containerd-config=/host/containerd/containerd.toml",
                                    "--port=21500",
                                    "--metrics-address=$(HOST_IP):21501",
                                    "--state-dir=/run/regcache",
                                    "--node=$(NODE_NAME)",
                                ],
                                "env": [
                                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                                    {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                                ],
                                "resources": {
                                    "requests": {"cpu": "10m", "memory": "32Mi"},
                                    "limits": {"memory": "128Mi"},
                                },
                                "securityContext": {
                                    "allowPrivilegeEscalation": false,
                                    "readOnlyRootFilesystem": true,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                                "startupProbe": {
                                    "exec": {"command": probe("live")},
                                    "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 60,
                                },
                                "livenessProbe": {
                                    "exec": {"command": probe("live")},
                                    "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 2,
                                    "terminationGracePeriodSeconds": 1,
                                },
                                "readinessProbe": {
                                    "exec": {"command": probe("ready")},
                                    "periodSeconds": 2, "timeoutSeconds": 1,
                                },
                                "volumeMounts": [
                                    {"name": "plan", "mountPath": "/etc/regcache/plan", "readOnly": true},
                                    {"name": "certs-d", "mountPath": "/host/certs.d"},
                                    {"name": "containerd", "mountPath": "/host/containerd", "readOnly": true},
                                    {"name": "state", "mountPath": "/run/regcache"},
                                ],
                            }],
                            "volumes": [
                                {"name": "plan", "configMap": {"name": name}},
                                {"name": "certs-d", "hostPath": {"path": "/etc/certs.d", "type": "DirectoryOrCreate"}},
                                {"name": "containerd", "hostPath": {"path": "/etc/rancher"}},
                                {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
                            ],
                        },
                    },
                },
            })
        );
    }

    #[test]
    fn nodes_without_a_zone_are_a_place_of_their_own() {
        let place = Place {
            region: "eu".into(),
            zone: String::new(),
        };
        let set = serde_json::to_value(build_daemon_set(&place, &Settings::default())).unwrap();
        let terms = set.pointer(
            "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution\
             /nodeSelectorTerms/0/matchExpressions/3",
        );
        let wanted = json!({"key": "topology.kubernetes.io/zone", "operator": "DoesNotExist"});
        assert_eq!(terms, Some(&wanted));
    }
}
