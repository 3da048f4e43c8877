//! From a RegistryCache to caches, plans and helpers, and to silence.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::ResourceExt as _;
use regcache_api::Engine::{self, Builtin, Distribution};
use regcache_api::names;
use regcache_mirror::plan::{Mode, PlanFile};
use rstest::rstest;

use crate::world::{NODES, STEP, SYSTEM, World, assert_same, node};

#[rstest]
#[tokio::test]
async fn one_registry_cache_becomes_caches_plans_and_helpers(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    for region in ["r1", "r2"] {
        let name = world.site("main", region, "docker.io");
        assert!(world.api.get::<Deployment>(SYSTEM, &name).is_some(), "{name}");
        let PlanFile { stable, canary, .. } = world.plan(region);
        assert_eq!(canary, None);
        let upstream = stable.upstream("docker.io").unwrap();
        assert_eq!(
            (upstream.server.as_str(), upstream.mode),
            ("https://registry-1.docker.io", Mode::Enforce)
        );
        let caches: Vec<(&str, &str)> = upstream
            .caches
            .iter()
            .map(|cache| (cache.name.as_str(), cache.region.as_str()))
            .collect();
        assert_eq!(caches, [(name.as_str(), region)]);
        let cache = &upstream.caches[0];
        assert!(cache.url.starts_with("http://10.96."), "{}", cache.url);
        assert_eq!((cache.ns, cache.probe), (engine == Builtin, engine == Builtin));
    }
    let mut sets: Vec<(String, Option<i32>)> = world
        .api
        .all::<DaemonSet>()
        .iter()
        .map(|set| (set.name_any(), set.status.as_ref().map(|status| status.number_ready)))
        .collect();
    sets.sort();
    let mut wanted = ["r1", "r2"].map(|region| (names::place(region, Some(&format!("{region}-a"))), Some(2)));
    wanted.sort();
    assert_eq!(sets, wanted);
    let (status, reason, message) = world.condition("main", "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "AsDesired"), "{message}");
}

#[rstest]
#[tokio::test]
async fn second_run_writes_nothing(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.put("other", &["ghcr.io", "quay.io"], &["r2", "r9"]);
    world.settle().await;
    for _ in 0..3 {
        let mark = world.api.mark();
        assert_eq!(world.run(&world.operator()).await, Vec::<String>::new());
        let writes: Vec<String> = world.api.writes_since(mark).iter().map(ToString::to_string).collect();
        assert_eq!(writes, Vec::<String>::new());
        world.wait(100_000);
    }
}

#[rstest]
#[tokio::test]
async fn regions_roll_out_one_after_another_through_a_share_of_nodes(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    let mut seen: Vec<(u8, u8)> = Vec::new();
    for _ in 0..12 {
        world.turn(&world.operator()).await;
        let percent = |region| world.find_plan(region).map_or(0, |plan| plan.percent);
        let now = (percent("r1"), percent("r2"));
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [(0, 0), (10, 0), (100, 0), (0, 0), (0, 10), (0, 100), (0, 0)]);
}

#[rstest]
#[tokio::test]
async fn a_changed_plan_changes_no_daemon_set(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    let sets = world.api.all::<DaemonSet>();
    world.put("other", &["ghcr.io"], &["r1", "r2"]);
    world.settle().await;
    assert_eq!(world.upstreams("r1"), ["docker.io", "ghcr.io"]);
    assert_eq!(world.api.all::<DaemonSet>(), sets);
}

#[rstest]
#[tokio::test]
async fn an_outage_of_all_caches_during_a_rollout_takes_it_back_and_changes_nothing_else(
    #[values(Builtin, Distribution)] engine: Engine,
) {
    let world = World::with_one(engine);
    world.settle().await;
    let sets = world.api.all::<DaemonSet>();
    let before = world.plan("r1").stable;
    world.put("other", &["ghcr.io"], &["r1"]);
    while world.plan("r1").percent == 0 {
        world.turn(&world.operator()).await;
    }
    for one in world.api.all::<Deployment>() {
        world.api.break_deployment(&one.name_any(), true);
    }
    for _ in 0..20 {
        world.turn(&world.operator()).await;
        assert_eq!(world.plan("r1").stable, before, "an outage changes no plan");
    }
    assert_eq!(world.plan("r1").percent, 0);
    assert_eq!(world.api.all::<DaemonSet>(), sets, "nobody is restarted");
    for one in world.api.all::<Deployment>() {
        world.api.break_deployment(&one.name_any(), false);
    }
    world.settle().await;
    assert_eq!(world.upstreams("r1"), ["docker.io", "ghcr.io"]);
}

#[rstest]
#[tokio::test]
async fn a_node_that_was_down_before_does_not_stop_a_rollout(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    world.api.break_node("n1", Some(world.now()));
    world.wait(STEP);
    world.put("other", &["ghcr.io"], &["r1"]);
    world.settle().await;
    assert_eq!(world.upstreams("r1"), ["docker.io", "ghcr.io"]);
}

#[rstest]
#[tokio::test]
async fn a_node_that_falls_with_the_new_plan_takes_it_back_and_people_are_told(
    #[values(Builtin, Distribution)] engine: Engine,
) {
    let world = World::with_one(engine);
    world.settle().await;
    world.put("other", &["ghcr.io"], &["r1", "r2"]);
    while world.plan("r1").percent < 100 {
        world.turn(&world.operator()).await;
    }
    world.api.break_node("n1", Some(world.now()));
    world.api.settle();
    for _ in 0..4 {
        world.turn(&world.operator()).await;
        assert_eq!(
            world.upstreams("r2"),
            ["docker.io"],
            "a region that goes bad stops the rest"
        );
    }
    assert_eq!(
        (world.plan("r1").percent, world.upstreams("r1")),
        (0, vec!["docker.io".into()])
    );
    let events = world.api.all::<k8s_openapi::api::events::v1::Event>();
    let told = events.iter().filter_map(|event| event.note.as_deref());
    let told: Vec<&str> = told.filter(|note| note.contains("taken back")).collect();
    assert_eq!(told.len(), 2, "both that have a part in it: {told:?}");
    assert!(told[0].contains("the helper on node n1 is not ready"), "{told:?}");
    world.api.break_node("n1", None);
    world.settle().await;
    for region in ["r1", "r2"] {
        assert_eq!(world.upstreams(region), ["docker.io", "ghcr.io"]);
    }
}

#[rstest]
#[tokio::test]
async fn two_registry_caches_share_one_helper_per_node(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::new(engine);
    world.put("one", &["docker.io"], &["r1", "r2"]);
    world.put("two", &["ghcr.io"], &["r1", "r2"]);
    world.settle().await;
    assert_eq!(world.api.all::<DaemonSet>().len(), 2, "one for each place");
    for region in ["r1", "r2"] {
        assert_eq!(world.upstreams(region), ["docker.io", "ghcr.io"]);
    }
}

#[rstest]
#[tokio::test]
async fn an_upstream_belongs_to_the_oldest_until_that_lets_go(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::new(engine);
    world.put("a", &["docker.io"], &["r1"]);
    world.put("b", &["docker.io", "ghcr.io"], &["r1"]);
    world.settle().await;
    let owner = |world: &World| {
        world.plan("r1").stable.upstream("docker.io").unwrap().caches[0]
            .name
            .clone()
    };
    assert_eq!(owner(&world), world.site("a", "r1", "docker.io"));
    assert_eq!(
        world.upstreams("r1"),
        ["docker.io", "ghcr.io"],
        "the rest of the younger one works"
    );
    let (status, reason, message) = world.condition("b", "Stalled");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "UpstreamTaken"),
        "{message}"
    );
    world.api.delete::<regcache_api::RegistryCache>("", "a");
    world.settle().await;
    assert_eq!(owner(&world), world.site("b", "r1", "docker.io"));
    assert_eq!(world.condition("b", "Ready").0, "True");
}

