//! `RegistryCache`: what a platform team writes.
//!
//! There are no defaults in the schema and no webhook: a field that the server fills in is a permanent difference for
//! GitOps tools. Defaults are stated in each field's description and resolved by the operator.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::RegistryCacheStatus;

/// A pull-through registry cache in each region, and every node's containerd turned to its own region's one.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "regcache.dev",
    version = "v1alpha1",
    kind = "RegistryCache",
    plural = "registrycaches",
    shortname = "rcache",
    category = "regcache",
    status = "RegistryCacheStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A pull-through registry cache in each region, and every node's containerd turned to its own region's one.",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name is too long: use 52 characters or fewer, its name is part of the caches' names"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Caches", type_ = "string", json_path = ".status.cachesReady"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodesReady"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RegistryCacheSpec {
    /// The registries to cache, each once. A registry belongs to the oldest RegistryCache that names it.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into()]))]
    pub upstreams: Vec<UpstreamSpec>,

    /// The regions that get a cache. A region is a value of the nodes' label `topology.kubernetes.io/region`. A region
    /// that no node of this cluster carries is left alone, so that the same manifest can be applied to every cluster.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub regions: Vec<RegionSpec>,

    /// How the caches run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSpec>,

    /// What happens on the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesSpec>,

    /// True: the operator changes nothing more for this object (neither caches nor nodes); what runs goes on running.
    /// Deleting the object works nevertheless. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// One registry to cache.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// The registry as image names spell it: `docker.io`, `ghcr.io`, `registry.corp:5000`.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?(:[0-9]{1,5})?$')")
            .message("host must be the registry as image names spell it, in lower case, without scheme, path or user: write docker.io, not https://docker.io/library; the address goes into url"),
        validation = Rule::new("!(self in ['index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'])")
            .message("containerd knows Docker Hub as docker.io: write host: docker.io")
    )]
    pub host: String,

    /// The registry's own address. Default: `https://<host>`, and `https://registry-1.docker.io` for `docker.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/@?# ]+/?$')")
            .message("url must be http:// or https:// with a host and at most a port, without user, path or query: for example https://registry-1.docker.io")
    )]
    pub url: Option<String>,
}

/// One region and its cache.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionSpec {
    /// The region: the value of its nodes' label `topology.kubernetes.io/region`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$')")
            .message("name must be a value of the node label topology.kubernetes.io/region: letters, digits, '-', '_' and '.', at most 63; see kubectl get nodes -L topology.kubernetes.io/region")
    )]
    pub name: String,

    /// The volume of each cache in this region. What is left out comes from `spec.cache.storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
}

/// How the caches run, in every region alike.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.image) || has(self.engine)")
        .message("image belongs to one engine: say which, for example engine: Distribution")
)]
#[serde(rename_all = "camelCase")]
pub struct CacheSpec {
    /// The program in the cache pods. Default: `Builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,

    /// The engine's image; `engine` has to say whose it is. Default: for `Builtin` the operator's own image, for
    /// `Distribution` the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// The volume of each cache. A region may say otherwise in `spec.regions[].storage`. `Builtin` keeps to nine tenths
    /// of it and drops what was used least recently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,

    /// CPU and memory of each cache pod, as in any pod. Default: requests of 50m CPU and 128Mi memory, no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// A cache's volume.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size, as a Kubernetes quantity: `200Gi`. Default: `50Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
            .message("size must be a quantity greater than zero: for example 50Gi")
    )]
    pub size: Option<String>,

    /// The StorageClass. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// The program in the cache pods. `Builtin` is ours: one cache for each region, for all upstreams; every layer is
/// fetched once, whoever asks for it. `Distribution` is CNCF distribution 3.1.2 or later: one cache for each region and
/// upstream. When it changes, new caches take over before the old ones go; what those have stored stays in their
/// volumes. Default: `Builtin`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Engine {
    /// Ours: one cache for each region, for all upstreams.
    #[default]
    Builtin,
    /// CNCF distribution 3.1.2 or later: one cache for each region and upstream.
    Distribution,
}

/// What happens on the nodes.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodesSpec {
    /// `Enforce` writes containerd's `hosts.toml`; `Observe` writes nothing and logs what it would write; `Disabled` leaves
    /// the nodes alone: the caches run, but nothing uses them. Default: `Enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NodesMode>,
}

/// `Enforce` writes containerd's `hosts.toml`; `Observe` writes nothing and logs what it would write; `Disabled` leaves
/// the nodes alone: the caches run, but nothing uses them. Default: `Enforce`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum NodesMode {
    /// Write `hosts.toml`.
    #[default]
    Enforce,
    /// Write nothing, log what would be written.
    Observe,
    /// Leave the nodes alone. (Not spelt `Off`: an unquoted `Off` is the boolean false to Kubernetes' YAML reader.)
    #[serde(rename = "Disabled")]
    Off,
}
