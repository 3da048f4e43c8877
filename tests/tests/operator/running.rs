//! The controllers as they really run: woken by watches, waiting by themselves, in time that only passes when
//! everybody waits.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use regcache_api::{Engine, RegistryCache};
use regcache_operator::context::{Ctx, Settings};
use regcache_operator::{cache, nodes};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{SYSTEM, World};

/// Starts both controllers. Their clock is tokio's.
pub fn start(world: &World) -> CancellationToken {
    let (shutdown, started) = (CancellationToken::new(), Instant::now());
    let ctx = Ctx::new(world.api.client(SYSTEM), Settings::default(), Some("operator-0".into()));
    let ctx = Arc::new(ctx.with_clock(move || {
        let passed = i64::try_from(started.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(1_800_000_000_000 + passed).unwrap()
    }));
    tokio::spawn(cache::run(Arc::clone(&ctx), shutdown.clone()));
    tokio::spawn(nodes::run(ctx, shutdown.clone()));
    shutdown
}

/// Lets the rest of the cluster work until `done`, at most an hour of its time.
pub async fn until(world: &World, what: &str, done: impl Fn(&World) -> bool) {
    let wait = async {
        while !done(world) {
            world.api.settle();
            sleep(Duration::from_secs(5)).await;
        }
    };
    assert!(timeout(Duration::from_secs(3600), wait).await.is_ok(), "never: {what}");
}

pub fn is_ready(world: &World) -> bool {
    let status = world.api.get::<RegistryCache>("", "main").and_then(|one| one.status);
    let conditions = status.unwrap_or_default().conditions;
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test(start_paused = true)]
async fn a_registry_cache_gets_ready_by_watches_alone_and_goes_again() {
    let world = World::with_one(Engine::default());
    let shutdown = start(&world);
    until(&world, "it gets ready", is_ready).await;
    sleep(Duration::from_secs(1200)).await;
    let mark = world.api.mark();
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(world.api.writes_since(mark), []);
    world.api.end_watches();
    world.put("main", &["docker.io", "ghcr.io"], &["r1"]);
    until(&world, "the change arrives", |world| {
        is_ready(world) && world.upstreams("r1").len() == 2
    })
    .await;
    world.api.delete::<RegistryCache>("", "main");
    until(&world, "it goes", |world| world.api.all::<RegistryCache>().is_empty()).await;
    shutdown.cancel();
}