#[rstest]
#[tokio::test]
async fn a_paused_one_is_left_alone_and_the_other_goes_on(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.put("other", &["ghcr.io"], &["r1"]);
    world.settle().await;
    let plan = world.plan("r2");
    let caches = ["r1", "r2"].map(|region| world.site("main", region, "docker.io"));
    world.edit("main", |one| {
        one.spec.paused = Some(true);
        one.spec.regions.remove(1);
        one.spec.upstreams[0].url = Some("https://elsewhere".into());
    });
    world.edit("other", |one| one.spec.upstreams[0].url = Some("https://new".into()));
    let mark = world.api.mark();
    world.settle().await;
    let foreign = |action: &&regcache_tests::fake_api::Action| caches.contains(&action.name) || action.verb == "delete";
    assert_eq!(world.api.writes_since(mark).iter().filter(foreign).count(), 0);
    let server = |host: &str| world.plan("r1").stable.upstream(host).unwrap().server.clone();
    assert_eq!(
        (server("docker.io").as_str(), server("ghcr.io").as_str()),
        ("https://registry-1.docker.io", "https://new")
    );
    assert!(world.find_plan("r2").is_none_or(|now| now == plan));
    assert_eq!(world.condition("main", "Ready").1, "Paused");
}

#[rstest]
#[tokio::test]
async fn the_kill_switch_empties_every_plan_in_one_run(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.put("other", &["ghcr.io"], &["r1"]);
    world.settle().await;
    world.put("other", &["ghcr.io", "quay.io"], &["r1"]);
    while world.plan("r1").percent == 0 {
        world.turn(&world.operator()).await;
    }
    let stop = |on: bool| {
        move |one: &mut regcache_api::RegistryCache| {
            one.annotations_mut().insert("regcache.dev/stop".into(), on.to_string());
        }
    };
    world.edit("main", stop(true));
    world.edit("other", stop(true));
    world.run(&world.operator()).await;
    for region in ["r1", "r2"] {
        assert_eq!(world.plan(region), PlanFile::default(), "{region}");
    }
    let caches = if engine == Builtin { 3 } else { 4 };
    assert_eq!(world.api.all::<Deployment>().len(), caches, "the caches stay");
    world.edit("main", stop(false));
    world.settle().await;
    assert_eq!(world.upstreams("r2"), ["docker.io"]);
}

