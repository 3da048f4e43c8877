//! Sets of fields, as server-side apply counts them: which leaf belongs to whom.
//!
//! The real server reads from each kind's schema which lists are maps; here a table of field names does.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// One step from an object to a field of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of an object.
    Field(String),
    /// An item of a list that is a map, by its keys (canonical JSON).
    Item(String),
    /// An item of a list that is a set, by its value (canonical JSON).
    Value(String),
}

/// A field's way from the root.
pub type Path = Vec<Step>;

/// Fields, each by its leaf; an item of a list that is a map counts as a leaf of its own too.
pub type FieldSet = BTreeSet<Path>;

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Item by item, told apart by these fields.
    Map(&'static [&'static str]),
    /// Value by value.
    Set,
    /// As a whole.
    Atomic,
}

/// How the list `items` in the field `name` is merged in objects of `kind`.
pub fn list_kind(kind: &str, name: &str, items: &[Value]) -> ListKind {
    match (kind, name) {
        (_, "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets")
        | ("RegistryCache", "regions" | "sites") => ListKind::Map(&["name"]),
        ("Service", "ports") => ListKind::Map(&["port", "protocol"]),
        (_, "ports") => ListKind::Map(&["containerPort", "protocol"]),
        (_, "volumeMounts") => ListKind::Map(&["mountPath"]),
        (_, "conditions") => ListKind::Map(&["type"]),
        (_, "ownerReferences") => ListKind::Map(&["uid"]),
        (_, "topologySpreadConstraints") => ListKind::Map(&["topologyKey", "whenUnsatisfiable"]),
        // Those of the spec; in the status it is a list of names.
        ("RegistryCache", "upstreams") if items.iter().any(Value::is_object) => ListKind::Map(&["host"]),
        (_, "finalizers") => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// Whether the object in the field `name` belongs to one manager as a whole.
pub fn is_atomic(name: &str) -> bool {
    matches!(
        name,
        "selector"
            | "nodeSelector"
            | "requiredDuringSchedulingIgnoredDuringExecution"
            | "fieldRef"
            | "resourceFieldRef"
            | "secretKeyRef"
            | "configMapKeyRef"
    )
}

/// The identity of an item in a list that is a map.
pub fn item_key(item: &Value, keys: &[&str]) -> String {
    let mut map = Map::new();
    for key in keys {
        let value = item.get(key).cloned();
        // The one default in a key that matters here.
        let value = value.or_else(|| (*key == "protocol").then(|| json!("TCP")));
        map.insert((*key).into(), value.unwrap_or(Value::Null));
    }
    Value::Object(map).to_string()
}

/// The fields of `object` that count for ownership.
pub fn leaves(kind: &str, object: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    let mut path = Path::new();
    collect(kind, "", object, &mut path, &mut set);
    set.retain(|path| !is_identity(path));
    set
}

/// What belongs to nobody: the object's address and what the server keeps itself.
fn is_identity(path: &[Step]) -> bool {
    let names: Vec<&str> = path
        .iter()
        .map(|step| match step {
            Step::Field(name) => name.as_str(),
            Step::Item(_) | Step::Value(_) => "",
        })
        .collect();
    matches!(
        names.as_slice(),
        ["apiVersion" | "kind" | "metadata"]
            | [
                "metadata",
                "name"
                    | "namespace"
                    | "uid"
                    | "resourceVersion"
                    | "generation"
                    | "creationTimestamp"
                    | "deletionTimestamp"
                    | "deletionGracePeriodSeconds"
                    | "managedFields",
                ..
            ]
    )
}

fn collect(kind: &str, name: &str, value: &Value, path: &mut Path, set: &mut FieldSet) {
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic(name) => {
            for (key, value) in map {
                path.push(Step::Field(key.clone()));
                collect(kind, key, value, path, set);
                path.pop();
            }
        }
        Value::Array(items) => match list_kind(kind, name, items) {
            ListKind::Map(keys) => {
                for item in items {
                    path.push(Step::Item(item_key(item, keys)));
                    collect(kind, "", item, path, set);
                    set.insert(path.clone());
                    path.pop();
                }
            }
            ListKind::Set => {
                for item in items {
                    set.insert(path.iter().cloned().chain([Step::Value(item.to_string())]).collect());
                }
            }
            ListKind::Atomic => {
                set.insert(path.clone());
            }
        },
        _ => {
            set.insert(path.clone());
        }
    }
}

/// The value at `path`.
pub fn get<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else {
        return Some(value);
    };
    match step {
        Step::Field(name) => get(value.get(name)?, rest),
        Step::Item(_) | Step::Value(_) => {
            let at = position(value.as_array()?, step)?;
            get(value.get(at)?, rest)
        }
    }
}

/// Removes what is at `path`, and parents that are empty without it.
pub fn remove(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => {
            let gone = match map.get_mut(name) {
                Some(child) if !rest.is_empty() => {
                    remove(child, rest);
                    is_empty(child)
                }
                _ => true,
            };
            if gone {
                map.remove(name);
            }
        }
        (step, Value::Array(items)) => {
            let Some(at) = position(items, step) else { return };
            match items.get_mut(at) {
                Some(child) if !rest.is_empty() => remove(child, rest),
                _ => {
                    items.remove(at);
                }
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn position(items: &[Value], step: &Step) -> Option<usize> {
    items.iter().position(|item| match step {
        Step::Value(text) => serde_json::from_str(text).is_ok_and(|wanted: Value| wanted == *item),
        Step::Item(text) => {
            let wanted: Value = serde_json::from_str(text).unwrap_or_default();
            let keys: Vec<&str> = wanted
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .map(String::as_str)
                .collect();
            item_key(item, &keys) == *text
        }
        Step::Field(_) => false,
    })
}

/// The set as `fieldsV1` writes it.
pub fn to_v1(set: &FieldSet) -> Value {
    let mut root = Map::new();
    for path in set {
        let mut at = &mut root;
        for (depth, step) in path.iter().enumerate() {
            let name = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Item(key) => format!("k:{key}"),
                Step::Value(value) => format!("v:{value}"),
            };
            let next = at.entry(name).or_insert_with(|| json!({}));
            let Value::Object(next) = next else { break };
            if depth + 1 == path.len() && matches!(step, Step::Item(_)) {
                next.insert(".".into(), json!({}));
            }
            at = next;
        }
    }
    Value::Object(root)
}

/// Reads `fieldsV1`.
pub fn from_v1(value: &Value) -> FieldSet {
    fn walk(value: &Value, path: &mut Path, set: &mut FieldSet) {
        let Value::Object(map) = value else { return };
        if map.is_empty() {
            set.insert(path.clone());
        }
        for (name, child) in map {
            let step = match name.split_once(':') {
                Some(("f", name)) => Step::Field(name.into()),
                Some(("k", key)) => Step::Item(key.into()),
                Some(("v", value)) => Step::Value(value.into()),
                _ => {
                    set.insert(path.clone());
                    continue;
                }
            };
            path.push(step);
            walk(child, path, set);
            path.pop();
        }
    }
    let mut set = FieldSet::new();
    if value.as_object().is_some_and(|map| !map.is_empty()) {
        walk(value, &mut Path::new(), &mut set);
    }
    set
}
