//! What a plan names for an upstream when the engine changes, and when a cache of several upstreams gets another one.

use super::*;

const SHARED: &str = "http://shared:5000";
const OWN: &str = "http://own:5000";

/// The object with that engine; its caches are in region r1.
fn with(engine: &str) -> RegistryCache {
    let spec = json!({"regions": [{"name": "r1"}], "cache": {"engine": engine}});
    registry_cache("a", 1, &json!({"spec": spec}))
}

fn name(engine: &str) -> String {
    match engine {
        "Builtin" => names::shared_site("a", "r1"),
        _ => names::site("a", "r1", HOST),
    }
}

fn reference(engine: &str) -> CacheRef {
    let builtin = engine == "Builtin";
    CacheRef {
        name: name(engine),
        url: if builtin { SHARED } else { OWN }.into(),
        region: "r1".into(),
        ns: builtin,
        probe: builtin,
    }
}

/// The caches of both engines, available or not, and a plan that names some of them.
fn both(available: [(&str, bool); 2], stable: &[&str], canary: Option<&[&str]>) -> Facts {
    let mut facts = facts(true);
    facts.caches = available
        .map(|(engine, available)| {
            let url = reference(engine).url;
            let mut cache = serving(HOST, &url, "a", available);
            if engine != "Builtin" {
                cache.serves_from.clear();
            }
            (name(engine), cache)
        })
        .into();
    let plan = |engines: &[&str]| Plan {
        upstreams: vec![UpstreamPlan {
            host: HOST.into(),
            server: "https://registry-1.docker.io".into(),
            mode: Mode::Enforce,
            caches: engines.iter().map(|engine| reference(engine)).collect(),
        }],
    };
    let file = PlanFile {
        stable: plan(stable),
        canary: canary.map(plan),
        percent: 10,
    };
    let rollout = Rollout {
        file,
        ..Rollout::default()
    };
    facts.rollouts.insert(place("r1"), rollout);
    facts
}

/// What the plan of r1 should come to.
fn target(object: &RegistryCache, facts: &Facts) -> Vec<CacheRef> {
    let targets = run(std::slice::from_ref(object), false, facts);
    let entry = targets[&place("r1")].plan.upstream(HOST);
    entry.map(|entry| entry.caches.clone()).unwrap_or_default()
}

#[rstest]
#[case::to_ours("Distribution", "Builtin")]
#[case::and_back("Builtin", "Distribution")]
fn a_cache_stays_until_its_successor_serves_everybody(#[case] old: &str, #[case] new: &str) {
    let object = with(new);
    let look = |old_up, new_up, stable: &[&str], canary: Option<&[&str]>| {
        target(&object, &both([(old, old_up), (new, new_up)], stable, canary))
    };
    let [old_ref, new_ref] = [reference(old), reference(new)];
    let wait = vec![old_ref.clone()];
    let change = vec![new_ref.clone(), old_ref];
    let done = vec![new_ref];
    assert_eq!(look(true, false, &[old], None), wait, "the new one is not there yet");
    assert_eq!(look(false, false, &[old], None), wait, "an outage changes no plan");
    assert_eq!(look(true, true, &[old], None), change, "the new one comes first");
    assert_eq!(look(true, true, &[old], Some(&[new, old])), change, "some try it");
    assert_eq!(look(true, false, &[old], Some(&[new, old])), change, "and it fails");
    assert_eq!(
        look(false, true, &[old], Some(&[new, old])),
        done,
        "nothing is left to wait for"
    );
    assert_eq!(look(true, true, &[new, old], None), done, "all use it");
    assert_eq!(look(true, true, &[new], None), done);
}

#[test]
fn only_this_objects_caches_that_exist_are_kept() {
    let object = with("Builtin");
    let up = [("Distribution", true), ("Builtin", false)];
    let mut foreign = both(up, &["Distribution"], None);
    foreign
        .caches
        .values_mut()
        .for_each(|cache| cache.owner = Some("b".into()));
    assert_eq!(target(&object, &foreign), []);
    let mut gone = both(up, &["Distribution"], None);
    gone.caches.clear();
    assert_eq!(target(&object, &gone), []);
    let mut moved = object;
    moved.spec.regions[0].name = "r2".into();
    let elsewhere = both(up, &["Distribution"], None);
    let targets = run(&[moved], false, &elsewhere);
    assert_eq!(
        targets[&place("r1")].plan,
        Plan::default(),
        "its region is not the spec's any more"
    );
}

#[test]
fn a_shared_cache_is_named_for_an_upstream_once_it_has_surely_read_of_it() {
    let second = Timestamp::from_second(1_800_000_001).unwrap();
    let object = registry_cache(
        "a",
        1,
        &json!({"spec": {"upstreams": [{"host": HOST}, {"host": "ghcr.io"}]}}),
    );
    let hosts = |from: Option<Timestamp>, at: Timestamp| -> Vec<String> {
        let mut facts = facts(true);
        let cache = facts.caches.get_mut(&names::shared_site("a", "r1")).unwrap();
        cache.serves_from.extend(from.map(|from| ("ghcr.io".into(), from)));
        let targets = targets(std::slice::from_ref(&object), false, &facts, at);
        let upstreams = targets[&place("r1")].plan.upstreams.iter();
        upstreams.map(|entry| entry.host.clone()).collect()
    };
    assert_eq!(hosts(None, now()), [HOST], "its configuration does not name it yet");
    assert_eq!(hosts(Some(second), now()), [HOST]);
    assert_eq!(hosts(Some(second), second), [HOST, "ghcr.io"]);
}
