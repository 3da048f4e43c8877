//! The controllers of a real cluster, each run when the test says so.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::resources::{self, Key, ResourceType};
use super::selector::node_matches;
use super::ssa;
use super::store::Store;

const MANAGER: &str = "kube-controller-manager";
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// What the simulated cluster cannot do.
#[derive(Clone, Debug, Default)]
pub struct Broken {
    /// Deployments whose pods never get ready.
    pub deployments: BTreeSet<String>,
    /// Nodes whose pods are not ready, and since when.
    pub nodes: BTreeMap<String, Timestamp>,
}

fn all(store: &Store, group: &str, plural: &str) -> Vec<(&'static ResourceType, Key, Value)> {
    let Some(resource) = resources::find(group, "v1", plural) else {
        return Vec::new();
    };
    let found = store.list(resource, "").into_iter();
    found.map(|(key, object)| (resource, key, object)).collect()
}

fn text<'a>(object: &'a Value, at: &str) -> &'a str {
    object.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn write_status(store: &mut Store, resource: &'static ResourceType, key: &Key, old: &Value, status: Value) {
    if old.get("status") == Some(&status) {
        return;
    }
    let mut new = old.clone();
    if let Some(map) = new.as_object_mut() {
        map.insert("status".into(), status);
    }
    ssa::update(resource.kind, old, &mut new, MANAGER, "status");
    store.commit(resource, key, new);
}

/// Binds every claim whose class exists (or that asks for none), and carries out a growth.
pub fn claims(store: &mut Store) {
    let classes: BTreeSet<String> = all(store, "storage.k8s.io", "storageclasses")
        .into_iter()
        .map(|(_, key, _)| key.name)
        .collect();
    for (resource, key, claim) in all(store, "", "persistentvolumeclaims") {
        let class = text(&claim, "/spec/storageClassName");
        if class.is_empty() || classes.contains(class) {
            let size = claim
                .pointer("/spec/resources/requests/storage")
                .cloned()
                .unwrap_or_default();
            let status = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}});
            write_status(store, resource, &key, &claim, status);
        }
    }
}

/// Makes every Deployment available whose claims are bound, unless it is broken.
pub fn deployments(store: &mut Store, broken: &Broken) {
    for (resource, key, deployment) in all(store, "apps", "deployments") {
        let volumes = deployment
            .pointer("/spec/template/spec/volumes")
            .and_then(Value::as_array);
        let bound = volumes.into_iter().flatten().all(|volume| {
            let name = text(volume, "/persistentVolumeClaim/claimName");
            let claim =
                resources::find("", "v1", "persistentvolumeclaims").map(|kind| Key::new(kind, &key.namespace, name));
            name.is_empty()
                || claim
                    .and_then(|key| store.get(&key))
                    .is_some_and(|claim| text(claim, "/status/phase") == "Bound")
        });
        let up = bound && !broken.deployments.contains(&key.name);
        let count = u8::from(up);
        let condition = |kind: &str, status: bool, reason: &str| {
            json!({
                "type": kind, "status": if status { "True" } else { "False" }, "reason": reason, "message": "",
                "lastTransitionTime": LONG_AGO, "lastUpdateTime": LONG_AGO,
            })
        };
        let available = if up {
            "MinimumReplicasAvailable"
        } else {
            "MinimumReplicasUnavailable"
        };
        let progressing = if up {
            "NewReplicaSetAvailable"
        } else {
            "ReplicaSetUpdated"
        };
        let status = json!({
            "observedGeneration": deployment.pointer("/metadata/generation"),
            "replicas": 1, "updatedReplicas": 1,
            "readyReplicas": count, "availableReplicas": count, "unavailableReplicas": 1 - count,
            "conditions": [condition("Available", up, available), condition("Progressing", true, progressing)],
        });
        write_status(store, resource, &key, &deployment, status);
    }
}

/// Gives every DaemonSet a pod on each node that its affinity names, and counts them.
pub fn daemon_sets(store: &mut Store, broken: &Broken) {
    let nodes = all(store, "", "nodes");
    let Some(pods) = resources::find("", "v1", "pods") else {
        return;
    };
    for (resource, key, set) in all(store, "apps", "daemonsets") {
        let wanted: BTreeSet<String> = nodes
            .iter()
            .filter(|(_, _, node)| node_matches(&set, node))
            .map(|(_, key, _)| key.name.clone())
            .collect();
        let uid = text(&set, "/metadata/uid").to_owned();
        for (pod_key, pod) in store.list(pods, &key.namespace) {
            if text(&pod, "/metadata/ownerReferences/0/uid") == uid && !wanted.contains(text(&pod, "/spec/nodeName")) {
                store.remove(&pod_key);
            }
        }
        let generation = set.pointer("/metadata/generation").cloned().unwrap_or_default();
        for node in &wanted {
            let down = broken.nodes.get(node);
            let since = down.map_or_else(|| LONG_AGO.to_owned(), ToString::to_string);
            let pod_key = Key::new(pods, &key.namespace, &format!("{}-{node}", key.name));
            let old = store.get(&pod_key).cloned();
            let mut pod = old.unwrap_or_else(|| pod(&set, &key, node));
            if let Some(map) = pod.as_object_mut() {
                map.insert("status".into(), json!({
                    "phase": "Running",
                    "conditions": [{
                        "type": "Ready", "status": if down.is_none() { "True" } else { "False" }, "lastTransitionTime": since,
                    }],
                }));
            }
            store.commit(pods, &pod_key, pod);
        }
        let ready = wanted.iter().filter(|node| !broken.nodes.contains_key(*node)).count();
        let status = json!({
            "observedGeneration": generation,
            "desiredNumberScheduled": wanted.len(), "currentNumberScheduled": wanted.len(),
            "updatedNumberScheduled": wanted.len(), "numberMisscheduled": 0,
            "numberReady": ready, "numberAvailable": ready, "numberUnavailable": wanted.len() - ready,
        });
        write_status(store, resource, &key, &set, status);
    }
}

fn pod(set: &Value, key: &Key, node: &str) -> Value {
    let mut spec = set.pointer("/spec/template/spec").cloned().unwrap_or_default();
    if let Some(map) = spec.as_object_mut() {
        map.insert("nodeName".into(), json!(node));
    }
    json!({
        "metadata": {
            "labels": set.pointer("/spec/template/metadata/labels"),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": key.name, "controller": true,
                "uid": text(set, "/metadata/uid"),
            }],
        },
        "spec": spec,
    })
}

/// Takes away what has owners of which none is left, over and over, as background deletion does.
pub fn collect_garbage(store: &mut Store) {
    loop {
        let uids: BTreeSet<String> = store
            .all()
            .map(|(_, object)| text(object, "/metadata/uid").to_owned())
            .collect();
        let orphaned = |object: &Value| {
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            owners.is_some_and(|owners| {
                !owners.is_empty() && owners.iter().all(|owner| !uids.contains(text(owner, "/uid")))
            })
        };
        let gone: Vec<Key> = store
            .all()
            .filter(|(_, object)| orphaned(object))
            .map(|(key, _)| key.clone())
            .collect();
        if gone.is_empty() {
            return;
        }
        for key in gone {
            store.remove(&key);
        }
    }
}
