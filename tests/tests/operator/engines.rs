//! One cache for all upstreams, one for each, and the way from the one to the other.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::ResourceExt as _;
use regcache_api::Engine::{self, Builtin, Distribution};
use rstest::rstest;

use crate::world::{STEP, SYSTEM, World};

/// The Deployments of all caches, by name.
fn caches(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world.api.all::<Deployment>().iter().map(Deployment::name_any).collect();
    names.sort();
    names
}

/// Changes the engine of `main` as its user would.
fn change_engine(world: &mut World, engine: Engine) {
    world.engine = engine;
    world.edit("main", |one| {
        one.spec.cache.get_or_insert_default().engine = Some(engine);
    });
}

#[tokio::test]
async fn without_a_word_it_is_ours() {
    let world = World::new(Distribution);
    world.put("main", &["docker.io", "ghcr.io"], &["r1"]);
    world.edit("main", |one| one.spec.cache = None);
    world.settle().await;
    assert_eq!(caches(&world), [regcache_api::names::shared_site("main", "r1")]);
    assert_eq!(world.upstreams("r1"), ["docker.io", "ghcr.io"]);
    let (status, _, message) = world.condition("main", "Ready");
    assert_eq!(
        (status.as_str(), message.as_str()),
        ("True", "1 of 1 caches are ready; 2 of 2 nodes are configured")
    );
}

#[tokio::test]
async fn the_configuration_is_one_that_the_engine_reads() {
    let world = World::new(Builtin);
    world.put("main", &["docker.io", "registry.corp:5000"], &["r1"]);
    let mut settings = World::settings();
    settings.upstream_ca = Some("corp".into());
    world.run(&world.operator_with(settings)).await;
    let name = world.site("main", "r1", "docker.io");
    let config = world.api.get::<ConfigMap>(SYSTEM, &name).unwrap().data.unwrap();
    let config = regcache_proxy::config::parse(&config["config.yaml"]).unwrap();
    assert_eq!(config.listen.to_string(), "[::]:5000");
    assert_eq!(config.admin.unwrap().to_string(), "[::]:5001");
    assert_eq!(config.store.max_bytes, Some(45 << 30), "of 50Gi");
    let upstreams: Vec<_> = config
        .upstreams
        .iter()
        .map(|one| {
            (
                one.host.as_str(),
                one.url.as_str(),
                one.ca.as_ref().unwrap().to_str().unwrap(),
            )
        })
        .collect();
    let ca = "/etc/regcache/upstream-ca/ca.crt";
    assert_eq!(
        upstreams,
        [
            ("docker.io", "https://registry-1.docker.io/", ca),
            ("registry.corp:5000", "https://registry.corp:5000/", ca),
        ]
    );
}

#[tokio::test]
async fn an_upstream_more_or_less_touches_no_pod_and_is_used_when_the_cache_has_surely_read_of_it() {
    let world = World::new(Builtin);
    world.put("main", &["docker.io"], &["r1"]);
    world.settle().await;
    let name = world.site("main", "r1", "docker.io");
    let before = world.api.get::<Deployment>(SYSTEM, &name).unwrap();
    let config = |world: &World| {
        let config = world.api.get::<ConfigMap>(SYSTEM, &name).unwrap();
        config.data.unwrap().remove("config.yaml").unwrap()
    };
    let start = world.now();
    world.put("main", &["docker.io", "ghcr.io"], &["r1"]);
    world.run(&world.operator()).await;
    assert!(config(&world).contains("host: ghcr.io"), "{}", config(&world));
    let mut waited = None;
    for _ in 0..12 {
        world.turn(&world.operator()).await;
        let plan = world.plan("r1");
        let named = [Some(&plan.stable), plan.canary.as_ref()].into_iter().flatten();
        if waited.is_none() && named.into_iter().any(|plan| plan.upstream("ghcr.io").is_some()) {
            waited = Some(world.now().duration_since(start).as_secs() - STEP);
        }
    }
    assert_eq!(waited, Some(180), "as long as a ConfigMap may take to be read");
    assert_eq!(world.upstreams("r1"), ["docker.io", "ghcr.io"]);
    assert_eq!(world.caches("r1", "ghcr.io"), [name.as_str()]);
    world.put("main", &["ghcr.io"], &["r1"]);
    world.settle().await;
    assert_eq!(world.upstreams("r1"), ["ghcr.io"]);
    assert!(!config(&world).contains("docker.io"), "{}", config(&world));
    let after = world.api.get::<Deployment>(SYSTEM, &name).unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
}

