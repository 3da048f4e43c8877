//! The probe blob over a connection of its own: do large answers come, and right?
//!
//! A cache behind a broken path MTU, a full disk queue or a sick proxy answers every small request and stalls on the
//! first large one; whoever pulls should not be the one to find out.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use regcache_runtime::probe;
use tokio::time::timeout;

use super::{Probe, ProbeError};

/// For the whole of it, connecting apart: what the gateway would wait for a blob's next bytes.
const BLOB: Duration = Duration::from_secs(5);

impl Probe {
    /// Asks for the probe blob on a new connection and compares it byte by byte.
    pub async fn check(&self) -> Result<(), ProbeError> {
        let mut connection = self.connect().await?;
        let request = self.request(probe::PATH)?;
        let exchange = async {
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            match answer.status() {
                StatusCode::OK => compare(answer.into_body()).await,
                status => Err(ProbeError::Status(status.as_u16())),
            }
        };
        timeout(BLOB, exchange)
            .await
            .map_err(|_| ProbeError::StalledBlob(BLOB))?
    }
}

/// Reads no further than the first wrong byte.
async fn compare(mut body: Incoming) -> Result<(), ProbeError> {
    let mut left = probe::blob();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        if !left.starts_with(&chunk) {
            return Err(ProbeError::WrongBlob);
        }
        left = left.slice(chunk.len()..);
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(ProbeError::WrongBlob)
    }
}
