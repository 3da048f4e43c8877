//! What each verb does.

use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::request::Request;
use super::resources::Key;
use super::selector::Selector;
use super::store::Store;
use super::{defaults, ssa};

/// What the server says.
#[derive(Debug)]
pub enum Reply {
    /// One document.
    Document {
        /// HTTP status.
        code: u16,
        /// The body.
        body: Value,
    },
    /// Events, one a line, until the watch ends.
    Watch(UnboundedReceiver<Bytes>),
}

fn ok(body: Value) -> Reply {
    Reply::Document { code: 200, body }
}

/// Carries out `request`.
pub fn run(store: &mut Store, request: &Request) -> Result<Reply, ApiError> {
    let key = Key::new(request.resource, &request.namespace, &request.name);
    let missing = || ApiError::not_found(&format!("{}.{} {:?}", key.plural, key.group, key.name));
    match request.verb {
        "get" => store.get(&key).cloned().map(ok).ok_or_else(missing),
        "list" => Ok(ok(list(store, request))),
        "watch" => Ok(Reply::Watch(watch(store, request))),
        "create" => create(store, request),
        "update" => {
            let old = store.get(&key).cloned().ok_or_else(missing)?;
            let new = json_body(request)?;
            write(store, request, &key, Some(&old), new).map(ok)
        }
        "patch" => patch(store, request, &key),
        "delete" => {
            let old = store.get(&key).cloned().ok_or_else(missing)?;
            delete(store, request, &key, old).map(ok)
        }
        verb => Err(ApiError::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not simulated"),
        )),
    }
}

fn selector(request: &Request) -> Selector {
    Selector::parse(request.option("labelSelector"), request.option("fieldSelector"))
}

fn list(store: &Store, request: &Request) -> Value {
    let selector = selector(request);
    let all = store.list(request.resource, &request.namespace);
    let items: Vec<Value> = all
        .into_iter()
        .map(|(_, object)| object)
        .filter(|object| selector.matches(object))
        .collect();
    json!({
        "apiVersion": request.resource.api_version(),
        "kind": format!("{}List", request.resource.kind),
        "metadata": {"resourceVersion": store.version().to_string()},
        "items": items,
    })
}

fn watch(store: &mut Store, request: &Request) -> UnboundedReceiver<Bytes> {
    let since = request
        .option("resourceVersion")
        .parse()
        .ok()
        .filter(|version| *version != 0);
    let initial = request.option("sendInitialEvents") == "true";
    let bookmarks = request.option("allowWatchBookmarks") == "true";
    let of = (request.resource, request.namespace.as_str());
    store.watch(of, selector(request), since, (initial, bookmarks))
}

fn json_body(request: &Request) -> Result<Value, ApiError> {
    serde_json::from_slice(&request.body).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn create(store: &mut Store, request: &Request) -> Result<Reply, ApiError> {
    let mut body = json_body(request)?;
    let text = |body: &Value, at: &str| body.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut name = text(&body, "/metadata/name");
    if name.is_empty() {
        name = format!("{}{:05}", text(&body, "/metadata/generateName"), store.version());
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".into(), json!(name));
        }
    }
    let key = Key::new(request.resource, &request.namespace, &name);
    if store.get(&key).is_some() {
        return Err(ApiError::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", key.plural),
        ));
    }
    let body = write(store, request, &key, None, body)?;
    Ok(Reply::Document { code: 201, body })
}

