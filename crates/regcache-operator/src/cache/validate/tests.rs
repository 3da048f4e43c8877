use serde_json::{Value, json};

use super::*;
use crate::cache::fixtures::registry_cache;
use crate::cache::gather::Classes;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use rstest::rstest;

fn settings() -> Settings {
    Settings {
        region_label: "example/region".into(),
        image: "ours:default".into(),
        distribution_image: "theirs:default".into(),
        ..Settings::default()
    }
}

fn inputs(regions: &[&str]) -> Inputs {
    Inputs {
        nodes: regions.len(),
        nodes_by_region: regions.iter().map(|region| ((*region).to_owned(), 1)).collect(),
        classes: Classes {
            names: ["fast".to_owned()].into(),
            has_default: true,
        },
        ..Inputs::default()
    }
}

fn run(spec: &Value, inputs: &Inputs) -> Validated {
    validate(&registry_cache("rc", 2026, spec), inputs, &settings())
}

/// Regions and hosts, written `region: host host`.
fn sites(validated: &Validated) -> Vec<String> {
    let hosts = |site: &Site| -> Vec<String> { site.upstreams.iter().map(|one| one.host.clone()).collect() };
    let sites = validated.sites.iter();
    sites
        .map(|site| format!("{}: {}", site.region, hosts(site).join(" ")))
        .collect()
}

fn skipped(validated: &Validated) -> Vec<(String, SitePhase)> {
    let skipped = validated.skipped.iter();
    skipped
        .map(|site| (format!("{}: {}", site.region, site.hosts.join(" ")), site.phase))
        .collect()
}

/// `spec` with that engine.
fn with(engine: &str, mut spec: Value) -> Value {
    spec["cache"]["engine"] = json!(engine);
    spec
}

#[test]
fn defaults_are_resolved_and_regions_override() {
    let spec = json!({
        "upstreams": [{"host": "docker.io"}],
        "regions": [{"name": "a"}, {"name": "b", "storage": {"size": "9Gi"}}],
        "cache": {"storage": {"size": "8Gi", "storageClassName": "fast"}},
    });
    let validated = run(&spec, &inputs(&["a", "b"]));
    let [a, b] = &validated.sites[..] else {
        panic!("{validated:?}")
    };
    assert_eq!(
        (a.size.as_str(), a.class.as_deref(), a.engine, a.image.as_str()),
        ("8Gi", Some("fast"), Engine::Builtin, "ours:default")
    );
    assert_eq!(a.upstreams[0].url, "https://registry-1.docker.io");
    assert_eq!((b.size.as_str(), b.class.as_deref()), ("9Gi", Some("fast")));
    let plain = run(
        &json!({"upstreams": [{"host": "u"}], "regions": [{"name": "a"}]}),
        &inputs(&["a"]),
    );
    assert_eq!((plain.sites[0].size.as_str(), &plain.sites[0].class), ("50Gi", &None));
    assert!(
        plain.sites[0]
            .resources
            .requests
            .as_ref()
            .unwrap()
            .contains_key("memory")
    );
    let theirs = run(&with("Distribution", spec), &inputs(&["a"]));
    assert_eq!(theirs.sites[0].image, "theirs:default");
}

#[rstest]
#[case("Builtin", &["b: u v"], &["a: u v"])]
#[case("Distribution", &["b: u", "b: v"], &["a: u", "a: v"])]
fn only_regions_that_nodes_carry_get_caches(#[case] engine: &str, #[case] made: &[&str], #[case] not: &[&str]) {
    let spec = json!({"upstreams": [{"host": "u"}, {"host": "v"}], "regions": [{"name": "a"}, {"name": "b"}]});
    let validated = run(&with(engine, spec), &inputs(&["b", "c"]));
    assert_eq!(sites(&validated), made);
    let not: Vec<_> = not
        .iter()
        .map(|pair| ((*pair).to_owned(), SitePhase::NotLocal))
        .collect();
    assert_eq!(skipped(&validated), not);
    assert!(validated.problems.is_empty());
    assert!(
        validated.skipped[0].message.contains("example/region=a"),
        "{validated:?}"
    );
}

#[test]
fn a_region_that_lost_its_nodes_keeps_its_caches() {
    let spec = json!({"upstreams": [{"host": "u"}], "regions": [{"name": "a"}]});
    let mut inputs = inputs(&["b"]);
    let service = serde_json::from_value(json!({"metadata": {"name": "x", "labels": {"regcache.dev/region": "a"}}}));
    inputs.children.services.insert("x".into(), service.unwrap());
    let validated = run(&spec, &inputs);
    assert!(validated.sites[0].idle, "{validated:?}");
    // A volume is what is left after a cache went: it makes no region local.
    inputs.children.services.clear();
    let volume = serde_json::from_value(json!({"metadata": {"name": "x", "labels": {"regcache.dev/region": "a"}}}));
    inputs.children.volumes.insert("x".into(), volume.unwrap());
    assert!(run(&spec, &inputs).sites.is_empty());
}

