//! Puts the proxy together, takes up new configurations while it runs, and ends it in order.

mod front;
mod port;
#[cfg(test)]
mod tests;
mod upstreams;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus_client::registry::Registry as MetricRegistry;
use regcache_runtime::admin::AdminState;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::complete::Complete;
use crate::config::{Loaded, Source, TlsError, Watch, server_config};
use crate::fill::{FillLimits, Fills};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::registry::{Registry, Upstreams};
use crate::serve::{Limits, TlsReload, serve};
use crate::store::{self, Store};

use front::Front;
use port::{Bound, Port};

pub use port::PortError;
pub use upstreams::UpstreamError;

/// How long nobody need be sent here while the store is being opened.
const OPENING: Duration = Duration::from_secs(10);

/// The times of the program.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two looks at the configuration.
    pub look: Duration,
    /// From SIGTERM until no new connections are taken: as long as it takes until nobody is sent here any more.
    pub drain: Duration,
    /// From then on until bodies are ended short.
    pub grace: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(2),
            drain: Duration::from_secs(10),
            grace: Duration::from_secs(30),
        }
    }
}

/// A configuration cannot be taken up; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The store cannot move while it is in use.
    #[error("store.directory: changed from {} to {}, which needs a restart", from.display(), to.display())]
    StoreMoved {
        /// In use.
        from: PathBuf,
        /// Asked for.
        to: PathBuf,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Registries.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Addresses.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A proxy that is serving.
pub struct Proxy {
    parts: Parts,
    main: Port,
    admin: Option<Port>,
    loaded: Loaded,
    watch: Watch,
    times: Times,
}

/// What stays the same whatever the configuration says.
struct Parts {
    front: Arc<Front>,
    admin: Admin,
    store: Arc<Store>,
    fills: Arc<Fills>,
    upstreams: Arc<ArcSwap<Upstreams>>,
    tls: TlsReload,
    limits: Limits,
    metrics: Metrics,
    status: Arc<Status>,
}

/// What health is asked of.
struct Status {
    draining: Arc<AtomicBool>,
    started: Instant,
    /// Why the configuration there is now is not in use.
    refused: Mutex<Option<String>>,
    store: Arc<Store>,
    upstreams: Arc<ArcSwap<Upstreams>>,
}

impl Proxy {
    /// Listens and serves. Neither the store nor any upstream need be usable.
    ///
    /// # Errors
    /// When the configuration cannot be taken up.
    pub async fn start(source: Source, loaded: Loaded, times: Times) -> Result<Self, Refused> {
        let nodes = Arc::new(Nodes::default());
        let (metrics, registry) = Metrics::new(&nodes);
        let tls = loaded.tls.as_ref().map(server_config).transpose()?;
        let upstreams = upstreams::upstreams(&loaded.upstreams, &Upstreams::default(), &metrics.upstream)?;
        let main = Bound::new("listen", loaded.config.listen).await?;
        let admin = match loaded.config.admin {
            Some(address) => Some(Bound::new("admin", address).await?),
            None => None,
        };
        let mut options = store::Options::new(&loaded.config.store.directory);
        options.max_bytes = loaded.config.store.max_bytes;
        let store = Store::open(options, &metrics.store);
        let fills = Fills::new(Arc::clone(&store), FillLimits::default(), &metrics.fill);
        let upstreams = Arc::new(ArcSwap::from_pointee(upstreams));
        let status = Arc::new(Status {
            draining: Arc::default(),
            started: Instant::now(),
            refused: Mutex::default(),
            store: Arc::clone(&store),
            upstreams: Arc::clone(&upstreams),
        });
        let parts = Parts {
            front: Arc::new(Front {
                registry: Registry::new(
                    Arc::clone(&store),
                    Arc::clone(&fills),
                    Arc::clone(&upstreams),
                    metrics.registry.clone(),
                ),
                nodes: Arc::clone(&nodes),
                draining: Arc::clone(&status.draining),
            }),
            admin: Admin {
                state: Arc::new(health(registry, &status)),
                nodes,
                complete: Arc::new(Complete::new(Arc::clone(&store))),
            },
            store,
            fills,
            upstreams,
            tls: Arc::new(ArcSwapOption::new(tls)),
            limits: Limits {
                grace: times.grace,
                ..Limits::default()
            },
            metrics,
            status,
        };
        let watch = Watch::new(source, loaded.clone(), times.look);
        let (main, admin) = (parts.serve(main), admin.map(|admin| parts.serve_admin(admin)));
        Ok(Self {
            parts,
            main,
            admin,
            loaded,
            watch,
            times,
        })
    }

    /// Where images are served.
    pub fn address(&self) -> SocketAddr {
        self.main.address
    }

    /// Where health, metrics and nodes are served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Serves until `shutdown`, taking up every new configuration, then ends in order: probes fail at once, everything
    /// is served for a while, bodies finish within the grace period.
    ///
    /// # Errors
    /// When a port is not served any more; the program has to be started again.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.watch.changed() => self.reload(changed).await,
            }
            anyhow::ensure!(self.main.is_serving(), "the port for images is not served any more");
        }
        self.parts.status.draining.store(true, Ordering::Relaxed);
        tracing::info!(
            seconds = self.times.drain.as_secs(),
            "probes fail from now on, everything is served for a while"
        );
        tokio::time::sleep(self.times.drain).await;
        self.main.close().await;
        if let Some(admin) = self.admin {
            // Whoever keeps such a connection open waits for nothing.
            admin.leave();
        }
        // Nobody reads any more: what fills have is left for the next start, in order and counted.
        self.parts.fills.shutdown(Duration::ZERO).await;
        self.parts.store.close().await;
        Ok(())
    }

    async fn reload(&mut self, changed: Result<Loaded, String>) {
        let refused = match changed {
            Ok(loaded) => self
                .apply(loaded)
                .await
                .err()
                .map(|refused| crate::config::chain(&refused)),
            Err(message) => Some(message),
        };
        self.parts.metrics.reloaded(refused.is_none());
        match &refused {
            None => tracing::info!("the new configuration is in use"),
            Some(message) => tracing::error!("the new configuration is refused, the old one goes on: {message}"),
        }
        *self.parts.status.refused() = refused;
    }

    /// All of it or nothing.
    async fn apply(&mut self, loaded: Loaded) -> Result<(), Refused> {
        let (old, new) = (&self.loaded.config, &loaded.config);
        if old.store.directory != new.store.directory {
            return Err(Refused::StoreMoved {
                from: old.store.directory.clone(),
                to: new.store.directory.clone(),
            });
        }
        let tls = loaded.tls.as_ref().map(server_config).transpose()?;
        let upstreams = upstreams::upstreams(
            &loaded.upstreams,
            &self.parts.upstreams.load(),
            &self.parts.metrics.upstream,
        )?;
        let main = match new.listen {
            same if same == self.main.asked => None,
            other => Some(Bound::new("listen", other).await?),
        };
        let admin = match new.admin {
            Some(other) if self.admin.as_ref().is_none_or(|admin| admin.asked != other) => {
                Some(Bound::new("admin", other).await?)
            }
            _ => None,
        };
        // From here on nothing fails.
        if old.log_format != new.log_format {
            tracing::warn!("logFormat: taken up at the next start");
        }
        if loaded.tls != self.loaded.tls {
            self.parts.tls.store(tls);
        }
        self.parts.store.set_max_bytes(new.store.max_bytes);
        self.parts.upstreams.store(Arc::new(upstreams));
        if let Some(main) = main {
            std::mem::replace(&mut self.main, self.parts.serve(main)).leave();
        }
        if new.admin.is_none() || admin.is_some() {
            let admin = admin.map(|admin| self.parts.serve_admin(admin));
            if let Some(old) = std::mem::replace(&mut self.admin, admin) {
                old.leave();
            }
        }
        self.loaded = loaded;
        Ok(())
    }
}

