//! Objects, their versions, and who watches them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::resources::{Key, ResourceType};
use super::selector::Selector;

/// One change, as watches tell it.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    key: Key,
    old: Option<Value>,
    new: Option<Value>,
}

#[derive(Debug)]
struct Watcher {
    resource: &'static ResourceType,
    namespace: String,
    selector: Selector,
    sender: UnboundedSender<Bytes>,
}

/// Everything that the server keeps.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    uids: u64,
    history: Vec<Change>,
    watchers: Vec<Watcher>,
}

impl Store {
    /// The same objects, watched by nobody.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            version: self.version,
            uids: self.uids,
            history: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// The version of the newest change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// All objects of a kind in a namespace (empty: in all).
    pub fn list(&self, resource: &ResourceType, namespace: &str) -> Vec<(Key, Value)> {
        self.objects
            .iter()
            .filter(|(key, _)| key.is(resource) && (namespace.is_empty() || key.namespace == namespace))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// A free cluster address: the same one for the same name in every run.
    pub fn address(&self, key: &Key) -> String {
        let taken: Vec<&str> = self
            .objects
            .values()
            .filter_map(|object| object.pointer("/spec/clusterIP")?.as_str())
            .collect();
        let text = format!("{}/{}", key.namespace, key.name);
        let seed = text
            .bytes()
            .fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let addresses = (0..).map(|add: u32| {
            let number = seed.wrapping_add(add) % 62_500;
            format!("10.96.{}.{}", number / 250, number % 250 + 1)
        });
        addresses
            .into_iter()
            .find(|address| !taken.contains(&address.as_str()))
            .unwrap_or_default()
    }

    /// Puts `new` in place, with the metadata that the server keeps. Nothing happens when nothing changes; an object
    /// that is being deleted and has no finalizer left goes.
    pub fn commit(&mut self, resource: &'static ResourceType, key: &Key, mut new: Value) -> Value {
        let old = self.objects.get(key).cloned();
        if old.as_ref() == Some(&new) {
            return new;
        }
        self.version += 1;
        let ended = new.pointer("/metadata/deletionTimestamp").is_some()
            && new
                .pointer("/metadata/finalizers")
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty);
        let counted = old.as_ref().is_none_or(|old| old.get("spec") != new.get("spec"))
            || old.as_ref().is_some_and(|old| {
                let at = "/metadata/deletionTimestamp";
                old.pointer(at) != new.pointer(at)
            });
        let generation = old
            .as_ref()
            .and_then(|old| old.pointer("/metadata/generation")?.as_i64())
            .unwrap_or(0);
        if old.is_none() {
            self.uids += 1;
        }
        let uid = format!("00000000-0000-0000-0000-{:012}", self.uids);
        if let Some(object) = new.as_object_mut() {
            object.insert("apiVersion".into(), json!(resource.api_version()));
            object.insert("kind".into(), json!(resource.kind));
            let metadata = object.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("name".into(), json!(key.name));
                if resource.namespaced {
                    metadata.insert("namespace".into(), json!(key.namespace));
                }
                metadata.insert("resourceVersion".into(), json!(self.version.to_string()));
                metadata.entry("uid").or_insert_with(|| json!(uid));
                let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
                metadata
                    .entry("creationTimestamp")
                    .or_insert_with(|| json!(now.to_string()));
                if resource.generation {
                    metadata.insert(
                        "generation".into(),
                        json!(if counted { generation + 1 } else { generation }),
                    );
                }
            }
        }
        if ended {
            self.objects.remove(key);
        } else {
            self.objects.insert(key.clone(), new.clone());
        }
        let change = Change {
            version: self.version,
            key: key.clone(),
            old,
            new: Some(new.clone()),
        };
        self.tell(if ended {
            Change {
                old: Some(new.clone()),
                new: None,
                ..change
            }
        } else {
            change
        });
        new
    }

    /// Takes an object away at once.
    pub fn remove(&mut self, key: &Key) -> Option<Value> {
        let mut old = self.objects.remove(key)?;
        self.version += 1;
        if let Some(version) = old.pointer_mut("/metadata/resourceVersion") {
            *version = json!(self.version.to_string());
        }
        self.tell(Change {
            version: self.version,
            key: key.clone(),
            old: Some(old.clone()),
            new: None,
        });
        Some(old)
    }

    fn tell(&mut self, change: Change) {
        self.watchers.retain(|watcher| {
            let event = watcher.event(&change);
            event.is_none_or(|event| watcher.sender.unbounded_send(line(&event)).is_ok())
        });
        self.history.push(change);
    }

    /// Starts a watch after `since`, or with every object there is when `initial`.
    pub fn watch(
        &mut self,
        (resource, namespace): (&'static ResourceType, &str),
        selector: Selector,
        since: Option<u64>,
        (initial, bookmarks): (bool, bool),
    ) -> UnboundedReceiver<Bytes> {
        let (sender, receiver) = unbounded();
        let watcher = Watcher {
            resource,
            namespace: namespace.into(),
            selector,
            sender,
        };
        let mut events = Vec::new();
        if initial || since.is_none() {
            let all = self.list(resource, namespace);
            let meant = all.into_iter().filter(|(_, object)| watcher.selector.matches(object));
            events.extend(meant.map(|(_, object)| json!({"type": "ADDED", "object": object})));
        } else if let Some(since) = since {
            let newer = self.history.iter().filter(|change| change.version > since);
            events.extend(newer.filter_map(|change| watcher.event(change)));
        }
        if bookmarks {
            let mut mark = json!({
                "apiVersion": resource.api_version(),
                "kind": resource.kind,
                "metadata": {"resourceVersion": self.version.to_string()},
            });
            if let (true, Some(metadata)) = (initial, mark.get_mut("metadata").and_then(Value::as_object_mut)) {
                metadata.insert("annotations".into(), json!({"k8s.io/initial-events-end": "true"}));
            }
            events.push(json!({"type": "BOOKMARK", "object": mark}));
        }
        let alive = events
            .iter()
            .all(|event| watcher.sender.unbounded_send(line(event)).is_ok());
        if alive {
            self.watchers.push(watcher);
        }
        receiver
    }

    /// Ends every watch, as a restart of the real server does.
    pub fn end_watches(&mut self) {
        self.watchers.clear();
    }
}

impl Watcher {
    fn event(&self, change: &Change) -> Option<Value> {
        if !change.key.is(self.resource) || !(self.namespace.is_empty() || self.namespace == change.key.namespace) {
            return None;
        }
        let meant = |object: &Option<Value>| object.as_ref().is_some_and(|object| self.selector.matches(object));
        let (kind, object) = match (meant(&change.old), meant(&change.new)) {
            (false, false) => return None,
            (false, true) => ("ADDED", &change.new),
            (true, true) => ("MODIFIED", &change.new),
            (true, false) => ("DELETED", &change.old),
        };
        Some(json!({"type": kind, "object": object}))
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}
