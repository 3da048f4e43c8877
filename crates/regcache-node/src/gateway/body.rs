//! Bodies of answers: nothing, a buffer, or a blob on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http_body::{Body, Frame, SizeHint};
use regcache_transfer::{Digest, ShortEnd, Transfer};

use super::metrics::Ended;
use super::shared::Gateway;

/// What hyper sends.
pub(super) enum Outgoing {
    Whole(Bytes),
    Blob(Box<BlobBody>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = ShortEnd;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ShortEnd>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Blob(blob) => blob.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Blob(blob) => blob.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.left,
        })
    }
}

/// A blob on its way to containerd.
pub(super) struct BlobBody {
    body: regcache_transfer::Body,
    left: u64,
    short: Option<ShortEnd>,
    /// How it has ended; the client going away is what is left.
    ended: Ended,
    gateway: Arc<Gateway>,
    upstream: String,
    digest: Digest,
}

impl BlobBody {
    pub(super) fn new(transfer: Transfer, gateway: Arc<Gateway>, upstream: String, digest: Digest) -> Self {
        let left = transfer.end - transfer.start;
        Self {
            body: transfer.body,
            left,
            short: None,
            ended: if left == 0 { Ended::Ok } else { Ended::HungUp },
            gateway,
            upstream,
            digest,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ShortEnd>>> {
        if let Some(short) = self.short.take() {
            return Poll::Ready(Some(Err(short)));
        }
        match Pin::new(&mut self.body).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(chunk))) => {
                let size = chunk.len() as u64;
                self.left = self.left.saturating_sub(size);
                self.gateway.metrics.bytes(&self.upstream, size);
                if self.left == 0 {
                    self.ended = Ended::Ok;
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Poll::Ready(Some(Err(short))) => {
                // Known before the client can see the end: it asks for the rest at once.
                self.gateway.sick.remember(&self.upstream, self.digest);
                self.ended = Ended::Short;
                // One turn later, since hyper throws away what it has not written when a body fails: the headers at
                // least are to go out.
                self.short = Some(short);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Drop for BlobBody {
    fn drop(&mut self) {
        self.gateway.metrics.request(&self.upstream, self.ended);
    }
}
