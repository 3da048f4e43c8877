//! The running program: admin server, wait for the CRD, lease, both controllers, and an orderly end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use regcache_api::RegistryCache;
use regcache_runtime::admin::{self, AdminState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::{Ctx, Settings};
use crate::error::{Class, Classify as _, is_not_found};
use crate::{cache, lease, nodes};

/// Pause between two looks for the CRD.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why the program ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to the API server.
    #[error("cannot make a client for the API server")]
    Client(#[source] kube::Error),
    /// Health and metrics cannot be served.
    #[error("health and metrics are not served")]
    Admin(#[source] admin::Error),
    /// The lease is gone.
    #[error("not the leader any more")]
    Lease(#[source] lease::Error),
    /// A controller's watches ended.
    #[error("the {0} controller ended: its watches are dead")]
    Controller(&'static str),
}

/// Runs until `shutdown`. Whatever else ends, ends the program: the kubelet starts it anew.
pub async fn run(
    config: Config,
    settings: Settings,
    pod: String,
    admin_address: SocketAddr,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let client = Client::try_from(config.clone()).map_err(Error::Client)?;
    let ctx = Arc::new(Ctx::new(client, settings, Some(pod.clone())));
    let mut registry = Registry::default();
    ctx.metrics.register(&mut registry);
    let waiting = Waiting::default();
    let admin = Arc::new(AdminState::new(registry).ready({
        let waiting = waiting.clone();
        move || waiting.answer()
    }));
    // The admin server outlives the rest: it answers while the lease is given back.
    let (last, release) = (CancellationToken::new(), CancellationToken::new());
    let serving = admin::serve(admin_address, admin, last.clone());
    let work = async {
        let result = Box::pin(work(config, &ctx, &pod, &waiting, &shutdown, release)).await;
        last.cancel();
        result
    };
    let (served, worked) = tokio::join!(
        async {
            let served = serving.await;
            // Without health the kubelet would only guess: end in good order, lease given back.
            shutdown.cancel();
            served
        },
        work
    );
    served.map_err(Error::Admin).and(worked)
}

async fn work(
    config: Config,
    ctx: &Arc<Ctx>,
    pod: &str,
    waiting: &Waiting,
    shutdown: &CancellationToken,
    release: CancellationToken,
) -> Result<(), Error> {
    if shutdown
        .run_until_cancelled(crd_is_there(&ctx.client, waiting))
        .await
        .is_none()
    {
        return Ok(());
    }
    let (held, mut leader) = watch::channel(false);
    let controllers = async {
        // A replica that waits for the lease is ready: an update replaces the holder only when its successor is.
        // The value that `wait_for` returns locks the channel as long as it lives: it must end here.
        let leading = shutdown
            .run_until_cancelled(async { leader.wait_for(|held| *held).await.is_ok() })
            .await;
        if leading != Some(true) {
            return Ok(());
        }
        tokio::select! {
            () = cache::run(Arc::clone(ctx), shutdown.clone()) => ended("cache", shutdown),
            () = nodes::run(Arc::clone(ctx), shutdown.clone()) => ended("nodes", shutdown),
        }
    };
    let leased = async {
        lease::keep(config, &ctx.settings.namespace, pod, &held, release.clone())
            .await
            .map_err(Error::Lease)
    };
    tokio::pin!(leased);
    let worked = tokio::select! {
        result = &mut leased => return result,
        result = shutdown_or(shutdown, controllers) => result,
    };
    release.cancel();
    leased.await.and(worked)
}

/// Gives `controllers` time to finish their current run once `shutdown` is cancelled.
async fn shutdown_or(
    shutdown: &CancellationToken,
    controllers: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::pin!(controllers);
    tokio::select! {
        result = &mut controllers => result,
        () = shutdown.cancelled() => tokio::time::timeout(Duration::from_secs(10), controllers).await.unwrap_or(Ok(())),
    }
}

fn ended(controller: &'static str, shutdown: &CancellationToken) -> Result<(), Error> {
    if shutdown.is_cancelled() {
        Ok(())
    } else {
        Err(Error::Controller(controller))
    }
}

/// Waits until the API server knows RegistryCaches: instead of a crash loop, one clear line and "not ready".
async fn crd_is_there(client: &Client, waiting: &Waiting) {
    let api: Api<RegistryCache> = Api::all(client.clone());
    let mut told = String::new();
    loop {
        let why = match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => break,
            Err(error) if is_not_found(&error) => {
                "the CustomResourceDefinition registrycaches.regcache.dev is not installed: install the chart \
                 regcache-crds, or apply crds/"
                    .to_owned()
            }
            Err(error) if error.class() == Class::Denied => error.words(),
            Err(error) => format!("the API server cannot be asked: {}", error.words()),
        };
        if told != why {
            tracing::warn!("waiting: {why}");
            told.clone_from(&why);
        }
        waiting.set(Some(why));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    waiting.set(None);
}

/// What the program waits for; nothing when it is ready.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<String>>>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("starting".into()))))
    }
}

impl Waiting {
    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn answer(&self) -> Result<(), String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }
}
