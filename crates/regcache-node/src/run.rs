//! Puts the helper together: plan -> health -> files, with the gateway beside them, until SIGTERM.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use regcache_mirror::files::CertsDir;
use regcache_mirror::hosts_toml::InstanceId;
use regcache_mirror::plan::Plan;
use regcache_runtime::admin::{self, AdminState};
use regcache_runtime::probe::Report;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::RunArgs;
use crate::gateway::{GatewayMetrics, LoopbackIdentity};
use crate::health::{self, Tracker};
use crate::metrics::Metrics;
use crate::node_config::NodeConfig;
use crate::plan_file::PlanSource;
use crate::publish::{CA_OUTLIVES, Input, Reconciler, Usable};
use crate::state::{Finding, Gateway, State, StateDir};
use crate::supervise::Supervisor;
use crate::{readiness, report};

/// Time between two looks at the files when nothing else asks for one.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks at containerd's config.
const FINDINGS_EVERY: Duration = Duration::from_secs(60);
/// Time between two tries to listen for metrics.
const METRICS_RETRY: Duration = Duration::from_secs(10);

/// Runs the helper until `shutdown`; withdraws its files then, finishes what runs, and returns.
///
/// # Errors
/// When the helper cannot start at all, or a part of it ended that should not.
pub async fn run(args: RunArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let identity = LoopbackIdentity::generate().context("cannot start the gateway")?;
    let state_dir = StateDir::new(&args.state.state_dir);
    let state = State {
        node: args.node.clone(),
        instance: InstanceId::of_ca(identity.ca_pem.as_bytes()).to_string(),
        port: args.port,
        waiting_for: vec!["the helper is starting".into()],
        ..State::default()
    };
    // At once, so that the probes do not ask what an earlier run has left.
    state_dir.write(&state)?;
    state_dir.write_ca(&identity.ca_pem)?;
    tracing::info!(
        node = args.node,
        instance = state.instance,
        port = args.port,
        "the helper starts"
    );

    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::default());
    metrics.register(&mut registry);
    let gateway_metrics = GatewayMetrics::register(&mut registry);

    let tracker = Tracker::new(Arc::clone(&metrics));
    let (plan_sender, plans) = watch::channel(None);
    let (gateway_sender, gateway) = watch::channel(Gateway::Starting);
    let certs = CertsDir::new(&args.certs_dir, &args.certs_dir_on_host);
    let reconciler = Reconciler::new(
        certs,
        identity.ca_pem.clone(),
        args.port,
        Arc::clone(&metrics),
        Instant::now(),
    );
    let files = Files {
        reconciler,
        config: NodeConfig {
            config: args.containerd_config.clone(),
            certs_dir: args.certs_dir_on_host.clone(),
        },
        looked: None,
        state_dir,
        state,
        metrics,
        gateway: gateway_metrics.clone(),
    };
    let supervisor = Supervisor {
        port: args.port,
        identity,
        router: Arc::clone(&tracker) as _,
        metrics: gateway_metrics,
    };
    // The gateway goes on while the files are taken away.
    let gateway_end = CancellationToken::new();

    let mut tasks = JoinSet::new();
    tasks.spawn(PlanSource::new(&args.plan, &args.node).follow(plan_sender, shutdown.clone()));
    tasks.spawn(health::run(Arc::clone(&tracker), plans.clone(), shutdown.clone()));
    if let Some(address) = args.metrics_address {
        let state = Arc::new(AdminState::new(registry));
        tasks.spawn(admin::serve_late(address, state, METRICS_RETRY, shutdown.clone()));
    }
    let mut work = tokio::spawn(look_after_files(
        files,
        tracker,
        plans,
        gateway,
        shutdown.clone(),
        gateway_end.clone(),
    ));
    let mut serving = tokio::spawn(supervisor.run(gateway_sender, gateway_end.clone()));

    let ended_early = tokio::select! {
        () = shutdown.cancelled() => None,
        Some(_) = tasks.join_next() => (!shutdown.is_cancelled()).then_some("a background task"),
        _ = &mut work => Some("the task that looks after the files"),
        _ = &mut serving => Some("the gateway's task"),
    };
    shutdown.cancel();
    if !work.is_finished() {
        work.await.context("withdrawing the files failed")??;
    }
    gateway_end.cancel();
    if !serving.is_finished() {
        serving.await.context("the gateway failed")?;
    }
    match ended_early {
        None => Ok(()),
        Some(what) => anyhow::bail!("{what} ended by itself; the helper has to be started again"),
    }
}

