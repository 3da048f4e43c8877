//! Which caches a place's plan comes to, and whose word counts.

mod engines;

use super::*;
use crate::nodes::rollout::Rollout;
use crate::nodes::validate::Cache;
use regcache_api::names;
use regcache_mirror::plan::PlanFile;
use rstest::rstest;
use serde_json::{Value, json};

const HOST: &str = "docker.io";

fn registry_cache(name: &str, day: u8, extra: &Value) -> RegistryCache {
    let mut object = json!({
        "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache",
        "metadata": {"name": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")},
        "spec": {"upstreams": [{"host": HOST}], "regions": [{"name": "r1"}, {"name": "r2"}]},
    });
    merge(&mut object, extra);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, extra: &Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, extra) => *into = extra.clone(),
    }
}

fn place(region: &str) -> Place {
    Place {
        region: region.into(),
        zone: "z".into(),
    }
}

fn cache(owner: &str, region: &str, url: &str) -> CacheRef {
    CacheRef {
        name: names::shared_site(owner, region),
        url: url.into(),
        region: region.into(),
        ns: true,
        probe: true,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn run(registry_caches: &[RegistryCache], unreadable: bool, facts: &Facts) -> BTreeMap<Place, Target> {
    targets(registry_caches, unreadable, facts, now())
}

/// A cache that serves `host` from its start on.
fn serving(host: &str, url: &str, owner: &str, available: bool) -> Cache {
    Cache {
        url: Some(url.into()),
        available,
        owner: Some(owner.into()),
        serves_from: [(host.into(), Timestamp::MIN)].into(),
    }
}

/// Nodes in both regions; caches of `a` in both, `available` or not.
fn facts(available: bool) -> Facts {
    let caches = ["r1", "r2"].map(|region| {
        let cache = serving(HOST, &format!("http://{region}:5000"), "a", available);
        (names::shared_site("a", region), cache)
    });
    Facts {
        populated: [place("r1"), place("r2")].into(),
        caches: caches.into(),
        ..Facts::default()
    }
}

fn with_plan(mut facts: Facts, caches: Vec<CacheRef>) -> Facts {
    let entry = UpstreamPlan {
        host: HOST.into(),
        server: "https://old".into(),
        mode: Mode::Enforce,
        caches,
    };
    let file = PlanFile {
        stable: Plan { upstreams: vec![entry] },
        ..PlanFile::default()
    };
    facts.rollouts.insert(
        place("r1"),
        Rollout {
            file,
            ..Rollout::default()
        },
    );
    facts
}

/// The names of the caches in the plan of r1, by upstream.
fn caches_of(target: &Target) -> Vec<(String, Vec<String>)> {
    let entry = |entry: &UpstreamPlan| {
        (
            entry.server.clone(),
            entry.caches.iter().map(|cache| cache.url.clone()).collect(),
        )
    };
    target.plan.upstreams.iter().map(entry).collect()
}

#[rstest]
#[case::alive(json!({}), &["http://r1:5000"])]
#[case::stopped(json!({"metadata": {"annotations": {"regcache.dev/stop": "true"}}}), &[])]
#[case::being_deleted(json!({"metadata": {"deletionTimestamp": "2026-02-01T00:00:00Z"}}), &[])]
#[case::disabled(json!({"spec": {"nodes": {"mode": "Disabled"}}}), &[])]
#[case::elsewhere(json!({"spec": {"regions": [{"name": "r2"}]}}), &[])]
#[case::paused_before_it_ever_ran(json!({"spec": {"paused": true}}), &[])]
fn a_place_uses_the_caches_of_its_own_region(#[case] extra: Value, #[case] wanted: &[&str]) {
    let all = [registry_cache("a", 1, &extra)];
    let targets = run(&all, false, &facts(true));
    let target = targets.get(&place("r1")).cloned().unwrap_or_default();
    let urls: Vec<String> = caches_of(&target).into_iter().flat_map(|(_, urls)| urls).collect();
    assert_eq!(urls, wanted);
}

#[test]
fn a_cache_enters_when_it_is_available_and_stays_through_an_outage() {
    let all = [registry_cache("a", 1, &json!({}))];
    let fresh = run(&all, false, &facts(false));
    assert_eq!(fresh[&place("r1")].plan, Plan::default());
    let known = with_plan(facts(false), vec![cache("a", "r1", "http://old:5000")]);
    let during = run(&all, false, &known);
    let wanted = vec![("https://registry-1.docker.io".into(), vec!["http://r1:5000".into()])];
    assert_eq!(caches_of(&during[&place("r1")]), wanted, "with its present address");
    let mut gone = known;
    gone.caches.clear();
    let without_service = run(&all, false, &gone);
    let wanted = vec![("https://registry-1.docker.io".into(), vec!["http://old:5000".into()])];
    assert_eq!(
        caches_of(&without_service[&place("r1")]),
        wanted,
        "with the last known one"
    );
}

#[test]
fn a_cache_without_an_address_does_not_enter() {
    let mut facts = facts(true);
    facts.caches.values_mut().for_each(|cache| cache.url = None);
    let targets = run(&[registry_cache("a", 1, &json!({}))], false, &facts);
    assert_eq!(targets[&place("r1")].plan, Plan::default());
}

#[test]
fn an_upstream_is_the_oldest_ones_even_where_that_one_has_no_region() {
    let older = registry_cache("b", 1, &json!({"spec": {"regions": [{"name": "r2"}]}}));
    let targets = run(&[registry_cache("a", 2, &json!({})), older], false, &facts(true));
    assert_eq!(targets[&place("r1")].plan, Plan::default());
    assert!(targets[&place("r1")].wanted);
}

#[test]
fn a_paused_part_is_taken_from_the_present_plan() {
    let all = [registry_cache("a", 1, &json!({"spec": {"paused": true}}))];
    let facts = with_plan(facts(true), vec![cache("a", "r1", "http://old:5000")]);
    let target = &run(&all, false, &facts)[&place("r1")];
    assert_eq!(target.plan, facts.rollouts[&place("r1")].file.stable);
    assert!(target.frozen && target.wanted);
    let mut stopped = all;
    stopped[0].metadata.annotations = Some([("regcache.dev/stop".into(), "true".into())].into());
    assert_eq!(
        run(&stopped, false, &facts)[&place("r1")].plan,
        Plan::default(),
        "the kill switch works"
    );
}

#[test]
fn two_registry_caches_share_a_place() {
    let second = registry_cache(
        "b",
        2,
        &json!({"spec": {"upstreams": [{"host": "ghcr.io"}], "nodes": {"mode": "Observe"}}}),
    );
    let mut facts = facts(true);
    facts.caches.insert(
        names::shared_site("b", "r1"),
        serving("ghcr.io", "http://other:5000", "b", true),
    );
    let targets = run(&[second, registry_cache("a", 1, &json!({}))], false, &facts);
    let plan = &targets[&place("r1")].plan;
    let modes: Vec<(&str, Mode)> = plan
        .upstreams
        .iter()
        .map(|entry| (entry.host.as_str(), entry.mode))
        .collect();
    assert_eq!(
        modes,
        [("docker.io", Mode::Enforce), ("ghcr.io", Mode::Observe)],
        "sorted by host"
    );
}

#[test]
fn places_come_from_nodes_and_go_with_the_specs_only() {
    let all = [registry_cache("a", 1, &json!({"spec": {"regions": [{"name": "r1"}]}}))];
    let places = |facts: &Facts| -> Vec<(String, bool)> {
        let targets = run(&all, false, facts);
        targets
            .iter()
            .map(|(place, target)| (place.region.clone(), target.wanted))
            .collect()
    };
    assert_eq!(places(&facts(true)), [("r1".into(), true)], "r2 is nobody's");
    let mut facts = with_plan(facts(true), vec![]);
    facts.staffed.insert(place("r2"));
    facts.populated.clear();
    assert_eq!(
        places(&facts),
        [("r1".into(), true), ("r2".into(), false)],
        "no nodes remove nothing"
    );
}

#[test]
fn a_registry_cache_that_cannot_be_read_keeps_its_part() {
    let facts = with_plan(facts(true), vec![cache("a", "r1", "http://r1:5000")]);
    let target = &run(&[], true, &facts)[&place("r1")];
    assert_eq!(target.plan, facts.rollouts[&place("r1")].file.stable);
    assert!(target.wanted && target.frozen);
    assert!(!run(&[], false, &facts)[&place("r1")].wanted);
}