#[tokio::test]
async fn an_upstream_that_another_object_serves_is_left_out_and_said() {
    let world = World::new(Builtin);
    world.put("a", &["docker.io"], &["r1"]);
    world.put("b", &["docker.io", "ghcr.io"], &["r1"]);
    world.settle().await;
    let status = world.api.get::<regcache_api::RegistryCache>("", "b").unwrap().status;
    let sites = status.unwrap().sites;
    assert_eq!(sites.len(), 1);
    assert_eq!(sites[0].upstreams, ["ghcr.io"]);
    let message = sites[0].message.clone().unwrap();
    assert!(message.contains("served by the older RegistryCache a"), "{message}");
}

#[rstest]
#[case::to_ours(Distribution, Builtin)]
#[case::and_back(Builtin, Distribution)]
#[tokio::test]
async fn another_engine_takes_over_before_the_old_caches_go(#[case] old: Engine, #[case] new: Engine) {
    let mut world = World::new(old);
    let hosts = ["docker.io", "ghcr.io"];
    world.put("main", &hosts, &["r1", "r2"]);
    world.settle().await;
    let (before, volumes) = (caches(&world), world.api.all::<PersistentVolumeClaim>().len());
    change_engine(&mut world, new);
    let successor = world.site("main", "r1", "docker.io");
    // It does not come up at first.
    world.api.break_deployment(&successor, true);
    for _ in 0..6 {
        world.turn(&world.operator()).await;
    }
    assert!(
        before.iter().all(|cache| caches(&world).contains(cache)),
        "all are there"
    );
    assert!(!world.caches("r1", "docker.io").contains(&successor));
    world.api.break_deployment(&successor, false);
    let mut quiet = 0;
    while quiet < 7 {
        let turn = world.api.mark();
        world.turn(&world.operator()).await;
        quiet = if world.api.writes_since(turn).is_empty() {
            quiet + 1
        } else {
            0
        };
        for region in ["r1", "r2"] {
            let plan = world.plan(region);
            for plan in [Some(plan.stable), plan.canary].into_iter().flatten() {
                for host in hosts {
                    // Nobody is ever without a cache, and nobody is told of one that is not there.
                    let named = &plan.upstream(host).unwrap().caches;
                    assert!(!named.is_empty());
                    let there = caches(&world);
                    assert!(named.iter().all(|cache| there.contains(&cache.name)), "{named:?}");
                }
            }
        }
    }
    for region in ["r1", "r2"] {
        for host in hosts {
            assert_eq!(world.caches(region, host), [world.site("main", region, host)]);
        }
    }
    assert!(
        before.iter().all(|cache| !caches(&world).contains(cache)),
        "the old ones went"
    );
    assert_eq!(
        world.api.all::<PersistentVolumeClaim>().len(),
        volumes + caches(&world).len(),
        "what was fetched is kept"
    );
    assert_eq!(world.condition("main", "Ready").0, "True");
}

#[tokio::test]
async fn an_old_cache_that_is_down_does_not_hold_up_its_successor() {
    let mut world = World::with_one(Distribution);
    world.settle().await;
    for region in ["r1", "r2"] {
        world
            .api
            .break_deployment(&world.site("main", region, "docker.io"), true);
    }
    change_engine(&mut world, Builtin);
    world.settle().await;
    for region in ["r1", "r2"] {
        assert_eq!(
            world.caches(region, "docker.io"),
            [world.site("main", region, "docker.io")]
        );
    }
}

#[rstest]
#[case::in_the_middle(4)]
#[case::at_once(0)]
#[tokio::test]
async fn who_changes_back_in_the_middle_is_where_he_was(#[case] turns: usize) {
    let mut world = World::with_one(Distribution);
    world.settle().await;
    let before = (caches(&world), world.plan("r1"), world.plan("r2"));
    change_engine(&mut world, Builtin);
    for _ in 0..turns {
        world.turn(&world.operator()).await;
    }
    change_engine(&mut world, Distribution);
    world.settle().await;
    assert_eq!((caches(&world), world.plan("r1"), world.plan("r2")), before);
}