/// The part that touches files; blocking.
struct Files {
    reconciler: Reconciler,
    config: NodeConfig,
    looked: Option<Instant>,
    state_dir: StateDir,
    state: State,
    metrics: Arc<Metrics>,
    gateway: GatewayMetrics,
}

impl Files {
    /// One step, and what it says in the state.
    fn step(mut self, input: &Input) -> Self {
        let now = Instant::now();
        let mut state = self.state.clone();
        if self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= FINDINGS_EVERY)
        {
            self.looked = Some(now);
            state.findings = self.config.findings();
            tell_findings(&self.state.findings, &state.findings);
            self.metrics
                .findings(state.findings.iter().map(|finding| finding.id.as_str()));
        }
        state.upstreams = self.reconciler.step(input, now);
        state.gateway = input.gateway.clone();
        state.plan = input.plan.as_ref().map(|plan| plan.hash());
        state.waiting_for = readiness::waiting_for(input.plan.as_deref(), &state.gateway, &state.upstreams);
        if !state.ready && state.waiting_for.is_empty() {
            tracing::info!("ready");
            state.ready = true;
        }
        self.show(state);
        self
    }

    /// What the probes say of this node.
    fn report(&self, usable: &Usable) -> Option<Report> {
        report::report(&self.state, usable, self.gateway.containerd())
    }

    fn show(&mut self, state: State) {
        if state.plan != self.state.plan
            && let Some(hash) = &state.plan
        {
            self.metrics.plan(hash.clone());
        }
        if state == self.state {
            return;
        }
        self.metrics.ready(state.ready);
        let names = state
            .upstreams
            .iter()
            .map(|(host, upstream)| (host.as_str(), upstream.name()));
        self.metrics.upstreams(names);
        if let Err(error) = self.state_dir.write(&state) {
            tracing::error!(error = &error as &dyn std::error::Error, "the probes show an old state");
        }
        self.state = state;
    }
}

fn tell_findings(before: &[Finding], now: &[Finding]) {
    for finding in now.iter().filter(|finding| !before.contains(finding)) {
        tracing::warn!(id = finding.id, "{}", finding.message);
    }
    for finding in before.iter().filter(|old| !now.iter().any(|new| new.id == old.id)) {
        tracing::info!(id = finding.id, "no longer found in containerd's config");
    }
}

/// Reconciles whenever something changes, and every few seconds. At the end takes this run's files away, and with the
/// last of them the gateway's reason to be.
async fn look_after_files(
    mut files: Files,
    tracker: Arc<Tracker>,
    mut plans: watch::Receiver<Option<Arc<Plan>>>,
    mut gateway: watch::Receiver<Gateway>,
    shutdown: CancellationToken,
    gateway_end: CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        let input = input(
            &tracker,
            plans.borrow_and_update().clone(),
            gateway.borrow_and_update().clone(),
        );
        let usable = input.usable.clone();
        files = tokio::task::spawn_blocking(move || files.step(&input)).await?;
        if let Some(report) = files.report(&usable) {
            tracker.set_report(report);
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tracker.changed() => {}
            // Both senders live until the shutdown; without them the clock goes on.
            Ok(()) = plans.changed() => {}
            Ok(()) = gateway.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    files = tokio::task::spawn_blocking(move || {
        files.reconciler.withdraw_own(Instant::now());
        files
    })
    .await?;
    tokio::time::sleep(CA_OUTLIVES).await;
    let mut state = files.state.clone();
    state.gateway = Gateway::Down("the helper is stopping".into());
    state.upstreams.clear();
    files.show(state);
    gateway_end.cancel();
    tokio::task::spawn_blocking(move || files.reconciler.finish()).await?;
    Ok(())
}

fn input(tracker: &Tracker, plan: Option<Arc<Plan>>, gateway: Gateway) -> Input {
    let hosts = plan.iter().flat_map(|plan| &plan.upstreams);
    let usable = hosts
        .map(|upstream| (upstream.host.clone(), tracker.usable(&upstream.host)))
        .collect();
    Input { plan, gateway, usable }
}