#[rstest]
#[tokio::test]
async fn a_region_that_no_node_carries_is_left_alone(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::new(engine);
    world.put("main", &["docker.io"], &["r1", "r9"]);
    world.settle().await;
    assert_eq!(world.api.all::<Deployment>().len(), 1);
    assert_eq!(world.api.all::<DaemonSet>().len(), 1);
    assert_eq!(world.condition("main", "Ready").0, "True");
    world.put("abroad", &["ghcr.io"], &["r9"]);
    world.settle().await;
    assert_eq!(world.condition("abroad", "Ready").1, "NoLocalRegion");
    world.api.put::<Node>(&node("n9", "r9"));
    world.settle().await;
    assert_eq!(world.upstreams("r9"), ["docker.io", "ghcr.io"]);
}

#[rstest]
#[tokio::test]
async fn an_empty_list_of_nodes_removes_nothing(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    for name in ["n1", "n2", "n3", "n4"] {
        world.api.delete::<Node>("", name);
    }
    world.edit("main", |one| {
        one.spec.regions.remove(0);
    });
    let mark = world.api.mark();
    for _ in 0..10 {
        world.run(&world.operator()).await;
        world.wait(STEP);
    }
    let deletes = world
        .api
        .writes_since(mark)
        .into_iter()
        .filter(|action| action.verb == "delete");
    let names: Vec<String> = deletes.map(|action| action.to_string()).collect();
    let caches = names.iter().filter(|name| name.contains(SYSTEM)).count();
    assert_eq!(caches, 0, "{names:?}");
    assert_eq!(world.upstreams("r2"), ["docker.io"]);
}

#[rstest]
#[tokio::test]
async fn what_somebody_else_changes_is_put_right(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    let wanted = world.snapshot();
    let place = names::place("r1", Some("r1-a"));
    world.api.edit::<ConfigMap>(NODES, &place, |plan| plan.data = None);
    world.api.edit::<DaemonSet>(NODES, &place, |set| {
        set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().host_network = Some(false);
    });
    world
        .api
        .delete::<Deployment>(SYSTEM, &world.site("main", "r2", "docker.io"));
    world.settle().await;
    assert_same(&world.snapshot(), &wanted, "put right");
}
