//! Reconciles the files on the node with the plan: one step at a time, without waiting and without a clock of its own.
//!
//! An upstream is published when the gateway answers and one of its caches may be used; then it is left alone, since a
//! gateway without caches costs a pull next to nothing and a file that comes and goes costs more. It is withdrawn when
//! the plan drops it, when somebody else's file appears, or when the gateway's port is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regcache_mirror::files::{CertsDir, FilesError, Found, Publication, Whose, Withdrawn};
use regcache_mirror::host_dir::HostDir;
use regcache_mirror::hosts_toml::InstanceId;
use regcache_mirror::plan::{Mode, Plan, UpstreamPlan};

use crate::metrics::Metrics;
use crate::state::{Gateway, Upstream};

mod repair;
#[cfg(test)]
mod tests;

use repair::Repair;

/// A pull that has just read `hosts.toml` reads its CA within this time.
pub const CA_OUTLIVES: Duration = Duration::from_secs(2);
/// A CA that a new `hosts.toml` replaced goes this much later; there is no hurry.
const GARBAGE_AFTER: Duration = Duration::from_secs(60);
/// How long files that an earlier helper left, or that lead to a gateway that is down, wait for better times. They cost
/// a pull milliseconds; a helper that replaces another needs a few seconds to take over.
const GRACE: Duration = Duration::from_secs(10);
/// How long an upstream waits for its first cache before that counts as an answer too. Longer than a cache's restart
/// takes, so that a cluster that starts says `Waiting` first; short, since every pod of an update waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// For each upstream: may some cache of it be used now, and if not, why not.
pub type Usable = BTreeMap<String, Result<(), String>>;

/// What a step looks at besides the files.
#[derive(Clone, Debug)]
pub struct Input {
    /// The plan in force; `None` before the first could be read.
    pub plan: Option<Arc<Plan>>,
    /// The gateway.
    pub gateway: Gateway,
    /// The caches.
    pub usable: Usable,
}

/// Keeps the files on the node as the plan wants them.
pub struct Reconciler {
    certs: CertsDir,
    ca_pem: String,
    instance: InstanceId,
    port: u16,
    metrics: Arc<Metrics>,
    hosts: BTreeMap<String, Memory>,
    leaving: Vec<(Instant, Withdrawn)>,
    garbage: Vec<(Instant, String, Vec<InstanceId>)>,
    begun: Instant,
    gateway_down: Option<Instant>,
    scan_error: Option<String>,
}

/// What is remembered of one upstream.
#[derive(Default)]
struct Memory {
    /// The text that this run published.
    published: Option<String>,
    /// Since when nothing but a cache has been missing.
    waits: Option<Instant>,
    repair: Repair,
    told: Option<Upstream>,
}

impl Reconciler {
    /// `ca_pem` is the gateway's; it names this run. `begun` is now.
    pub fn new(certs: CertsDir, ca_pem: String, port: u16, metrics: Arc<Metrics>, begun: Instant) -> Self {
        Self {
            instance: InstanceId::of_ca(ca_pem.as_bytes()),
            certs,
            ca_pem,
            port,
            metrics,
            hosts: BTreeMap::new(),
            leaving: Vec::new(),
            garbage: Vec::new(),
            begun,
            gateway_down: None,
            scan_error: None,
        }
    }

    /// One step: looks at every upstream, changes what has to change, and tells what became of each.
    pub fn step(&mut self, input: &Input, now: Instant) -> BTreeMap<String, Upstream> {
        self.finish_due(now);
        let Some(plan) = &input.plan else {
            self.watch_gateway(&input.gateway, now);
            return BTreeMap::new();
        };
        self.hosts.retain(|host, _| plan.upstream(host).is_some());
        let mut states = BTreeMap::new();
        if self.watch_gateway(&input.gateway, now) {
            for upstream in &plan.upstreams {
                states.insert(upstream.host.clone(), self.reconcile(upstream, input, now));
            }
            self.withdraw_unplanned(plan, now);
        } else {
            let why = Upstream::Waiting("waits for the gateway".into());
            states.extend(
                plan.upstreams
                    .iter()
                    .map(|upstream| (upstream.host.clone(), why.clone())),
            );
        }
        for (host, state) in &states {
            self.tell(host, state);
        }
        states
    }

    /// The end of this run: takes away what carries its mark. [`Reconciler::finish`] follows after [`CA_OUTLIVES`].
    pub fn withdraw_own(&mut self, now: Instant) {
        let instance = self.instance.clone();
        self.withdraw_all(|_| true, Whose::Instance(&instance), "the helper is stopping", now);
        self.hosts.clear();
    }

