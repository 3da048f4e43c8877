//! What every reconciliation has at hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::Action;

use crate::backoff::Backoff;
use crate::error::Classify;
use crate::events::Events;
use crate::metrics::Metrics;

/// SSA field manager of the caches' children.
pub const CACHE_MANAGER: &str = "regcache-operator/cache";
/// SSA field manager of plans and DaemonSets.
pub const NODES_MANAGER: &str = "regcache-operator/nodes";
/// SSA field manager of the status of a RegistryCache.
pub const STATUS_MANAGER: &str = "regcache-operator/status";

/// What the operator was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the caches and of the operator itself.
    pub namespace: String,
    /// Namespace of the helpers and plans.
    pub nodes_namespace: String,
    /// Image of the node helper and of the engine `Builtin`, unless a RegistryCache names another for its caches.
    pub image: String,
    /// Pull policy of helpers and caches: `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Secrets in `namespace` that the caches' images are pulled with.
    pub image_pull_secrets: Vec<String>,
    /// Image of the engine `Distribution`, unless a RegistryCache names its own.
    pub distribution_image: String,
    /// ConfigMap in `namespace` whose [`engine::CA_FILE`](crate::cache::engine::CA_FILE) holds authorities that the
    /// caches believe beside the public ones.
    pub upstream_ca: Option<String>,
    /// Port of the helpers' gateway, on each node's 127.0.0.1.
    pub gateway_port: u16,
    /// Port of the helpers' metrics, on each node's address.
    pub node_metrics_port: u16,
    /// The nodes' directory of `hosts.toml` files.
    pub certs_dir: String,
    /// The nodes' containerd configuration.
    pub containerd_config: String,
    /// Share of nodes, 1 to 100, that try a new plan first.
    pub canary_percent: u8,
    /// How long they try it.
    pub soak: Duration,
    /// How long it takes until every pod has surely read a changed ConfigMap: so long a plan must have been without a
    /// cache before the cache goes, and so long a running cache's configuration must have named an upstream before a
    /// plan does.
    pub withdraw_grace: Duration,
    /// Node label that names the region.
    pub region_label: String,
    /// Node label that names the zone.
    pub zone_label: String,
    /// Longest duration of one reconciliation: a request that never ends must not stop an object for ever.
    pub run_timeout: Duration,
}

impl Default for Settings {
    /// The defaults of the command line; for tests too.
    fn default() -> Self {
        Self {
            namespace: "regcache-system".into(),
            nodes_namespace: "regcache-nodes".into(),
            image: "regcache:dev".into(),
            image_pull_policy: "IfNotPresent".into(),
            image_pull_secrets: Vec::new(),
            distribution_image: "docker.io/library/registry:3.1.2".into(),
            upstream_ca: None,
            gateway_port: 21500,
            node_metrics_port: 21501,
            certs_dir: "/etc/containerd/certs.d".into(),
            containerd_config: "/etc/containerd/config.toml".into(),
            canary_percent: 10,
            soak: Duration::from_secs(60),
            withdraw_grace: Duration::from_secs(180),
            region_label: "topology.kubernetes.io/region".into(),
            zone_label: "topology.kubernetes.io/zone".into(),
            run_timeout: Duration::from_secs(60),
        }
    }
}

/// Tells the time; tests set their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every reconciliation has at hand: shared by both controllers.
pub struct Ctx {
    /// The way to the API server.
    pub client: Client,
    /// What the operator was started with.
    pub settings: Settings,
    /// Events, on transitions only.
    pub events: Events,
    /// Counts of runs and failures.
    pub metrics: Metrics,
    /// Consecutive failures of each object; keys begin with the controller's name.
    pub backoff: Backoff,
    /// Tells the time.
    pub clock: Clock,
}

impl Ctx {
    /// A context with the system's clock; `instance` (the pod's name) signs events.
    pub fn new(client: Client, settings: Settings, instance: Option<String>) -> Self {
        Self {
            events: Events::new(client.clone(), instance),
            client,
            settings,
            metrics: Metrics::default(),
            backoff: Backoff::default(),
            clock: Arc::new(Timestamp::now),
        }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Runs one reconciliation of `controller` for the object `name`, bounded and counted. `timed_out` makes the error
    /// of a run that did not end in time.
    pub async fn observe<T, E: Classify>(
        &self,
        controller: &'static str,
        name: &str,
        timed_out: impl FnOnce() -> E,
        run: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let result = tokio::time::timeout(self.settings.run_timeout, run)
            .await
            .unwrap_or_else(|_| Err(timed_out()));
        self.metrics.run(controller, started.elapsed());
        if result.is_ok() {
            self.backoff.reset(&format!("{controller}/{name}"));
        }
        self.metrics.backing_off(controller, self.backoff.waiting(controller));
        result
    }

    /// Logs and counts a failed run, and says when to try again: what a controller's `error_policy` returns.
    pub fn failed(&self, controller: &'static str, name: &str, error: &impl Classify) -> Action {
        Action::requeue(self.retry_after(controller, name, error))
    }

    /// Logs and counts a failed run, and says how long to wait before the next.
    pub fn retry_after(&self, controller: &'static str, name: &str, error: &impl Classify) -> Duration {
        let (reason, class) = (error.reason(), error.class());
        self.metrics.failed(controller, reason);
        let delay = self.backoff.failed(&format!("{controller}/{name}"), class);
        self.metrics.backing_off(controller, self.backoff.waiting(controller));
        tracing::warn!(
            controller,
            object = name,
            reason,
            ?class,
            retry_seconds = delay.as_secs_f64(),
            "{}",
            error.words()
        );
        delay
    }
}
