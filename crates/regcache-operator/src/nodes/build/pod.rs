//! The pod of a helper: host network, root without capabilities, no Kubernetes credentials.

use std::path::Path;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction,
    HostPathVolumeSource, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, SELinuxOptions, SeccompProfile, SecurityContext,
    Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use regcache_mirror::plan::PLAN_KEY;
use regcache_mirror::rank::Place;

use crate::context::Settings;

const PROGRAM: &str = "/regcache-node";
const PLAN_DIRECTORY: &str = "/etc/regcache/plan";
const CERTS_DIRECTORY: &str = "/host/certs.d";
const CONTAINERD_DIRECTORY: &str = "/host/containerd";
const STATE_DIRECTORY: &str = "/run/regcache";

/// The pod of each helper of `place`.
pub fn build_pod_spec(place: &Place, settings: &Settings) -> PodSpec {
    PodSpec {
        affinity: Some(Affinity {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(nodes(place, settings)),
                        ..Default::default()
                    }],
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        // A stolen helper can do nothing in the API.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // Its way to the caches is containerd's, and containerd finds it on the node's loopback address.
        host_network: Some(true),
        dns_policy: Some("Default".into()),
        priority_class_name: Some("system-node-critical".into()),
        termination_grace_period_seconds: Some(30),
        tolerations: Some(vec![Toleration {
            operator: Some("Exists".into()),
            ..Default::default()
        }]),
        security_context: Some(PodSecurityContext {
            // The owner of certs.d; all capabilities are dropped nevertheless.
            run_as_user: Some(0),
            run_as_group: Some(0),
            se_linux_options: Some(SELinuxOptions {
                type_: Some("spc_t".into()),
                ..Default::default()
            }),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        containers: vec![container(settings)],
        volumes: Some(volumes(place, settings)),
        ..Default::default()
    }
}

fn nodes(place: &Place, settings: &Settings) -> Vec<NodeSelectorRequirement> {
    let requirement = |key: &str, operator: &str, value: &str| NodeSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: (operator != "DoesNotExist").then(|| vec![value.into()]),
    };
    let in_zone = if place.zone.is_empty() { "DoesNotExist" } else { "In" };
    vec![
        requirement("kubernetes.io/os", "In", "linux"),
        requirement("type", "NotIn", "virtual-kubelet"),
        requirement(&settings.region_label, "In", &place.region),
        requirement(&settings.zone_label, in_zone, &place.zone),
    ]
}

fn container(settings: &Settings) -> Container {
    let quantity = |key: &str, value: &str| (key.to_owned(), Quantity(value.into()));
    Container {
        name: "helper".into(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        command: Some(vec![PROGRAM.into()]),
        args: Some(args(settings)),
        env: Some(vec![
            from_field("NODE_NAME", "spec.nodeName"),
            from_field("HOST_IP", "status.hostIP"),
        ]),
        resources: Some(ResourceRequirements {
            requests: Some([quantity("cpu", "10m"), quantity("memory", "32Mi")].into()),
            // No CPU limit: a throttled gateway would slow every pull of the node.
            limits: Some([quantity("memory", "128Mi")].into()),
            ..Default::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                ..Default::default()
            }),
            ..Default::default()
        }),
        // Only until it has answered once: a slow start must not be taken for a frozen gateway.
        startup_probe: Some(probe("live", 1, Some(60), None)),
        // A frozen gateway holds up every pull of the node: away with it in about five seconds.
        liveness_probe: Some(probe("live", 2, Some(2), Some(1))),
        readiness_probe: Some(probe("ready", 2, None, None)),
        volume_mounts: Some(vec![
            mount("plan", PLAN_DIRECTORY, true),
            mount("certs-d", CERTS_DIRECTORY, false),
            mount("containerd", CONTAINERD_DIRECTORY, true),
            mount("state", STATE_DIRECTORY, false),
        ]),
        ..Default::default()
    }
}

fn args(settings: &Settings) -> Vec<String> {
    let config = Path::new(&settings.containerd_config)
        .file_name()
        .map(|name| name.to_string_lossy());
    vec![
        "run".into(),
        format!("--plan={PLAN_DIRECTORY}/{PLAN_KEY}"),
        format!("--certs-dir={CERTS_DIRECTORY}"),
        format!("--certs-dir-on-host={}", settings.certs_dir),
        format!(
            "--containerd-config={CONTAINERD_DIRECTORY}/{}",
            config.unwrap_or_default()
        ),
        format!("--port={}", settings.gateway_port),
        format!("--metrics-address=$(HOST_IP):{}", settings.node_metrics_port),
        format!("--state-dir={STATE_DIRECTORY}"),
        "--node=$(NODE_NAME)".into(),
    ]
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// By exec: only such a probe's output reaches the pod's events.
fn probe(command: &str, period: i32, failures: Option<i32>, grace: Option<i64>) -> Probe {
    Probe {
        exec: Some(ExecAction {
            command: Some(vec![
                PROGRAM.into(),
                command.into(),
                format!("--state-dir={STATE_DIRECTORY}"),
            ]),
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(1),
        failure_threshold: failures,
        termination_grace_period_seconds: grace,
        ..Default::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..Default::default()
    }
}

fn volumes(place: &Place, settings: &Settings) -> Vec<Volume> {
    let volume = |name: &str| Volume {
        name: name.into(),
        ..Default::default()
    };
    let host_path = |path: &str, type_: Option<&str>| {
        Some(HostPathVolumeSource {
            path: path.into(),
            type_: type_.map(Into::into),
        })
    };
    let config_directory = Path::new(&settings.containerd_config)
        .parent()
        .map(|path| path.to_string_lossy());
    vec![
        Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: super::name(place),
                ..Default::default()
            }),
            ..volume("plan")
        },
        Volume {
            host_path: host_path(&settings.certs_dir, Some("DirectoryOrCreate")),
            ..volume("certs-d")
        },
        Volume {
            host_path: host_path(&config_directory.unwrap_or_default(), None),
            ..volume("containerd")
        },
        Volume {
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".into()),
                size_limit: Some(Quantity("8Mi".into())),
            }),
            ..volume("state")
        },
    ]
}
