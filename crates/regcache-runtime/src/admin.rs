//! The admin server: `/livez`, `/readyz`, `/metrics`, in plain HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why a program is not ready (or not alive): nothing when it is.
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
/// What is to be said about a program whether it is ready or not.
type Remarks = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// What the admin server shows.
pub struct AdminState {
    metrics: Registry,
    live: Check,
    ready: Check,
    remarks: Remarks,
}

impl AdminState {
    /// Shows `metrics`; always alive and ready until told otherwise.
    pub fn new(metrics: Registry) -> Self {
        Self {
            metrics,
            live: Box::new(|| Ok(())),
            ready: Box::new(|| Ok(())),
            remarks: Box::new(Vec::new),
        }
    }

    /// Asks `check` on every `/readyz`: its error is the answer's text, with status 503.
    #[must_use]
    pub fn ready(mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.ready = Box::new(check);
        self
    }

    /// Adds `remarks` to every answer of `/readyz`, one a line: troubles that are no reason not to be ready.
    #[must_use]
    pub fn remarks(mut self, remarks: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.remarks = Box::new(remarks);
        self
    }

    /// Asks `check` on every `/livez`.
    #[must_use]
    pub fn live(mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.live = Box::new(check);
        self
    }
}

/// Why the admin server could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for health and metrics")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("the admin server ended")]
    Serve(#[source] std::io::Error),
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the address cannot be bound or the listener breaks.
pub async fn serve(address: SocketAddr, state: Arc<AdminState>, shutdown: CancellationToken) -> Result<(), Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Bind { address, source })?;
    tracing::info!(%address, "health and metrics");
    axum::serve(listener, router(state))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(Error::Serve)
}

/// Serves until `shutdown`, trying again every `retry` while the address cannot be bound: for a program whose main work
/// must not depend on its metrics.
pub async fn serve_late(address: SocketAddr, state: Arc<AdminState>, retry: Duration, shutdown: CancellationToken) {
    let mut told = false;
    loop {
        match serve(address, Arc::clone(&state), shutdown.clone()).await {
            Ok(()) => return,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "no metrics for now, trying again"
                    );
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(retry) => {}
        }
    }
}

/// The pages, for a program that has more of its own.
pub fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route(
            "/livez",
            get(async |State(state): State<Arc<AdminState>>| answer((state.live)(), &[])),
        )
        .route(
            "/readyz",
            get(async |State(state): State<Arc<AdminState>>| answer((state.ready)(), &(state.remarks)())),
        )
        .route("/metrics", get(metrics))
        .with_state(state)
}

fn answer(check: Result<(), String>, remarks: &[String]) -> (StatusCode, String) {
    let (status, first) = match check {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    };
    let mut text = first + "\n";
    for remark in remarks {
        text.push_str(remark);
        text.push('\n');
    }
    (status, text)
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &state.metrics) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt as _;

    async fn ask(router: Router, path: &str) -> (StatusCode, String) {
        let answer = router
            .oneshot(Request::get(path).body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn says_why_it_is_not_ready_and_shows_metrics() {
        let mut metrics = Registry::default();
        let counter: Counter = Counter::default();
        metrics.register("pulls", "Pulls", counter.clone());
        counter.inc();
        let state = Arc::new(AdminState::new(metrics).ready(|| Err("no lease yet".into())));
        assert_eq!(
            ask(router(Arc::clone(&state)), "/livez").await,
            (StatusCode::OK, "ok\n".into())
        );
        let not_ready = ask(router(Arc::clone(&state)), "/readyz").await;
        assert_eq!(not_ready, (StatusCode::SERVICE_UNAVAILABLE, "no lease yet\n".into()));
        assert!(ask(router(state), "/metrics").await.1.contains("pulls_total 1"));
    }

    #[tokio::test]
    async fn troubles_are_told_to_whoever_asks_whether_it_is_ready() {
        let state = AdminState::new(Registry::default()).remarks(|| vec!["the disk is full".into()]);
        let answer = ask(router(Arc::new(state)), "/readyz").await;
        assert_eq!(answer, (StatusCode::OK, "ok\nthe disk is full\n".into()));
    }
}
