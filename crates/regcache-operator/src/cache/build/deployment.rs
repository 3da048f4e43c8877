//! The Deployment: the cache itself.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, LocalObjectReference, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use sha2::{Digest as _, Sha256};

use super::meta;
use crate::cache::engine::{self, CA_DIRECTORY, ConfigFile, METRICS_PORT, PORT};
use crate::cache::validate::Site;

/// The volume with authorities that the cache believes beside the public ones.
const CA_VOLUME: &str = "upstream-ca";
/// Annotation of the pods: a changed configuration makes a new pod.
const CONFIG_HASH: &str = "regcache.dev/config-hash";
/// The user that every engine runs as.
const USER: i64 = 65532;

pub(super) fn build(site: &Site, config: &ConfigFile, namespace: &str) -> Deployment {
    let labels = meta::labels(site);
    Deployment {
        metadata: meta::of(site, namespace),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                ..Default::default()
            },
            // The volume can be mounted on one node only: the old pod has to go first.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".into()),
                ..Default::default()
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: restarting(site, config),
                    ..Default::default()
                }),
                spec: Some(pod(site, config)),
            },
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What makes another pod for another configuration, where the engine needs one.
fn restarting(site: &Site, config: &ConfigFile) -> Option<BTreeMap<String, String>> {
    let mut hash = hex::encode(Sha256::digest(&config.text));
    hash.truncate(16);
    let needed = !engine::of(site.engine).capabilities().hot_reload;
    needed.then(|| [(CONFIG_HASH.to_owned(), hash)].into())
}