#[rstest]
#[case::beside_it("Distribution", "v")]
#[case::in_the_shared_cache("Builtin", "v")]
#[case::nothing_is_left("Builtin", "u")]
fn an_upstream_of_an_older_object_is_left_to_it_and_the_rest_works(#[case] engine: &str, #[case] second: &str) {
    let mut hosts = vec![json!({"host": "u"}), json!({"host": second})];
    hosts.dedup();
    let alone = hosts.len() == 1;
    let spec = with(engine, json!({"upstreams": hosts, "regions": [{"name": "a"}]}));
    let mut inputs = inputs(&["a"]);
    let other = json!({"upstreams": [{"host": "u"}], "regions": [{"name": "z"}]});
    inputs.all = vec![
        registry_cache("elder", 2020, &other),
        registry_cache("rc", 2026, &spec),
        registry_cache("younger", 2030, &spec),
    ];
    let validated = run(&spec, &inputs);
    assert_eq!(sites(&validated), if alone { vec![] } else { vec!["a: v"] });
    let told = if engine == "Distribution" || alone {
        assert_eq!(skipped(&validated), [("a: u".into(), SitePhase::UpstreamTaken)]);
        // Its children, if it ever had any, may go.
        assert!(!validated.wanted().contains(validated.skipped[0].name.as_str()));
        Some(validated.skipped[0].message.clone())
    } else {
        assert_eq!(skipped(&validated), []);
        validated.sites[0].left_out.clone()
    };
    assert!(told.unwrap().contains("u is served by the older RegistryCache elder"));
    assert_eq!(validated.problems.len(), 1);
    assert_eq!(validated.problems[0].reason, reasons::UPSTREAM_TAKEN);
    assert!(
        validated.problems[0].message.contains("RegistryCache elder"),
        "{validated:?}"
    );
}

#[test]
fn an_unknown_class_stops_its_region_only_and_removes_nothing() {
    let spec = json!({
        "upstreams": [{"host": "u"}],
        "regions": [{"name": "a", "storage": {"storageClassName": "fats"}}, {"name": "b"}],
    });
    let mut inputs = inputs(&["a", "b"]);
    let validated = run(&spec, &inputs);
    assert_eq!(sites(&validated), ["b: u"]);
    assert_eq!(validated.problems[0].reason, reasons::STORAGE_CLASS_NOT_FOUND);
    assert!(
        validated.problems[0].message.contains("StorageClass fats"),
        "{validated:?}"
    );
    assert_eq!(validated.wanted().len(), 2);
    let name = validated.skipped[0].name.clone();
    let mut with_volume_of = |class: &str| {
        let volume = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"storageClassName": class}}));
        inputs.children.volumes.insert(name.clone(), volume.unwrap());
        run(&spec, &inputs)
    };
    // A cache that runs goes on with the volume that it has.
    let running = with_volume_of("fast");
    assert_eq!(running.sites[0].class.as_deref(), Some("fast"));
    assert_eq!((running.sites.len(), running.problems), (2, validated.problems));
    // A claim that has the class already is Kubernetes' to bind, or bound.
    let bound = with_volume_of("fats");
    assert_eq!((bound.sites.len(), bound.problems), (2, vec![]));
}

#[test]
fn a_volume_counts_as_it_is() {
    let spec = json!({"upstreams": [{"host": "u"}], "regions": [{"name": "a"}]});
    let mut inputs = inputs(&["a"]);
    let volume = json!({"spec": {}, "status": {"phase": "Bound", "capacity": {"storage": "9Gi"}}});
    let name = run(&spec, &inputs).sites[0].name.clone();
    inputs
        .children
        .volumes
        .insert(name, serde_json::from_value(volume).unwrap());
    assert_eq!(run(&spec, &inputs).sites[0].volume_bytes(), 9 << 30);
}

#[test]
fn no_class_at_all_is_a_problem_until_there_is_a_volume() {
    let spec = json!({"upstreams": [{"host": "u"}], "regions": [{"name": "a"}]});
    let mut inputs = inputs(&["a"]);
    inputs.classes.has_default = false;
    let validated = run(&spec, &inputs);
    assert_eq!(validated.problems[0].reason, reasons::STORAGE_CLASS_NOT_FOUND);
    assert!(validated.problems[0].message.contains("no default StorageClass"));
    let name = validated.skipped[0].name.clone();
    inputs.children.volumes.insert(name, PersistentVolumeClaim::default());
    assert_eq!(run(&spec, &inputs).sites.len(), 1);
}

#[test]
fn what_the_schema_would_have_refused_is_told_and_left_out() {
    let twice = json!({"upstreams": [{"host": "u"}, {"host": "u"}], "regions": [{"name": "a"}, {"name": "a"}]});
    let validated = run(&twice, &inputs(&["a"]));
    assert_eq!(sites(&validated), ["a: u"]);
    assert_eq!(validated.problems.len(), 2);
    for size in ["0", "-1Gi", "many"] {
        let spec = json!({
            "upstreams": [{"host": "u"}], "regions": [{"name": "a"}], "cache": {"storage": {"size": size}},
        });
        let validated = run(&spec, &inputs(&["a"]));
        assert!(validated.sites.is_empty(), "{size}");
        assert_eq!(validated.problems[0].reason, reasons::INVALID_SPEC, "{size}");
    }
}
