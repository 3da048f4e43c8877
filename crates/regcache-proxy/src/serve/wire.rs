//! The socket below hyper: sends file ranges where it finds placeholders, and ends clients that stall.

use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::ghost;
use super::link::Link;

/// With or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request to its last; `None`: not watched here.
    pub(super) head: Option<Duration>,
    /// Without taking a single byte of what there is for it.
    pub(super) write: Duration,
}

/// What hyper reads from and writes to.
pub(super) struct Wire {
    stream: Stream,
    link: Arc<Link>,
    sent: Counter,
    patience: Patience,
    /// The request that is coming in: how many came before it, and when it has to be there.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    /// Since when nothing has been taken of what there is for the client; `None`: it takes all of it.
    stuck: Option<Instant>,
    write: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// A second descriptor of the socket below.
    pub(super) fn tcp(&self) -> io::Result<std::net::TcpStream> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        };
        Ok(tcp.as_fd().try_clone_to_owned()?.into())
    }
}

impl Wire {
    pub(super) fn new(stream: Stream, link: Arc<Link>, patience: Patience, sent: Counter) -> Self {
        Self {
            stream,
            link,
            sent,
            patience,
            head: None,
            stuck: None,
            write: None,
        }
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// While bytes of a request come in and it is not whole: not for ever.
    fn watch_head(&mut self, got: usize, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(limit) = self.patience.head else {
            return Ok(());
        };
        let requests = self.link.requests();
        if self.head.as_ref().is_some_and(|(before, _)| *before != requests) {
            self.head = None;
        }
        if got > 0 && self.head.is_none() && self.link.is_idle() {
            self.head = Some((requests, Box::pin(sleep_until(Instant::now() + limit))));
        }
        if let Some((_, sleep)) = &mut self.head
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Looks at the clock when a write has to wait, and notes when it has not.
    fn watch_write(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.stuck = None;
                self.sent.inc_by(bytes as u64);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_stalled(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Ready when the client has not taken a byte for too long. The clock is set anew only when it strikes: a busy
    /// connection waits thousands of times a second.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.patience.write;
        let due = *self.stuck.get_or_insert_with(Instant::now) + limit;
        let write = self.write.get_or_insert_with(|| Box::pin(sleep_until(due)));
        while write.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            write.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// Writes slices of which some may stand for files.
fn poll_plain(tcp: &mut TcpStream, link: &Link, bufs: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    link.ledger.check()?;
    let ghost = bufs.iter().position(|slice| ghost::position(slice).is_some());
    let Some(ghost) = ghost else {
        return Pin::new(tcp).poll_write_vectored(cx, bufs);
    };
    let (before, from) = bufs.split_at_checked(ghost).unwrap_or((bufs, &[]));
    let mut before = before.iter().filter(|slice| !slice.is_empty());
    let Some(first) = before.next() else {
        return poll_file(tcp, link, from, cx);
    };
    // With more to come, so that headers and the first bytes leave in one packet.
    let written = ready!(poll_ready(tcp, cx, |tcp| {
        Ok(send(
            tcp,
            first,
            SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )?)
    }))?;
    if written < first.len() || before.next().is_some() {
        return Poll::Ready(Ok(written));
    }
    // A failure or a full socket shows again at the next write.
    match poll_file(tcp, link, from, cx) {
        Poll::Ready(Ok(more)) => Poll::Ready(Ok(written + more)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(Ok(written)),
    }
}

/// Sends from the file that the first slice stands for.
fn poll_file(tcp: &TcpStream, link: &Link, bufs: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let slice = bufs.first().map_or(&[][..], |slice| &**slice);
    let Some(start) = ghost::position(slice) else {
        return Poll::Ready(Ok(0));
    };
    poll_ready(tcp, cx, |tcp| {
        link.ledger.send(start, slice.len(), |file, offset, len| {
            Ok(sendfile(tcp, file, Some(&mut { offset }), len)?)
        })
    })
}

/// Waits until the socket takes bytes, and tries until it does or the try fails.
fn poll_ready(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, || write(tcp)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            written => return Poll::Ready(written),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        self.watch_head(buf.filled().len() - before, cx)?;
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = match &mut this.stream {
            Stream::Plain(tcp) => poll_plain(tcp, &this.link, bufs, cx),
            Stream::Tls(_) if bufs.iter().any(|slice| ghost::position(slice).is_some()) => {
                Poll::Ready(Err(io::Error::other("a file range cannot be sent through TLS")))
            }
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        };
        this.watch_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = match &mut this.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        match flushed {
            Poll::Ready(Ok(())) => {
                this.stuck = None;
                this.link.note_flush();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(this.poll_stalled(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
