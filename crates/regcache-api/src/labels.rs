//! Labels, annotations and other fixed strings that the parts agree on.

use std::collections::BTreeMap;

/// `app.kubernetes.io/name` of everything that regcache makes.
pub const APP: &str = "regcache";
/// Who manages the children: the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "regcache-operator";
/// The RegistryCache that a cache belongs to.
pub const REGISTRY_CACHE: &str = "regcache.dev/registrycache";
/// The region that a child serves.
pub const REGION: &str = "regcache.dev/region";
/// The zone that a child serves; absent for nodes without one.
pub const ZONE: &str = "regcache.dev/zone";
/// The upstream that a cache serves, made fit for a label value; absent for a cache of several.
pub const UPSTREAM: &str = "regcache.dev/upstream";
/// Annotation: the upstream that a cache serves, as image names spell it; absent for a cache of several.
pub const UPSTREAM_HOST: &str = "regcache.dev/upstream-host";
/// The name of the cache that a child of a cache of several upstreams belongs to.
pub const SITE: &str = "regcache.dev/site";
/// Annotation on the configuration of a cache of several upstreams: JSON, since when (RFC 3339) it names each of them.
pub const NAMED_SINCE: &str = "regcache.dev/named-since";
/// Annotation on a RegistryCache, value `true`: nodes let go of its caches at once.
pub const STOP: &str = "regcache.dev/stop";
/// Annotation on a plan: when its content last changed, RFC 3339.
pub const CHANGED_AT: &str = "regcache.dev/changed-at";
/// Finalizer of a RegistryCache: its caches go only after the nodes have let go of them.
pub const FINALIZER: &str = "regcache.dev/withdraw";

/// What a child is for: the value of `app.kubernetes.io/component`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// A cache.
    Cache,
    /// The node helper.
    Node,
}

impl Component {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Node => "node",
        }
    }
}

/// The labels that every child of `component` carries.
pub fn base(component: Component) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", APP),
        ("app.kubernetes.io/component", component.as_str()),
        ("app.kubernetes.io/managed-by", MANAGER),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// A selector for every child of `component`.
pub fn selector(component: Component) -> String {
    base(component)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}
