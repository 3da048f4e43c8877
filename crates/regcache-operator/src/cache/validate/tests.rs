use serde_json::{Value, json};

use super::*;
use crate::cache::fixtures::registry_cache;
use crate::cache::gather::Classes;

fn settings() -> Settings {
    Settings {
        region_label: "example/region".into(),
        distribution_image: "engine:default".into(),
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

fn sites(validated: &Validated) -> Vec<(&str, &str)> {
    let sites = validated.sites.iter();
    sites.map(|site| (site.region.as_str(), site.host.as_str())).collect()
}

fn skipped(validated: &Validated) -> Vec<(&str, &str, SitePhase)> {
    let skipped = validated.skipped.iter();
    skipped
        .map(|site| (site.region.as_str(), site.host.as_str(), site.phase))
        .collect()
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
        (a.size.as_str(), a.class.as_deref(), a.image.as_str(), a.url.as_str()),
        ("8Gi", Some("fast"), "engine:default", "https://registry-1.docker.io")
    );
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
}

#[test]
fn only_regions_that_nodes_carry_get_caches() {
    let spec = json!({"upstreams": [{"host": "u"}, {"host": "v"}], "regions": [{"name": "a"}, {"name": "b"}]});
    let validated = run(&spec, &inputs(&["b", "c"]));
    assert_eq!(sites(&validated), [("b", "u"), ("b", "v")]);
    assert_eq!(
        skipped(&validated),
        [("a", "u", SitePhase::NotLocal), ("a", "v", SitePhase::NotLocal)]
    );
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

#[test]
fn an_upstream_of_an_older_object_is_left_to_it_and_the_rest_works() {
    let spec = json!({"upstreams": [{"host": "u"}, {"host": "v"}], "regions": [{"name": "a"}]});
    let mut inputs = inputs(&["a"]);
    let other = json!({"upstreams": [{"host": "u"}], "regions": [{"name": "z"}]});
    inputs.all = vec![
        registry_cache("elder", 2020, &other),
        registry_cache("rc", 2026, &spec),
        registry_cache("younger", 2030, &spec),
    ];
    let validated = run(&spec, &inputs);
    assert_eq!(sites(&validated), [("a", "v")]);
    assert_eq!(skipped(&validated), [("a", "u", SitePhase::UpstreamTaken)]);
    assert_eq!(validated.problems.len(), 1);
    assert_eq!(validated.problems[0].reason, reasons::UPSTREAM_TAKEN);
    assert!(
        validated.problems[0].message.contains("RegistryCache elder"),
        "{validated:?}"
    );
    // Its children, if it ever had any, may go.
    assert!(!validated.wanted().contains(validated.skipped[0].name.as_str()));
}

#[test]
fn an_unknown_class_stops_its_region_only_and_removes_nothing() {
    let spec = json!({
        "upstreams": [{"host": "u"}],
        "regions": [{"name": "a", "storage": {"storageClassName": "fats"}}, {"name": "b"}],
    });
    let mut inputs = inputs(&["a", "b"]);
    let validated = run(&spec, &inputs);
    assert_eq!(sites(&validated), [("b", "u")]);
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
    assert_eq!(sites(&validated), [("a", "u")]);
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
