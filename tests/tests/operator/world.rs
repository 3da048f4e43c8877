//! A cluster of two regions in memory, a clock in the test's hand, and both controllers to be run by turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use regcache_api::{Engine, RegistryCache, labels, names};
use regcache_mirror::plan::{PLAN_KEY, PlanFile};
use regcache_operator::context::{Ctx, Settings};
use regcache_operator::{cache, nodes};
use regcache_tests::fake_api::FakeApi;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Where caches live.
pub const SYSTEM: &str = "regcache-system";
/// Where helpers and plans live.
pub const NODES: &str = "regcache-nodes";
/// Seconds from one turn to the next, as long as a soak.
pub const STEP: i64 = 60;
/// Turns without a write after which nothing more is to be expected: longer than every pause.
const QUIET: usize = 7;

/// The cluster, its time, and the operator.
pub struct World {
    /// The API server.
    pub api: FakeApi,
    /// Of every RegistryCache that is put here from now on.
    pub engine: Engine,
    now: Arc<AtomicI64>,
}

/// Reads an object.
pub fn read<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

impl World {
    /// n1 and n3 in region r1, n2 and n4 in region r2; a default StorageClass.
    pub fn new(engine: Engine) -> Self {
        let api = FakeApi::new();
        for (name, region) in [("n1", "r1"), ("n2", "r2"), ("n3", "r1"), ("n4", "r2")] {
            api.put::<Node>(&node(name, region));
        }
        api.put::<StorageClass>(&read(json!({
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "test", "allowVolumeExpansion": true,
        })));
        Self {
            api,
            engine,
            now: Arc::new(AtomicI64::new(1_800_000_000)),
        }
    }

    /// The same with one RegistryCache for docker.io in both regions.
    pub fn with_one(engine: Engine) -> Self {
        let world = Self::new(engine);
        world.put("main", &["docker.io"], &["r1", "r2"]);
        world
    }

    /// Another world with the same past.
    pub fn fork(&self) -> Self {
        let now = self.now.load(Ordering::Relaxed);
        Self {
            api: self.api.fork(),
            engine: self.engine,
            now: Arc::new(AtomicI64::new(now)),
        }
    }

    /// A RegistryCache; the earlier its name in the alphabet, the older.
    pub fn put(&self, name: &str, hosts: &[&str], regions: &[&str]) {
        let day = name.bytes().next().unwrap_or_default() % 28 + 1;
        let named = |key: &str, names: &[&str]| names.iter().map(|name| json!({key: name})).collect::<Vec<_>>();
        self.api.put::<RegistryCache>(&read(json!({
            "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache",
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")},
            "spec": {
                "upstreams": named("host", hosts), "regions": named("name", regions), "cache": {"engine": self.engine},
            },
        })));
    }

    /// The name of the cache of `host` in `region`.
    pub fn site(&self, name: &str, region: &str, host: &str) -> String {
        match self.engine {
            Engine::Builtin => names::shared_site(name, region),
            Engine::Distribution => names::site(name, region, host),
        }
    }

    /// The caches that the stable plan of `region` names for `host`.
    pub fn caches(&self, region: &str, host: &str) -> Vec<String> {
        let plan = self.plan(region).stable;
        let caches = plan.upstream(host).map(|upstream| upstream.caches.iter());
        caches.into_iter().flatten().map(|cache| cache.name.clone()).collect()
    }

