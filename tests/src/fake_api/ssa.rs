//! Server-side apply and the ownership of fields.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{self, FieldSet, ListKind, Step};

/// One manager's share of an object.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Who.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// `status` or nothing.
    pub subresource: String,
    time: String,
    set: FieldSet,
}

impl Owner {
    fn is(&self, manager: &str, operation: &str, subresource: &str) -> bool {
        self.manager == manager && self.operation == operation && self.subresource == subresource
    }
}

/// The owners that `object` names.
pub fn owners(object: &Value) -> Vec<Owner> {
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .map(|entry| Owner {
            manager: text(entry, "manager"),
            operation: text(entry, "operation"),
            subresource: text(entry, "subresource"),
            time: text(entry, "time"),
            set: entry.get("fieldsV1").map(fields::from_v1).unwrap_or_default(),
        })
        .collect()
}

fn write_owners(object: &mut Value, owners: &[Owner]) {
    let api_version = object.get("apiVersion").cloned().unwrap_or_default();
    let entries: Vec<Value> = owners
        .iter()
        .filter(|owner| !owner.set.is_empty())
        .map(|owner| {
            let mut entry = json!({
                "manager": owner.manager,
                "operation": owner.operation,
                "apiVersion": api_version,
                "time": owner.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields::to_v1(&owner.set),
            });
            if let (false, Some(map)) = (owner.subresource.is_empty(), entry.as_object_mut()) {
                map.insert("subresource".into(), json!(owner.subresource));
            }
            entry
        })
        .collect();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), Value::Array(entries));
        }
    }
}

fn set_of<'a>(owners: &'a mut Vec<Owner>, manager: &str, operation: &str, subresource: &str) -> &'a mut Owner {
    let at = owners
        .iter()
        .position(|owner| owner.is(manager, operation, subresource));
    let at = at.unwrap_or_else(|| {
        owners.push(Owner {
            manager: manager.into(),
            operation: operation.into(),
            subresource: subresource.into(),
            time: Timestamp::now().to_string(),
            set: FieldSet::new(),
        });
        owners.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the place was found or made just above")]
    &mut owners[at]
}

/// Applies `applied` to `live` as `manager`: what it names is set, what it named before and does not name now goes
/// unless somebody else has it.
pub fn apply(
    kind: &str,
    live: &Value,
    applied: &Value,
    (manager, subresource, force): (&str, &str, bool),
) -> Result<Value, ApiError> {
    let mut owners = owners(live);
    let new = fields::leaves(kind, applied);
    let conflicts: Vec<String> = owners
        .iter()
        .filter(|owner| !owner.is(manager, "Apply", subresource))
        .flat_map(|owner| {
            let taken = owner
                .set
                .iter()
                .filter(|path| new.contains(*path) && differs(live, applied, path));
            taken.map(|path| format!("conflict with {:?}: {}", owner.manager, show(path)))
        })
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(ApiError::conflict(format!(
            "Apply failed with {} conflicts: {}",
            conflicts.len(),
            conflicts.join(", ")
        )));
    }
    let mut merged = live.clone();
    merge(kind, "", &mut merged, applied);
    for owner in &mut owners {
        if !owner.is(manager, "Apply", subresource) {
            owner
                .set
                .retain(|path| !new.contains(path) || !differs(live, applied, path));
        }
    }
    let old = std::mem::take(&mut set_of(&mut owners, manager, "Apply", subresource).set);
    // Sorted, an item comes before its fields: it goes as a whole while its keys still tell it apart.
    for path in old.difference(&new) {
        let kept = owners
            .iter()
            .flat_map(|owner| &owner.set)
            .chain(&new)
            .any(|other| other.starts_with(path));
        if !kept {
            fields::remove(&mut merged, path);
        }
    }
    let owner = set_of(&mut owners, manager, "Apply", subresource);
    if old != new {
        owner.time = Timestamp::now().to_string();
    }
    owner.set = new;
    write_owners(&mut merged, &owners);
    Ok(merged)
}

/// Gives the fields that `new` changes against `live` to `manager`, as every write but apply does.
pub fn update(kind: &str, live: &Value, new: &mut Value, manager: &str, subresource: &str) {
    let (before, after) = (fields::leaves(kind, live), fields::leaves(kind, new));
    let changed: FieldSet = after
        .iter()
        .filter(|path| !before.contains(*path) || differs(live, new, path))
        .cloned()
        .collect();
    let mut owners = owners(live);
    for owner in &mut owners {
        let mine = owner.is(manager, "Update", subresource);
        owner
            .set
            .retain(|path| after.contains(path) && (mine || !changed.contains(path)));
    }
    if !changed.is_empty() {
        let owner = set_of(&mut owners, manager, "Update", subresource);
        owner.time = Timestamp::now().to_string();
        owner.set.extend(changed);
    }
    write_owners(new, &owners);
}

fn differs(live: &Value, applied: &Value, path: &[Step]) -> bool {
    // An item as such is the same in both: its fields are counted apart.
    !matches!(path.last(), Some(Step::Item(_))) && fields::get(live, path) != fields::get(applied, path)
}

fn show(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Item(key) | Step::Value(key) => format!("[{key}]"),
        })
        .collect()
}

fn merge(kind: &str, name: &str, live: &mut Value, applied: &Value) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !fields::is_atomic(name) => {
            for (key, value) in applied {
                merge(kind, key, live.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(applied)) => match fields::list_kind(kind, name, applied) {
            ListKind::Map(keys) => {
                for item in applied {
                    let key = fields::item_key(item, keys);
                    match live.iter_mut().find(|old| fields::item_key(old, keys) == key) {
                        Some(old) => merge(kind, "", old, item),
                        None => live.push(item.clone()),
                    }
                }
            }
            ListKind::Set => {
                for item in applied {
                    if !live.contains(item) {
                        live.push(item.clone());
                    }
                }
            }
            ListKind::Atomic => live.clone_from(applied),
        },
        (live, applied) => live.clone_from(applied),
    }
}
