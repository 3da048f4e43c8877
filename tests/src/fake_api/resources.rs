//! The kinds that the server knows.

/// One kind and how it is addressed.
#[derive(Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name in objects.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether status is a resource apart: then writes to the object leave it alone.
    pub status: bool,
    /// Whether the server counts changes of the spec in `metadata.generation`.
    pub generation: bool,
}

const PLAIN: ResourceType = ResourceType {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    namespaced: true,
    status: false,
    generation: false,
};

/// Every kind.
pub static ALL: &[ResourceType] = &[
    ResourceType {
        plural: "namespaces",
        kind: "Namespace",
        namespaced: false,
        status: true,
        ..PLAIN
    },
    ResourceType {
        plural: "nodes",
        kind: "Node",
        namespaced: false,
        status: true,
        ..PLAIN
    },
    ResourceType {
        plural: "pods",
        kind: "Pod",
        status: true,
        ..PLAIN
    },
    ResourceType {
        plural: "services",
        kind: "Service",
        status: true,
        ..PLAIN
    },
    ResourceType {
        plural: "configmaps",
        kind: "ConfigMap",
        ..PLAIN
    },
    ResourceType {
        plural: "secrets",
        kind: "Secret",
        ..PLAIN
    },
    ResourceType {
        plural: "persistentvolumeclaims",
        kind: "PersistentVolumeClaim",
        status: true,
        ..PLAIN
    },
    ResourceType {
        group: "apps",
        plural: "deployments",
        kind: "Deployment",
        status: true,
        generation: true,
        ..PLAIN
    },
    ResourceType {
        group: "apps",
        plural: "daemonsets",
        kind: "DaemonSet",
        status: true,
        generation: true,
        ..PLAIN
    },
    ResourceType {
        group: "coordination.k8s.io",
        plural: "leases",
        kind: "Lease",
        ..PLAIN
    },
    ResourceType {
        group: "events.k8s.io",
        plural: "events",
        kind: "Event",
        ..PLAIN
    },
    ResourceType {
        group: "storage.k8s.io",
        plural: "storageclasses",
        kind: "StorageClass",
        namespaced: false,
        ..PLAIN
    },
    ResourceType {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition",
        namespaced: false,
        status: true,
        generation: true,
        ..PLAIN
    },
    ResourceType {
        group: "regcache.dev",
        version: "v1alpha1",
        plural: "registrycaches",
        kind: "RegistryCache",
        namespaced: false,
        status: true,
        generation: true,
    },
];

/// The kind at a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceType> {
    ALL.iter()
        .find(|known| known.group == group && known.version == version && known.plural == plural)
}

impl ResourceType {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// The address of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// API group.
    pub group: &'static str,
    /// Name of the kind in paths.
    pub plural: &'static str,
    /// Namespace; empty for kinds outside namespaces.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// The object `name` of `resource`.
    pub fn new(resource: &'static ResourceType, namespace: &str, name: &str) -> Self {
        Self {
            group: resource.group,
            plural: resource.plural,
            namespace: if resource.namespaced {
                namespace.into()
            } else {
                String::new()
            },
            name: name.into(),
        }
    }

    /// Whether it is of this kind.
    pub fn is(&self, resource: &ResourceType) -> bool {
        self.group == resource.group && self.plural == resource.plural
    }
}
