//! From a body into the file: many small chunks become few writes, and what comes meanwhile waits for the next one.

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use regcache_transfer::Body;
use tokio::time::{Instant, timeout_at};

use super::limits::FillLimits;
use super::writing::Writing;
use crate::store::NotStored;

/// What has come and is not written yet.
#[derive(Default)]
struct Batch {
    chunks: Vec<Bytes>,
    len: usize,
    /// The body is done with, early or not.
    ended: bool,
}

impl Batch {
    async fn take(&mut self, body: &mut Body) {
        match body.next().await {
            Some(Ok(chunk)) => {
                self.len += chunk.len();
                self.chunks.push(chunk);
            }
            Some(Err(_)) | None => self.ended = true,
        }
    }
}

/// Writes what comes until the body ends, early or not, or nothing is wanted any more. `moved` is called after each write, with its bytes.
pub(super) async fn pump(
    body: &mut Body,
    writing: &mut Writing,
    limits: &FillLimits,
    stopped: impl Future<Output = ()>,
    mut moved: impl FnMut(&mut Writing, u64),
) -> Result<(), NotStored> {
    tokio::pin!(stopped);
    let mut next = Batch::default();
    // The first bytes are published at once.
    let mut linger = Instant::now();
    loop {
        // Also while bytes come faster than they can be written, when there is never anything to wait for.
        if (&mut stopped).now_or_never().is_some() {
            return Ok(());
        }
        if next.chunks.is_empty() && !next.ended {
            tokio::select! {
                biased;
                () = &mut stopped => return Ok(()),
                () = next.take(body) => {}
            }
        }
        while !next.ended && next.len < limits.batch {
            if timeout_at(linger, next.take(body)).await.is_err() {
                break;
            }
        }
        let batch = std::mem::take(&mut next.chunks);
        let written = next.len as u64;
        next.len = 0;
        if batch.is_empty() {
            return Ok(());
        }
        {
            let mut append = writing.growing.append(batch.clone());
            loop {
                tokio::select! {
                    biased;
                    done = &mut append => break done?,
                    () = next.take(body), if !next.ended && next.len < limits.batch => {}
                }
            }
        }
        writing.absorb(&batch);
        moved(writing, written);
        linger = Instant::now() + limits.linger;
    }
}