    /// Finishes every withdrawal, due or not.
    pub fn finish(&mut self) {
        for (_, withdrawn) in std::mem::take(&mut self.leaving) {
            self.finish_withdrawal(&withdrawn);
        }
    }

    /// True when files may be published. A gateway that stays down takes them away.
    fn watch_gateway(&mut self, gateway: &Gateway, now: Instant) -> bool {
        match gateway {
            Gateway::Up => {
                self.gateway_down = None;
                return true;
            }
            Gateway::Starting => self.gateway_down = None,
            Gateway::Down(_) => {
                let since = *self.gateway_down.get_or_insert(now);
                if now.saturating_duration_since(since) >= GRACE {
                    self.withdraw_all(|_| true, Whose::Any, "the gateway is down", now);
                    self.hosts.values_mut().for_each(|memory| memory.published = None);
                }
            }
        }
        false
    }

    fn reconcile(&mut self, upstream: &UpstreamPlan, input: &Input, now: Instant) -> Upstream {
        match self.try_reconcile(upstream, input, now) {
            Ok(state) => state,
            Err(error) => failed(&error, self.certs.shown()),
        }
    }

    fn try_reconcile(&mut self, upstream: &UpstreamPlan, input: &Input, now: Instant) -> Result<Upstream, FilesError> {
        let host = upstream.host.as_str();
        let publication = Publication {
            host: host.to_owned(),
            server: upstream.server.clone(),
            port: self.port,
            ca_pem: self.ca_pem.clone(),
        };
        let found = self.certs.inspect(host)?;
        if let Found::Foreign(conflict) = found {
            // Ours may be there all the same, beside theirs or masking theirs.
            self.withdraw_host(host, "somebody else's settings take precedence", now)?;
            return Ok(Upstream::Skipped(conflict.to_string()));
        }
        if upstream.mode == Mode::Observe {
            self.withdraw_host(host, "the plan says to observe only", now)?;
            self.tell_observed(&publication);
            return Ok(Upstream::Observed);
        }
        if upstream.caches.is_empty() {
            self.withdraw_host(host, "the plan names no cache for it", now)?;
            return Ok(Upstream::NoCache);
        }

        let text = publication.text();
        let memory = self.hosts.entry(host.to_owned()).or_default();
        let Some(before) = &memory.published else {
            return match input.usable.get(host) {
                Some(Ok(())) => self.publish(&publication, now),
                usable => {
                    let since = *memory.waits.get_or_insert(now);
                    let why = match usable {
                        Some(Err(why)) => format!("no cache may be used: {why}"),
                        _ => "its caches have not been asked yet".to_owned(),
                    };
                    if now.saturating_duration_since(self.begun) >= GRACE {
                        self.withdraw_host(host, "left by an earlier helper", now)?;
                    }
                    Ok(if now.saturating_duration_since(since) >= PATIENCE {
                        Upstream::Unanswered(why)
                    } else {
                        Upstream::Waiting(why)
                    })
                }
            };
        };
        if *before != text {
            return self.publish(&publication, now);
        }
        if self.certs.is_published(&publication)? {
            return Ok(Upstream::Published);
        }
        let memory = self.hosts.entry(host.to_owned()).or_default();
        if !memory.repair.may(now) {
            return Ok(Upstream::Waiting(
                "somebody keeps changing its hosts.toml; tried again later".into(),
            ));
        }
        if memory.repair.is_first(now) {
            tracing::warn!(
                upstream = host,
                "hosts.toml was changed or removed by somebody else, written again"
            );
        }
        memory.repair.done(now);
        self.metrics.repaired();
        self.publish(&publication, now)
    }

    fn publish(&mut self, publication: &Publication, now: Instant) -> Result<Upstream, FilesError> {
        let published = self.certs.publish(publication)?;
        let host = publication.host.clone();
        if !published.stale.is_empty() {
            self.garbage.push((now + GARBAGE_AFTER, host.clone(), published.stale));
        }
        let memory = self.hosts.entry(host).or_default();
        memory.published = Some(publication.text());
        memory.waits = None;
        Ok(Upstream::Published)
    }

    /// Takes away files of ours in directories that the plan does not name.
    fn withdraw_unplanned(&mut self, plan: &Plan, now: Instant) {
        let planned: BTreeSet<&str> = plan.upstreams.iter().map(|upstream| upstream.host.as_str()).collect();
        self.withdraw_all(
            |dir| !planned.contains(dir),
            Whose::Any,
            "the plan does not name it",
            now,
        );
    }

