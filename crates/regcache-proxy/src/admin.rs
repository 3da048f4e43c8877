//! The admin port: `/livez`, `/readyz`, `/metrics`, `/nodes`, and the question what is complete here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use regcache_runtime::admin::{self, AdminState};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::complete::{self, Complete};
use crate::nodes::Nodes;

/// The longest question, bytes: some thousand image names.
const LONGEST_QUESTION: usize = 1024 * 1024;

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// Health and metrics.
    pub state: Arc<AdminState>,
    /// Who reported.
    pub nodes: Arc<Nodes>,
    /// What is complete here.
    pub complete: Arc<Complete>,
}

impl Admin {
    fn router(&self) -> Router {
        let own = Router::new()
            .route("/nodes", get(nodes))
            .route("/complete", post(question))
            .layer(DefaultBodyLimit::max(LONGEST_QUESTION))
            .with_state(self.clone());
        admin::router(Arc::clone(&self.state)).merge(own)
    }

    /// Serves until `shutdown`. A failure of the listener is logged: the main port goes on.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let served = axum::serve(listener, self.router()).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the admin port ended");
        }
    }
}

async fn nodes(State(admin): State<Admin>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], admin.nodes.document())
}

async fn question(State(admin): State<Admin>, Json(question): Json<complete::Request>) -> Json<complete::Response> {
    Json(admin.complete.answer(question).await)
}
