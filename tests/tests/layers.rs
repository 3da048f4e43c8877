//! The rooms' dependencies point downward, as ARCHITECTURE.md draws them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Room -> the rooms that it may use. A new room has to be added here, and to ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("regcache-api", &[]),
    ("regcache-mirror", &[]),
    ("regcache-transfer", &[]),
    ("regcache-runtime", &[]),
    (
        "regcache-operator",
        &["regcache-api", "regcache-mirror", "regcache-runtime"],
    ),
    (
        "regcache-node",
        &["regcache-mirror", "regcache-transfer", "regcache-runtime"],
    ),
    ("regcache-proxy", &["regcache-transfer", "regcache-runtime"]),
    ("regcache-bench", &[]),
    (
        "regcache-tests",
        &[
            "regcache-api",
            "regcache-mirror",
            "regcache-transfer",
            "regcache-runtime",
            "regcache-operator",
            "regcache-node",
            "regcache-proxy",
        ],
    ),
];

/// Room -> what it must never bring in.
const NEVER: &[(&str, &[&str])] = &[
    ("regcache-api", &["tokio", "kube-client", "kube-runtime"]),
    ("regcache-mirror", &["kube", "k8s-openapi", "tokio"]),
    ("regcache-transfer", &["kube", "k8s-openapi", "hyper"]),
    ("regcache-runtime", &["kube", "k8s-openapi"]),
    ("regcache-node", &["kube", "k8s-openapi"]),
    ("regcache-proxy", &["kube", "k8s-openapi"]),
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap();
            // What only tests use does not count.
            let own = all.iter().filter(|dependency| dependency["kind"].is_null());
            (
                text(&package["name"]),
                own.map(|dependency| text(&dependency["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn dependencies_point_downward() {
    let found = dependencies();
    for (room, uses) in &found {
        let (_, may) = MAY_USE
            .iter()
            .find(|(name, _)| name == room)
            .unwrap_or_else(|| panic!("{room} is not drawn"));
        for used in uses.iter().filter(|used| used.starts_with("regcache-")) {
            assert!(may.contains(&used.as_str()), "{room} uses {used}");
        }
    }
    assert_eq!(found.len(), MAY_USE.len(), "a room is drawn that is not there");
}

#[test]
fn lower_rooms_stay_free_of_clients_and_runtimes() {
    let found = dependencies();
    for (room, never) in NEVER {
        for used in &found[*room] {
            assert!(!never.contains(&used.as_str()), "{room} uses {used}");
        }
    }
}