impl Parts {
    fn serve(&self, bound: Bound) -> Port {
        let (tls, front, metrics) = (
            Arc::clone(&self.tls),
            Arc::clone(&self.front),
            self.metrics.serve.clone(),
        );
        let limits = self.limits;
        let with_tls = self.tls.load().is_some();
        let port = bound.serve(|listener, shutdown| serve(listener, tls, front, limits, metrics, shutdown));
        tracing::info!(address = %port.address, tls = with_tls, "listening");
        port
    }

    fn serve_admin(&self, bound: Bound) -> Port {
        let admin = self.admin.clone();
        let port = bound.serve(|listener, shutdown| admin.serve(listener, shutdown));
        tracing::info!(address = %port.address, "health and metrics");
        port
    }
}

impl Status {
    fn refused(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("shutting down".to_owned());
        }
        // A disk that hangs is no reason for ever: everything can be streamed through.
        if self.store.is_opening() && self.started.elapsed() < OPENING {
            return Err("waiting for the store".to_owned());
        }
        Ok(())
    }

    /// Everything that is not as it should be and no reason to send nobody here: it serves all the same.
    fn troubles(&self) -> Vec<String> {
        let refused = self
            .refused()
            .as_ref()
            .map(|why| format!("configuration refused, the old one goes on: {why}"));
        let store = self.store.trouble().map(|why| format!("nothing is stored: {why}"));
        let upstreams = self.upstreams.load_full();
        let resting = upstreams.iter().filter_map(|entry| {
            let left = entry.upstream.resting()?;
            let host = entry.upstream.host();
            Some(format!(
                "upstream {host} does not answer, asked again in {} s",
                left.as_secs().max(1)
            ))
        });
        refused.into_iter().chain(store).chain(resting).collect()
    }
}

fn health(registry: MetricRegistry, status: &Arc<Status>) -> AdminState {
    let (ready, troubles) = (Arc::clone(status), Arc::clone(status));
    AdminState::new(registry)
        .ready(move || ready.ready())
        .remarks(move || troubles.troubles())
}