fn pod(site: &Site, config: &ConfigFile) -> PodSpec {
    let engine = engine::of(site.engine);
    let secrets = site.image_pull_secrets.iter();
    PodSpec {
        image_pull_secrets: Some(
            secrets
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect(),
        )
        .filter(|secrets: &Vec<_>| !secrets.is_empty()),
        containers: vec![container(site, config)],
        affinity: Some(in_region(site)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A full walk over a large cache at every start takes minutes.
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        termination_grace_period_seconds: Some(engine.termination_grace_seconds()),
        volumes: Some(volumes(site)),
        ..Default::default()
    }
}

fn volumes(site: &Site) -> Vec<Volume> {
    let config_map = |volume: &str, name: &str| Volume {
        name: volume.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let data = Volume {
        name: "data".into(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: site.name.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let authorities = site.upstream_ca.iter().map(|name| config_map(CA_VOLUME, name));
    [config_map("config", &site.name), data]
        .into_iter()
        .chain(authorities)
        .collect()
}

fn container(site: &Site, config: &ConfigFile) -> Container {
    let engine = engine::of(site.engine);
    let authorities = site.upstream_ca.iter();
    Container {
        name: "cache".into(),
        image: Some(site.image.clone()),
        image_pull_policy: Some(site.image_pull_policy.clone()),
        command: Some(engine.command()),
        env: Some(engine.env(site)).filter(|env| !env.is_empty()),
        ports: Some(vec![port("registry", PORT), port("metrics", METRICS_PORT)]),
        readiness_probe: Some(engine.readiness()),
        liveness_probe: Some(engine.liveness()),
        resources: Some(site.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                ..Default::default()
            }),
            ..Default::default()
        }),
        volume_mounts: Some(
            // Whole directories: a single file would never show a change.
            [
                mount("config", config.directory, true),
                mount("data", engine.data_directory(), false),
            ]
            .into_iter()
            .chain(authorities.map(|_| mount(CA_VOLUME, CA_DIRECTORY, true)))
            .collect(),
        ),
        // The last lines of the log become the reason of a crash that status and `kubectl describe` show.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..Default::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..Default::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: number.into(),
        protocol: Some("TCP".into()),
        ..Default::default()
    }
}

/// On a Linux node of the site's region, and nowhere else.
fn in_region(site: &Site) -> Affinity {
    let is = |key: &str, value: &str| NodeSelectorRequirement {
        key: key.into(),
        operator: "In".into(),
        values: Some(vec![value.into()]),
    };
    let term = NodeSelectorTerm {
        match_expressions: Some(vec![
            is(&site.region_label, &site.region),
            is("kubernetes.io/os", "linux"),
        ]),
        ..Default::default()
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{config_file, labels_json, shared_labels_json, shared_site, site};
    use serde_json::json;

    #[test]
    fn deployment_runs_the_engine_in_its_region_without_privileges() {
        let deployment = build(&site(), &config_file(), "caches");
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "rc-upstream-example-here-0", "namespace": "caches",
                "labels": labels_json(),
                "annotations": {"regcache.dev/upstream-host": "upstream.example"},
            },
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": labels_json()},
                "strategy": {"type": "Recreate"},
                "template": {
                    "metadata": {
                        "labels": labels_json(),
                        "annotations": {"regcache.dev/config-hash": "37b128c59f1f5097"},
                    },
                    "spec": {
                        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [
                                {"key": "example/region", "operator": "In", "values": ["here"]},
                                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                            ]}],
                        }}},
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                            "fsGroupChangePolicy": "OnRootMismatch",
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "terminationGracePeriodSeconds": 40,
                        "containers": [{
                            "name": "cache",
                            "image": "engine:1",
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["registry", "serve", "/etc/distribution/config.yml"],
                            "env": [{"name": "OTEL_TRACES_EXPORTER", "value": "none"}],
                            "ports": [
                                {"name": "registry", "containerPort": 5000, "protocol": "TCP"},
                                {"name": "metrics", "containerPort": 5001, "protocol": "TCP"},
                            ],
                            "readinessProbe": {
                                "httpGet": {"path": "/", "port": 5000},
                                "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3,
                            },
                            "livenessProbe": {
                                "httpGet": {"path": "/debug/health", "port": 5001},
                                "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
                            },
                            "resources": {"limits": {"memory": "1Gi"}},
                            "securityContext": {
                                "allowPrivilegeEscalation": false,
                                "readOnlyRootFilesystem": true,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {"name": "config", "mountPath": "/etc/distribution", "readOnly": true},
                                {"name": "data", "mountPath": "/var/lib/registry"},
                            ],
                        }],
                        "volumes": [
                            {"name": "config", "configMap": {"name": "rc-upstream-example-here-0"}},
                            {"name": "data", "persistentVolumeClaim": {"claimName": "rc-upstream-example-here-0"}},
                        ],
                    },
                },
            },
        });
        assert_json_diff::assert_json_eq!(serde_json::to_value(deployment).unwrap(), expected);
    }

    #[test]
    fn a_cache_of_several_upstreams_is_our_own_program_and_says_nothing_of_them() {
        let mut site = shared_site();
        site.image_pull_secrets = vec!["pull".into()];
        site.upstream_ca = Some("corp".into());
        let config = crate::cache::engine::of(site.engine).config(&site).unwrap();
        let deployment = serde_json::to_value(build(&site, &config, "caches")).unwrap();
        let name = "rc-owner-here-0";
        assert_json_diff::assert_json_eq!(
            deployment["metadata"],
            json!({"name": name, "namespace": "caches", "labels": shared_labels_json()})
        );
        let spec = &deployment["spec"];
        assert_json_diff::assert_json_eq!(spec["selector"], json!({"matchLabels": shared_labels_json()}));
        assert_json_diff::assert_json_eq!(spec["template"]["metadata"], json!({"labels": shared_labels_json()}));
        let theirs = serde_json::to_value(build(&crate::cache::fixtures::site(), &config_file(), "caches")).unwrap();
        let mut pod = theirs["spec"]["template"]["spec"].clone();
        // The same pod but for these.
        pod["imagePullSecrets"] = json!([{"name": "pull"}]);
        pod["terminationGracePeriodSeconds"] = json!(45);
        pod["volumes"] = json!([
            {"name": "config", "configMap": {"name": name}},
            {"name": "data", "persistentVolumeClaim": {"claimName": name}},
            {"name": "upstream-ca", "configMap": {"name": "corp"}},
        ]);
        let container = &mut pod["containers"][0];
        container["command"] = json!(["/regcache-proxy", "--config", "/etc/regcache/proxy/config.yaml"]);
        container.as_object_mut().unwrap().remove("env");
        container["readinessProbe"]["httpGet"] = json!({"path": "/readyz", "port": 5001});
        container["livenessProbe"]["httpGet"] = json!({"path": "/livez", "port": 5001});
        container["volumeMounts"] = json!([
            {"name": "config", "mountPath": "/etc/regcache/proxy", "readOnly": true},
            {"name": "data", "mountPath": "/var/lib/regcache"},
            {"name": "upstream-ca", "mountPath": "/etc/regcache/upstream-ca", "readOnly": true},
        ]);
        assert_json_diff::assert_json_eq!(spec["template"]["spec"], pod);
    }

    #[test]
    fn distribution_reads_more_authorities_from_a_directory() {
        let mut site = site();
        site.upstream_ca = Some("corp".into());
        let pod = build(&site, &config_file(), "caches")
            .spec
            .unwrap()
            .template
            .spec
            .unwrap();
        let env = pod.containers[0].env.clone().unwrap();
        let last = env.last().map(|last| (last.name.as_str(), last.value.as_deref()));
        assert_eq!(last, Some(("SSL_CERT_DIR", Some("/etc/regcache/upstream-ca"))));
    }

    #[test]
    fn another_configuration_makes_another_pod_only_where_the_engine_needs_one() {
        let mut other = config_file();
        other.text.push_str("b: 2\n");
        let same = |site: &Site| build(site, &config_file(), "caches") == build(site, &other, "caches");
        assert!(!same(&site()));
        assert!(same(&shared_site()));
        let mut more = shared_site();
        more.upstreams.pop();
        assert_eq!(
            build(&more, &config_file(), "caches"),
            build(&shared_site(), &config_file(), "caches"),
            "an upstream more or less"
        );
    }
}
