//! Keeps the gateway listening: binds its port, asks it a real question, tells the others how it stands.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::gateway::{self, GatewayLimits, GatewayMetrics, LoopbackIdentity};
use crate::router::Router;
use crate::state::Gateway;
use crate::{loopback, port_owner};

/// From one try to listen to the next.
const RETRY: Duration = Duration::from_secs(3);
/// For the question; generous, since the whole node may be starting.
const ANSWER: Duration = Duration::from_secs(2);

/// What the gateway is made of.
pub struct Supervisor {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its certificate.
    pub identity: LoopbackIdentity,
    /// Which caches it uses.
    pub router: Arc<dyn Router>,
    /// What it counts.
    pub metrics: GatewayMetrics,
}

impl Supervisor {
    /// Serves until `shutdown` and until what then runs is done.
    pub async fn run(self, state: watch::Sender<Gateway>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let down = match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await {
                Ok(listener) => {
                    self.serve(listener, &state, &shutdown).await;
                    "it ended".to_owned()
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => port_owner::describe(self.port),
                Err(error) => format!("cannot listen on 127.0.0.1:{}: {error}", self.port),
            };
            if shutdown.is_cancelled() {
                break;
            }
            set(&state, Gateway::Down(down));
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(RETRY) => {}
            }
        }
        tracing::info!("the gateway has stopped");
        state.send_replace(Gateway::Down("the helper is stopping".into()));
    }

    async fn serve(&self, listener: TcpListener, state: &watch::Sender<Gateway>, shutdown: &CancellationToken) {
        let (router, metrics) = (Arc::clone(&self.router), self.metrics.clone());
        let limits = GatewayLimits::default();
        let serving = gateway::serve(listener, &self.identity, router, limits, metrics, shutdown.clone());
        let asking = async {
            while let Err(error) = self.ask().await {
                set(state, Gateway::Down(error));
                sleep(RETRY).await;
            }
            set(state, Gateway::Up);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serving => {}
            () = asking => {}
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let (port, ca_pem) = (self.port, self.identity.ca_pem.clone());
        let answer = tokio::task::spawn_blocking(move || loopback::check(port, &ca_pem, ANSWER)).await;
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Tells a change, and logs it.
fn set(state: &watch::Sender<Gateway>, now: Gateway) {
    state.send_if_modified(|before| {
        let changed = *before != now;
        if changed {
            match &now {
                Gateway::Starting => {}
                Gateway::Up => tracing::info!("the gateway answers"),
                Gateway::Down(why) => tracing::warn!(why, "the gateway is down"),
            }
            *before = now;
        }
        changed
    });
}
