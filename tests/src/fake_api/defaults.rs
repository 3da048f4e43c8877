//! What the real server adds to and checks in a written object, as far as it can surprise a client that compares.

use serde_json::{Map, Value, json};

use super::error::ApiError;

/// Fills in what the client left out.
pub fn fill(kind: &str, object: &mut Value, next_address: impl FnOnce() -> String) {
    let Some(spec) = object.get_mut("spec") else { return };
    match kind {
        "Deployment" => {
            let update =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
            set(spec, "replicas", json!(1));
            set(spec, "progressDeadlineSeconds", json!(600));
            set(spec, "revisionHistoryLimit", json!(10));
            set(spec, "strategy", update);
            pod(spec.get_mut("template").and_then(|template| template.get_mut("spec")));
        }
        "DaemonSet" => {
            let update = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
            set(spec, "revisionHistoryLimit", json!(10));
            set(spec, "updateStrategy", update);
            pod(spec.get_mut("template").and_then(|template| template.get_mut("spec")));
        }
        "Service" => service(spec, next_address),
        "PersistentVolumeClaim" => set(spec, "volumeMode", json!("Filesystem")),
        _ => {}
    }
}

fn service(spec: &mut Value, next_address: impl FnOnce() -> String) {
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "internalTrafficPolicy", json!("Cluster"));
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", json!("SingleStack"));
    if spec.get("clusterIP").is_none() {
        let address = next_address();
        set(spec, "clusterIP", json!(address));
        set(spec, "clusterIPs", json!([address]));
    }
    for port in items(Some(spec), "ports") {
        set(port, "protocol", json!("TCP"));
        if let Some(number) = port.get("port").cloned() {
            set(port, "targetPort", number);
        }
    }
}

fn pod(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "schedulerName", json!("default-scheduler"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "securityContext", json!({}));
    for volume in items(Some(spec), "volumes") {
        if let Some(source) = volume.get_mut("configMap") {
            set(source, "defaultMode", json!(420));
        }
        if let Some(source) = volume.get_mut("hostPath") {
            set(source, "type", json!(""));
        }
    }
    for container in items(Some(spec), "containers") {
        set(container, "terminationMessagePath", json!("/dev/termination-log"));
        set(container, "terminationMessagePolicy", json!("File"));
        set(container, "imagePullPolicy", json!("IfNotPresent"));
        set(container, "resources", json!({}));
        for port in items(Some(container), "ports") {
            set(port, "protocol", json!("TCP"));
        }
        for variable in items(Some(container), "env") {
            if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
                set(reference, "apiVersion", json!("v1"));
            }
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let Some(probe) = container.get_mut(probe) else {
                continue;
            };
            set(probe, "timeoutSeconds", json!(1));
            set(probe, "periodSeconds", json!(10));
            set(probe, "successThreshold", json!(1));
            set(probe, "failureThreshold", json!(3));
            if let Some(get) = probe.get_mut("httpGet") {
                set(get, "scheme", json!("HTTP"));
            }
        }
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        let old = map.entry(name).or_insert(Value::Null);
        if old.is_null() {
            *old = value;
        }
    }
}

fn items<'a>(object: Option<&'a mut Value>, name: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object
        .and_then(|object| object.get_mut(name))
        .and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

/// Refuses what the real server refuses.
pub fn check(kind: &str, name: &str, old: Option<&Value>, new: &Value) -> Result<(), ApiError> {
    let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (c == '.' && kind != "Service");
    if name.is_empty() || name.len() > 253 || !name.chars().all(dns) || (kind == "Service" && name.len() > 63) {
        return Err(ApiError::invalid(format!(
            "{kind} {name:?}: metadata.name is not a DNS name"
        )));
    }
    if matches!(kind, "Deployment" | "DaemonSet") {
        let selector = new.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let labels = new.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
        if !selector.is_some_and(|selector| !selector.is_empty() && within(selector, labels)) {
            return Err(ApiError::invalid(format!(
                "{kind} {name}: `selector` does not match template `labels`"
            )));
        }
    }
    let frozen: &[&str] = match kind {
        "Deployment" | "DaemonSet" => &["/spec/selector"],
        "Service" => &["/spec/clusterIP"],
        "PersistentVolumeClaim" => &["/spec/storageClassName", "/spec/accessModes", "/spec/volumeMode"],
        _ => &[],
    };
    for field in frozen {
        if let Some(old) = old.filter(|old| old.pointer(field) != new.pointer(field)) {
            let (old, new) = (old.pointer(field), new.pointer(field));
            return Err(ApiError::invalid(format!(
                "{kind} {name}: {field} is immutable: {old:?} to {new:?}"
            )));
        }
    }
    Ok(())
}

fn within(selector: &Map<String, Value>, labels: Option<&Map<String, Value>>) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}
