//! An answer's body as hyper takes it: bytes, or placeholders for file ranges where the socket can send them itself.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::file;
use super::ghost::{Chunk, STEP};
use super::link::{Active, Link};
use crate::content::{Body, Piece, Pieces, ShortEnd};

/// How a connection takes bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// HTTP/1.1 without TLS: files go from the page cache to the socket.
    Sendfile,
    /// HTTP/1.1 with TLS: files come through memory.
    Copy,
    /// HTTP/2: as with `Copy`, and a short end is the end of a stream.
    Streams,
}

pub(super) struct Outgoing {
    state: State,
    /// Bytes that are still promised; `None`: as many as come.
    left: Option<u64>,
    way: Way,
    link: Arc<Link>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _active: Active,
}

enum State {
    Full(Bytes),
    Pieces(Box<Running>),
    /// Short: ended as soon as everything before it is written, counted from these flushes.
    Short(u64),
    Ended,
}

struct Running {
    pieces: Pieces,
    file: Option<Range>,
    reading: Option<Reading>,
    /// The buffer of an earlier step, taken up again once it is written.
    spare: Option<Bytes>,
}

#[derive(Clone)]
struct Range {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

enum Reading {
    Warm(JoinHandle<io::Result<()>>),
    Copy(JoinHandle<io::Result<Bytes>>),
}

impl Outgoing {
    /// `length` as promised in the answer's headers.
    pub(super) fn new(
        body: Body,
        length: Option<u64>,
        way: Way,
        link: Arc<Link>,
        cut: WaitForCancellationFutureOwned,
        active: Active,
    ) -> Self {
        let (state, left) = match body {
            Body::Full(bytes) => {
                let left = bytes.len() as u64;
                (State::Full(bytes), Some(left))
            }
            Body::Pieces(pieces) => {
                let running = Running {
                    pieces,
                    file: None,
                    reading: None,
                    spare: None,
                };
                (State::Pieces(Box::new(running)), length)
            }
        };
        Self {
            state,
            left,
            way,
            link,
            cut: Box::pin(cut),
            _active: active,
        }
    }

    /// For HEAD: the headers promise, and nothing comes.
    pub(super) fn nothing(self) -> Self {
        Self {
            state: State::Ended,
            left: Some(0),
            ..self
        }
    }

    fn short(&mut self) {
        self.state = State::Short(self.link.flushes());
    }