    fn withdraw_all(&mut self, which: impl Fn(&str) -> bool, whose: Whose<'_>, why: &str, now: Instant) {
        let dirs = match self.certs.scan() {
            Ok(dirs) => {
                self.scan_error = None;
                dirs
            }
            Err(error) => {
                let text = error.to_string();
                if self.scan_error.as_ref() != Some(&text) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot look for files of ours"
                    );
                    self.scan_error = Some(text);
                }
                return;
            }
        };
        for dir in dirs.into_iter().filter(|dir| which(dir.as_str())) {
            if let Err(error) = self.withdraw(&dir, whose, why, now) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(upstream = dir.as_str(), error, "cannot withdraw");
            }
        }
    }

    fn withdraw_host(&mut self, host: &str, why: &str, now: Instant) -> Result<(), FilesError> {
        if let Some(memory) = self.hosts.get_mut(host) {
            memory.published = None;
        }
        self.withdraw(&HostDir::of(host)?, Whose::Any, why, now)
    }

    fn withdraw(&mut self, dir: &HostDir, whose: Whose<'_>, why: &str, now: Instant) -> Result<(), FilesError> {
        if let Some(withdrawn) = self.certs.withdraw(dir, whose)?
            // One that is on its way out already is found again until it is finished.
            && !self.leaving.iter().any(|(_, known)| *known == withdrawn)
        {
            tracing::info!(upstream = dir.as_str(), why, "withdrawn");
            self.leaving.push((now + CA_OUTLIVES, withdrawn));
        }
        Ok(())
    }

    fn finish_due(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.leaving = later;
        let due: Vec<(Instant, Withdrawn)> = due;
        for (_, withdrawn) in &due {
            self.finish_withdrawal(withdrawn);
        }
        let (due, later) = std::mem::take(&mut self.garbage)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.garbage = later;
        let due: Vec<(Instant, String, Vec<InstanceId>)> = due;
        for (_, host, stale) in &due {
            if let Err(error) = self.certs.collect_garbage(host, stale) {
                tracing::debug!(upstream = host, %error, "an old CA stays");
            }
        }
    }

    fn finish_withdrawal(&self, withdrawn: &Withdrawn) {
        if let Err(error) = self.certs.finish_withdraw(withdrawn) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                upstream = withdrawn.dir().as_str(),
                error,
                "files without effect stay behind"
            );
        }
    }

    /// Says what would be written, when that is news.
    fn tell_observed(&mut self, publication: &Publication) {
        let memory = self.hosts.entry(publication.host.clone()).or_default();
        if memory.told != Some(Upstream::Observed) {
            let path = self.certs.shown().join(&publication.host).join("hosts.toml");
            let content = publication.text();
            tracing::info!(upstream = publication.host, path = %path.display(), content, "would write");
        }
    }

    /// Logs a state when it is another than before.
    fn tell(&mut self, host: &str, state: &Upstream) {
        let memory = self.hosts.entry(host.to_owned()).or_default();
        if memory.told.as_ref() == Some(state) {
            return;
        }
        match state {
            Upstream::Published => tracing::info!(upstream = host, "published"),
            // Told with the text already.
            Upstream::Observed => {}
            Upstream::NoCache => tracing::info!(upstream = host, "no cache here, nothing is published"),
            Upstream::Skipped(why) => tracing::warn!(upstream = host, why, "skipped"),
            Upstream::Unsupported(why) => tracing::warn!(upstream = host, why, "cannot be published on this node"),
            Upstream::Unanswered(why) => {
                tracing::warn!(upstream = host, why, "not published until a cache answers");
            }
            Upstream::Waiting(why) => tracing::info!(upstream = host, why, "not published yet"),
        }
        memory.told = Some(state.clone());
    }
}

/// What an error makes of an upstream: somebody else's, not possible on this node, or to be tried again.
fn failed(error: &FilesError, root: &Path) -> Upstream {
    use std::io::ErrorKind;
    match error {
        FilesError::Conflict(conflict) => Upstream::Skipped(conflict.to_string()),
        FilesError::BadHost(bad) => Upstream::Unsupported(bad.to_string()),
        FilesError::Io { source, path, .. } => {
            let text = format!("{error}: {source}");
            match source.kind() {
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Upstream::Unsupported(text),
                ErrorKind::NotFound if path == root => Upstream::Unsupported(text),
                _ => Upstream::Waiting(text),
            }
        }
    }
}
