//! What the operator says of a `RegistryCache`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The observed state. Nothing in it changes by the clock alone.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryCacheStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready` (the summary), `Reconciling`, `Stalled`, `CachesAvailable`, `NodesConfigured`, `StorageHealthy`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// One entry for each cache, made or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2048))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sites: Vec<SiteStatus>,

    /// Caches that are ready and caches in all, in the regions of this cluster: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caches_ready: Option<String>,

    /// Nodes whose helper is ready and nodes in all, in the regions of this cluster: `48/50`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_ready: Option<String>,
}

/// One cache.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// The name that its Deployment, Service, ConfigMap and PersistentVolumeClaim have, or would have.
    pub name: String,

    /// The region that it serves.
    pub region: String,

    /// The registries that it caches, as image names spell them.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub upstreams: Vec<String>,

    /// Where nodes reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// How it is.
    pub phase: SitePhase,

    /// What is wrong, or left out, and what to do about it. Empty when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a cache is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum SitePhase {
    /// It is being made.
    #[default]
    Pending,
    /// It answers.
    Ready,
    /// It did answer, or cannot come up: see the message.
    Degraded,
    /// No node of this cluster is in its region: nothing is made here.
    NotLocal,
    /// It runs, but its region has lost its last node. It goes when the spec drops the region.
    Idle,
    /// Other RegistryCaches serve all of its upstreams.
    UpstreamTaken,
}
