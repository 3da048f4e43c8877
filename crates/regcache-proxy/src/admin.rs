//! The admin port: `/livez`, `/readyz`, `/metrics`, `/nodes`, and the question what is complete here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
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
    json(admin.nodes.document())
}

async fn question(State(admin): State<Admin>, question: Bytes) -> Response {
    let question: complete::Request = match serde_json::from_slice(&question) {
        Ok(question) => question,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match serde_json::to_string(&admin.complete.answer(question).await) {
        Ok(answer) => json(answer).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn json(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