    /// What is to be sent next; `None` when more than was promised would be, since the client would take it for the
    /// next answer.
    fn admit(&mut self, chunk: Chunk) -> Option<Frame<Chunk>> {
        if let Some(left) = &mut self.left {
            let Some(rest) = left.checked_sub(chunk.remaining() as u64) else {
                tracing::error!("an answer has more bytes than it promised");
                return None;
            };
            *left = rest;
        }
        Some(Frame::data(chunk))
    }
}

impl Running {
    /// The next bytes; `None`: no more. A short end for whatever cannot be read, too.
    fn poll(&mut self, way: Way, link: &Link, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, ShortEnd>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let chunk = match reading {
                    Reading::Warm(task) => {
                        let warm = ready!(Pin::new(task).poll(cx));
                        warm.map_err(io::Error::from).flatten().map(|()| None)
                    }
                    Reading::Copy(task) => {
                        let bytes = ready!(Pin::new(task).poll(cx));
                        bytes.map_err(io::Error::from).flatten().map(Some)
                    }
                };
                self.reading = None;
                let chunk = match chunk {
                    Ok(None) => self.promise(link),
                    Ok(Some(bytes)) => self.copied(bytes),
                    Err(error) => {
                        tracing::error!(%error, "a stored file cannot be read");
                        None
                    }
                };
                return Poll::Ready(Some(chunk.ok_or(ShortEnd)));
            }
            if let Some(range) = self.file.clone() {
                if let Some(chunk) = self.step(&range, way, link) {
                    return Poll::Ready(Some(Ok(chunk)));
                }
                continue;
            }
            match ready!(self.pieces.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Err(short)) => return Poll::Ready(Some(Err(short))),
                Some(Ok(Piece::Bytes(bytes))) if bytes.is_empty() => {}
                Some(Ok(Piece::Bytes(bytes))) => return Poll::Ready(Some(Ok(Chunk::Bytes(bytes)))),
                Some(Ok(Piece::File { len: 0, .. })) => {}
                Some(Ok(Piece::File { file, offset, len })) => {
                    let left = len;
                    self.file = Some(Range { file, offset, left });
                }
            }
        }
    }

    /// The next step of the range if its bytes are in the page cache; else begins to read them.
    fn step(&mut self, range: &Range, way: Way, link: &Link) -> Option<Chunk> {
        if way == Way::Sendfile {
            let len = range.step(STEP);
            if file::is_resident(&range.file, range.offset, len) {
                return self.promise(link);
            }
            let task = file::warm(Arc::clone(&range.file), range.offset, len);
            self.reading = Some(Reading::Warm(task));
            return None;
        }
        // hyper asks for the next step before HTTP/2's window has room for the last one, so there are two at a time.
        let len = range.step(if way == Way::Streams {
            file::READ / 2
        } else {
            file::READ
        });
        let buffer = self.spare.take().and_then(|spare| spare.try_into_mut().ok());
        let buffer = buffer.unwrap_or_else(|| BytesMut::with_capacity(len));
        match file::read_now(&range.file, range.offset, len, buffer) {
            Ok(bytes) => self.copied(bytes),
            Err(buffer) => {
                let task = file::read_later(Arc::clone(&range.file), range.offset, len, buffer);
                self.reading = Some(Reading::Copy(task));
                None
            }
        }
    }

    /// The next step as a placeholder.
    fn promise(&mut self, link: &Link) -> Option<Chunk> {
        let range = self.file.as_ref()?;
        let len = range.step(STEP);
        let place = link.ledger.promise(Arc::clone(&range.file), range.offset, len);
        self.advance(len);
        Some(Chunk::File(place))
    }

    /// The next step as bytes; `None` when there are none where there should be.
    fn copied(&mut self, bytes: Bytes) -> Option<Chunk> {
        if bytes.is_empty() {
            return None;
        }
        self.advance(bytes.len());
        self.spare = Some(bytes.clone());
        Some(Chunk::Bytes(bytes))
    }

    fn advance(&mut self, len: usize) {
        if let Some(range) = &mut self.file {
            range.offset += len as u64;
            range.left = range.left.saturating_sub(len as u64);
            if range.left == 0 {
                self.file = None;
            }
        }
    }
}

impl Range {
    fn step(&self, most: usize) -> usize {
        usize::try_from(self.left).map_or(most, |left| left.min(most))
    }
}

impl http_body::Body for Outgoing {
    type Data = Chunk;
    type Error = ShortEnd;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, ShortEnd>>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Short(_) if this.way == Way::Streams => {
                    this.state = State::Ended;
                    return Poll::Ready(None);
                }
                State::Short(since) => {
                    // hyper drops what it has not written when a body fails.
                    ready!(this.link.poll_flushed(*since, cx));
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(ShortEnd)));
                }
                State::Full(bytes) => {
                    let bytes = std::mem::take(bytes);
                    this.state = State::Ended;
                    this.left = Some(0);
                    return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(Chunk::Bytes(bytes)))));
                }
                State::Pieces(running) => match running.poll(this.way, &this.link, cx) {
                    Poll::Ready(Some(Ok(chunk))) => match this.admit(chunk) {
                        Some(frame) => {
                            this.link.note_step();
                            return Poll::Ready(Some(Ok(frame)));
                        }
                        None => this.short(),
                    },
                    Poll::Ready(None) if this.left.is_none_or(|left| left == 0) => this.state = State::Ended,
                    Poll::Ready(None | Some(Err(_))) => this.short(),
                    Poll::Pending => {
                        ready!(this.cut.as_mut().poll(cx));
                        this.short();
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