fn patch(store: &mut Store, request: &Request, key: &Key) -> Result<Reply, ApiError> {
    let old = store.get(key).cloned();
    let missing = || ApiError::not_found(&format!("{}.{} {:?}", key.plural, key.group, key.name));
    let bad = |error: &dyn std::error::Error| ApiError::bad_request(error.to_string());
    match request.content_type.as_str() {
        "application/apply-patch+yaml" => apply(store, request, key, old.as_ref()),
        // A strategic merge differs from a merge in lists only; none is patched that way here.
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            let old = old.ok_or_else(missing)?;
            let mut new = old.clone();
            json_patch::merge(&mut new, &json_body(request)?);
            write(store, request, key, Some(&old), new).map(ok)
        }
        "application/json-patch+json" => {
            let old = old.ok_or_else(missing)?;
            let mut new = old.clone();
            let mut patch: json_patch::Patch = serde_json::from_slice(&request.body).map_err(|error| bad(&error))?;
            // The real server takes a field that is not there for null.
            patch.0.retain(|operation| {
                let json_patch::PatchOperation::Test(test) = operation else {
                    return true;
                };
                !(test.value.is_null() && old.pointer(test.path.as_str()).is_none())
            });
            json_patch::patch(&mut new, &patch).map_err(|error| ApiError::invalid(error.to_string()))?;
            write(store, request, key, Some(&old), new).map(ok)
        }
        other => Err(ApiError::new(415, "UnsupportedMediaType", other)),
    }
}

fn apply(store: &mut Store, request: &Request, key: &Key, old: Option<&Value>) -> Result<Reply, ApiError> {
    let applied: Value =
        serde_yaml::from_slice(&request.body).map_err(|error| ApiError::bad_request(error.to_string()))?;
    if request.option("fieldManager").is_empty() {
        return Err(ApiError::bad_request("fieldManager is required for apply patch"));
    }
    let text = |name: &str| applied.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion") != request.resource.api_version() || text("kind") != request.resource.kind {
        return Err(ApiError::bad_request(
            "apiVersion and kind must be given and fit the path",
        ));
    }
    if applied
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if old.is_none() && !request.subresource.is_empty() {
        return Err(ApiError::not_found(&key.name));
    }
    if old.is_none() && applied.pointer("/metadata/uid").is_some() {
        return Err(ApiError::conflict("uid mismatch: the object does not exist"));
    }
    let live = old.cloned().unwrap_or_else(
        || json!({"apiVersion": request.resource.api_version(), "kind": request.resource.kind, "metadata": {}}),
    );
    check_preconditions(Some(&live).filter(|_| old.is_some()), applied.get("metadata"))?;
    let manager = (
        request.option("fieldManager"),
        request.subresource.as_str(),
        request.option("force") == "true",
    );
    let mut relevant = applied;
    strip(request, &mut relevant);
    let new = ssa::apply(request.resource.kind, &live, &relevant, manager)?;
    let body = finish(store, request, key, old, new)?;
    Ok(Reply::Document {
        code: if old.is_none() { 201 } else { 200 },
        body,
    })
}

/// Takes from `body` what this request may not write: status with the object, everything else with status.
fn strip(request: &Request, body: &mut Value) {
    let Some(map) = body.as_object_mut() else { return };
    if request.subresource == "status" {
        map.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "status"));
    } else if request.resource.status {
        map.remove("status");
    }
}

/// A write that is no apply: the fields it changes become the writer's.
fn write(
    store: &mut Store,
    request: &Request,
    key: &Key,
    old: Option<&Value>,
    mut new: Value,
) -> Result<Value, ApiError> {
    check_preconditions(old, new.get("metadata"))?;
    let fallback = json!({"metadata": {}});
    let base = old.unwrap_or(&fallback);
    let keep = |new: &mut Value, name: &str| {
        let Some(map) = new.as_object_mut() else { return };
        match base.get(name) {
            Some(value) => map.insert(name.into(), value.clone()),
            None => map.remove(name),
        };
    };
    if request.subresource == "status" {
        let status = new.get("status").cloned();
        new = base.clone();
        if let (Some(map), Some(status)) = (new.as_object_mut(), status) {
            map.insert("status".into(), status);
        }
    } else if request.resource.status {
        keep(&mut new, "status");
    }
    if let (Some(metadata), Some(old)) = (
        new.get_mut("metadata").and_then(Value::as_object_mut),
        base.get("metadata"),
    ) {
        for name in [
            "uid",
            "creationTimestamp",
            "generation",
            "resourceVersion",
            "deletionTimestamp",
            "managedFields",
        ] {
            if let Some(value) = old.get(name) {
                metadata.insert(name.into(), value.clone());
            }
        }
    }
    ssa::update(
        request.resource.kind,
        base,
        &mut new,
        &request.manager(),
        &request.subresource,
    );
    finish(store, request, key, old, new)
}

