//! The chart grants what the operator calls: no less, or it fails in a cluster; no more, or it could do harm.

use std::collections::BTreeSet;
use std::path::Path;

use regcache_api::{Engine, RegistryCache};
use regcache_tests::fake_api::Action;
use serde::Deserialize as _;
use serde_json::Value;

use crate::running::{is_ready, start, until};
use crate::world::{NODES, SYSTEM, World};

/// (namespace or empty for the cluster, group, resource, verb)
type Grant = (String, String, String, String);

/// Granted, though no run here shows it, each with its reason.
const BESIDES: &[(&str, &str, &str)] = &[
    // The Lease is taken before the controllers start.
    ("coordination.k8s.io", "leases", "*"),
    // Repeated events are patched.
    ("events.k8s.io", "events", "patch"),
];

fn template() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/regcache/templates/rbac.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("{{- include"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
        .replace("{{ .Release.Namespace }}", SYSTEM)
        .replace("{{ include \"regcache.nodesNamespace\" . }}", NODES);
    assert!(
        !text.contains("{{"),
        "this test must learn what is new in {}",
        path.display()
    );
    text
}

fn granted() -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(&template()) {
        let object = Value::deserialize(document).unwrap();
        let namespace = match object["kind"].as_str() {
            Some("ClusterRole") => String::new(),
            Some("Role") => object["metadata"]["namespace"].as_str().unwrap().to_owned(),
            _ => continue,
        };
        let list = |rule: &Value, key: &str| -> Vec<String> {
            let items = rule[key].as_array().into_iter().flatten();
            items.map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        for rule in object["rules"].as_array().into_iter().flatten() {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    for verb in list(rule, "verbs") {
                        grants.insert((namespace.clone(), group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    grants
}

/// What each call needs. Applying what is not there needs `create` too.
fn needed(action: &Action) -> Vec<Grant> {
    let slash = if action.subresource.is_empty() { "" } else { "/" };
    let resource = format!("{}{slash}{}", action.resource, action.subresource);
    let grant = |verb: &str| {
        (
            action.namespace.clone(),
            action.group.clone(),
            resource.clone(),
            verb.to_owned(),
        )
    };
    let created = (action.created && action.verb == "patch").then(|| grant("create"));
    std::iter::once(grant(&action.verb)).chain(created).collect()
}

fn covers(granted: &BTreeSet<Grant>, (namespace, group, resource, verb): &Grant) -> bool {
    [namespace.as_str(), ""]
        .iter()
        .any(|at| granted.contains(&((*at).to_owned(), group.clone(), resource.clone(), verb.clone())))
}

#[tokio::test(start_paused = true)]
async fn the_chart_grants_what_is_called_and_nothing_else() {
    let world = World::with_one(Engine::default());
    world.put("other", &["docker.io", "ghcr.io"], &["r2"]);
    let shutdown = start(&world);
    until(&world, "it gets ready", is_ready).await;
    for name in ["main", "other"] {
        world.api.delete::<RegistryCache>("", name);
    }
    until(&world, "all goes", |world| world.api.all::<RegistryCache>().is_empty()).await;
    shutdown.cancel();
    let called: BTreeSet<Grant> = world.api.actions_since(0).iter().flat_map(needed).collect();
    let granted = granted();
    let missing: Vec<&Grant> = called.iter().filter(|grant| !covers(&granted, grant)).collect();
    assert!(missing.is_empty(), "called but not granted: {missing:#?}");
    let unused: Vec<&Grant> = granted
        .iter()
        .filter(|(_, group, resource, verb)| {
            !BESIDES
                .iter()
                .any(|(g, r, v)| g == group && r == resource && (v == verb || *v == "*"))
        })
        // Who lists sees all that `get` shows.
        .filter(|(namespace, group, resource, verb)| {
            let lists = (namespace.clone(), group.clone(), resource.clone(), "list".to_owned());
            verb != "get" || !granted.contains(&lists)
        })
        .filter(|grant| !called.iter().any(|call| covers(&[(*grant).clone()].into(), call)))
        .collect();
    assert!(unused.is_empty(), "granted but never called: {unused:#?}");
}
