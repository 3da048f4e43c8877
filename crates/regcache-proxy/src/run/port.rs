//! One listening address and the task that serves it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::serve;

/// An address of the configuration cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{field}: cannot listen on {address}")]
pub struct PortError {
    field: &'static str,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Listening, and being served.
pub(super) struct Port {
    /// As configured; the port may be 0.
    pub(super) asked: SocketAddr,
    /// As it is.
    pub(super) address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Listening, and nobody serves it yet: so that everything that can fail comes before anything changes.
pub(super) struct Bound {
    asked: SocketAddr,
    address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    pub(super) async fn new(field: &'static str, asked: SocketAddr) -> Result<Self, PortError> {
        let failed = |source| PortError {
            field,
            address: asked,
            source,
        };
        let listener = serve::bind(asked).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            asked,
            address,
            listener,
        })
    }

    pub(super) fn serve<F>(self, serve: impl FnOnce(TcpListener, CancellationToken) -> F) -> Port
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        Port {
            asked: self.asked,
            address: self.address,
            task: tokio::spawn(serve(self.listener, shutdown.clone())),
            shutdown,
        }
    }
}

impl Port {
    pub(super) fn is_serving(&self) -> bool {
        !self.task.is_finished()
    }

    /// Takes no more connections; those there are finish by themselves.
    pub(super) fn leave(self) {
        self.shutdown.cancel();
    }

    /// Takes no more connections and waits for those there are.
    pub(super) async fn close(self) {
        self.shutdown.cancel();
        // A panic in there has been logged, and there is nothing left to do.
        let _ = self.task.await;
    }
}