fn finish(
    store: &mut Store,
    request: &Request,
    key: &Key,
    old: Option<&Value>,
    mut new: Value,
) -> Result<Value, ApiError> {
    let kind = request.resource.kind;
    if old.is_none() {
        first_status(kind, &mut new);
        if kind == "PersistentVolumeClaim" {
            default_class(store, &mut new);
        }
    }
    defaults::fill(kind, &mut new, || store.address(key));
    defaults::check(kind, &key.name, old, &new)?;
    if kind == "PersistentVolumeClaim" {
        check_size(store, old, &new)?;
    }
    Ok(store.commit(request.resource, key, new))
}

/// What the CRD and the claim's strategy put into a new object's status.
fn first_status(kind: &str, new: &mut Value) {
    let status = match kind {
        "PersistentVolumeClaim" => json!({"phase": "Pending"}),
        "RegistryCache" => json!({"conditions": [{
            "type": "Ready", "status": "Unknown", "reason": "Pending",
            "message": "the operator has not looked at this object yet: is it running?",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]}),
        _ => return,
    };
    if let Some(map) = new.as_object_mut() {
        map.insert("status".into(), status);
    }
}

fn default_class(store: &Store, claim: &mut Value) {
    let classes = super::resources::find("storage.k8s.io", "v1", "storageclasses");
    let classes = classes.map(|kind| store.list(kind, "")).unwrap_or_default();
    let default = classes.into_iter().find(|(_, class)| {
        let annotations = class.pointer("/metadata/annotations");
        annotations.and_then(|map| map.get("storageclass.kubernetes.io/is-default-class")) == Some(&json!("true"))
    });
    if let (Some((key, _)), Some(spec)) = (default, claim.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.entry("storageClassName").or_insert_with(|| json!(key.name));
    }
}

fn check_size(store: &Store, old: Option<&Value>, new: &Value) -> Result<(), ApiError> {
    let size = "/spec/resources/requests/storage";
    let Some(old) = old.filter(|old| old.pointer(size) != new.pointer(size)) else {
        return Ok(());
    };
    let class = new
        .pointer("/spec/storageClassName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let class = super::resources::find("storage.k8s.io", "v1", "storageclasses").map(|kind| Key::new(kind, "", class));
    let class = class.and_then(|key| store.get(&key).cloned()).unwrap_or_default();
    let grows = class.get("allowVolumeExpansion") == Some(&json!(true));
    if old.pointer("/status/phase") != Some(&json!("Bound")) {
        return Err(ApiError::invalid(
            "spec is immutable after creation except resources.requests for bound claims",
        ));
    }
    if !grows {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        return Err(ApiError::new(403, "Forbidden", why));
    }
    Ok(())
}

fn delete(store: &mut Store, request: &Request, key: &Key, mut object: Value) -> Result<Value, ApiError> {
    let options: Value = if request.body.is_empty() {
        Value::Null
    } else {
        json_body(request)?
    };
    check_preconditions(Some(&object), options.get("preconditions"))?;
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    if finalizers.is_none_or(Vec::is_empty) {
        return Ok(store.remove(key).unwrap_or(object));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        metadata
            .entry("deletionTimestamp")
            .or_insert_with(|| json!(now.to_string()));
        metadata.entry("deletionGracePeriodSeconds").or_insert_with(|| json!(0));
    }
    Ok(store.commit(request.resource, key, object))
}

/// `resourceVersion` and `uid`, where given, must be those of the object.
fn check_preconditions(object: Option<&Value>, wanted: Option<&Value>) -> Result<(), ApiError> {
    let Some(object) = object else { return Ok(()) };
    for name in ["resourceVersion", "uid"] {
        let given = wanted
            .and_then(|wanted| wanted.get(name))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        let real = object
            .get("metadata")
            .and_then(|metadata| metadata.get(name))
            .and_then(Value::as_str);
        if let Some(given) = given.filter(|given| Some(*given) != real) {
            return Err(ApiError::conflict(format!(
                "the object has been modified: {name} is {} and not {given}",
                real.unwrap_or_default()
            )));
        }
    }
    Ok(())
}