    /// Changes a RegistryCache as its user would.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut RegistryCache)) {
        assert!(self.api.edit("", name, change), "there is no {name}");
    }

    /// What operators are started with.
    pub fn settings() -> Settings {
        Settings {
            soak: Duration::from_secs(STEP.unsigned_abs()),
            withdraw_grace: Duration::from_secs(180),
            ..Settings::default()
        }
    }

    /// An operator that has just been started.
    pub fn operator(&self) -> Arc<Ctx> {
        self.operator_with(Self::settings())
    }

    /// The same with other settings.
    pub fn operator_with(&self, settings: Settings) -> Arc<Ctx> {
        let now = Arc::clone(&self.now);
        let ctx = Ctx::new(self.api.client(SYSTEM), settings, Some("operator-0".into()));
        Arc::new(ctx.with_clock(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap_or_default()))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::Relaxed)).unwrap()
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    /// One run of the cache controller for each RegistryCache, and one of the nodes controller. The errors are what a
    /// real run would log and try again after.
    pub async fn run(&self, ctx: &Arc<Ctx>) -> Vec<String> {
        let mut errors = Vec::new();
        for registry_cache in self.api.all::<RegistryCache>() {
            let object = Arc::new(DeserializeGuard(Ok(registry_cache)));
            if let Err(error) = cache::reconcile(Arc::clone(&object), Arc::clone(ctx)).await {
                // What the real loop does: it says when to try again, and must not fail.
                let _action = cache::error_policy(object, &error, Arc::clone(ctx));
                errors.push(format!("{error:?}"));
            }
        }
        errors.extend(
            nodes::reconcile(Arc::clone(ctx))
                .await
                .err()
                .map(|error| format!("{error:?}")),
        );
        errors
    }

    /// One turn: the operator, then the rest of the cluster, then time passes.
    pub async fn turn(&self, ctx: &Arc<Ctx>) -> Vec<String> {
        let errors = self.run(ctx).await;
        self.api.settle();
        self.wait(STEP);
        errors
    }

    /// Turns until nothing more happens, an operator restarted each time: it must need no memory.
    pub async fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..100 {
            let mark = self.api.mark();
            let errors = self.turn(&self.operator()).await;
            quiet = if self.api.writes_since(mark).is_empty() && errors.is_empty() {
                quiet + 1
            } else {
                0
            };
            if quiet == QUIET {
                return;
            }
        }
        let mark = self.api.mark();
        let errors = self.turn(&self.operator()).await;
        let writes: Vec<String> = self.api.writes_since(mark).iter().map(ToString::to_string).collect();
        panic!("it never settles: {writes:#?} {errors:#?}");
    }

    /// The plan of a region's only place.
    pub fn plan(&self, region: &str) -> PlanFile {
        self.find_plan(region)
            .unwrap_or_else(|| panic!("there is no plan for {region}"))
    }

    /// The plan of a region's only place, if there is one.
    pub fn find_plan(&self, region: &str) -> Option<PlanFile> {
        let plans = self.api.all::<ConfigMap>().into_iter();
        let mut plans = plans.filter(|one| one.namespace().as_deref() == Some(NODES));
        let plan = plans.find(|one| one.labels().get(labels::REGION).is_some_and(|value| value == region))?;
        Some(serde_json::from_str(&plan.data?[PLAN_KEY]).unwrap())
    }

    /// The upstreams of a region's stable plan.
    pub fn upstreams(&self, region: &str) -> Vec<String> {
        self.plan(region)
            .stable
            .upstreams
            .into_iter()
            .map(|upstream| upstream.host)
            .collect()
    }

    /// A condition of a RegistryCache: its status, reason and message.
    pub fn condition(&self, name: &str, type_: &str) -> (String, String, String) {
        let status = self
            .api
            .get::<RegistryCache>("", name)
            .and_then(|one| one.status)
            .unwrap_or_default();
        let found = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == type_)
            .unwrap();
        (found.status, found.reason, found.message)
    }

    /// Every object but events, without what differs from run to run (times, versions, uids).
    pub fn snapshot(&self) -> Vec<(String, Value)> {
        let mut all = self.api.snapshot();
        all.retain(|(name, _)| !name.starts_with("events "));
        for (_, object) in &mut all {
            tidy(object);
        }
        all
    }
}

/// A healthy Linux node.
pub fn node(name: &str, region: &str) -> Node {
    read(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/region": region,
            "topology.kubernetes.io/zone": format!("{region}-a"),
        }},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))
}

/// Fails with the objects that are not as in `wanted`.
pub fn assert_same(got: &[(String, Value)], wanted: &[(String, Value)], what: &str) {
    let only = |these: &[(String, Value)], those: &[(String, Value)]| -> Vec<String> {
        let differ = these.iter().filter(|object| !those.contains(object));
        differ.map(|(name, object)| format!("{name}: {object:#}")).collect()
    };
    let (got, wanted) = (only(got, wanted), only(wanted, got));
    assert!(
        got.is_empty() && wanted.is_empty(),
        "{what}\ngot {}\nwanted {}",
        got.join("\n"),
        wanted.join("\n")
    );
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                let key = key.as_str();
                !matches!(key, "lastTransitionTime" | "uid" | "observedGeneration")
                    && !matches!(
                        key,
                        "regcache.dev/changed-at" | "regcache.dev/named-since" | "regcache.dev/applied-hash"
                    )
            });
            map.values_mut().for_each(tidy);
            if let Some(Value::Array(conditions)) = map.get_mut("conditions") {
                // Told apart by type: their order says nothing.
                conditions.sort_by_key(|condition| condition["type"].to_string());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
