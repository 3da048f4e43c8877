//! File ranges on their way through hyper without their bytes.
//!
//! hyper moves buffers in memory; a file's bytes need not come into memory at all on plain HTTP/1.1. So hyper is given a
//! [`Placeholder`]: as many bytes of one region that nobody ever reads or writes. The connection below hyper knows such
//! a slice by its address, and has the kernel send the file range that it stands for.
//!
//! The [`Ledger`] makes sure that no zero is ever sent in a file's place: a slice has to lie exactly where the oldest
//! range says, and hyper must have moved on by as many bytes as were sent. Else the connection is ended.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::{Buf, Bytes};

/// The longest range that one placeholder stands for, bytes.
pub(super) const STEP: usize = 1024 * 1024;

/// Never touched, so it takes addresses and no memory.
static GHOST: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; STEP].into_boxed_slice());

/// What hyper is given to send.
pub(super) enum Chunk {
    Bytes(Bytes),
    File(Placeholder),
}

/// Stands for a file range that is in the ledger.
pub(super) struct Placeholder {
    start: usize,
    len: usize,
    ledger: Arc<Ledger>,
}

/// The file ranges of one connection that hyper holds placeholders for, oldest first.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    ranges: VecDeque<Range>,
    /// Bytes that the kernel has taken from files.
    sent: u64,
    /// Bytes of placeholders that hyper has moved past.
    passed: u64,
    /// A placeholder went away before it was sent: the ranges do not follow one another any more.
    spoilt: bool,
}

struct Range {
    file: Arc<File>,
    offset: u64,
    len: usize,
    sent: usize,
}

impl Ledger {
    /// Takes the range in; what is returned has to be sent after all that were taken in before. `len` is at most
    /// [`STEP`].
    pub(super) fn promise(self: &Arc<Self>, file: Arc<File>, offset: u64, len: usize) -> Placeholder {
        let mut book = self.book();
        book.spoilt |= len > STEP;
        book.ranges.push_back(Range {
            file,
            offset,
            len,
            sent: 0,
        });
        Placeholder {
            start: 0,
            len,
            ledger: Arc::clone(self),
        }
    }

    /// Fails unless hyper and the kernel agree on what has been sent. To be asked before anything is written.
    pub(super) fn check(&self) -> io::Result<()> {
        let book = self.book();
        if book.spoilt || book.sent != book.passed {
            return Err(disagreement());
        }
        Ok(())
    }

    /// Sends from the oldest range by `write(file, offset, len)`, given that the slice at `start` stands for it.
    pub(super) fn send(
        &self,
        start: usize,
        len: usize,
        write: impl FnOnce(&File, u64, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut book = self.book();
        let range = book.ranges.front_mut().ok_or_else(disagreement)?;
        if start != range.sent || len != range.len - range.sent {
            return Err(disagreement());
        }
        let sent = write(&range.file, range.offset + range.sent as u64, len)?;
        if sent == 0 || sent > len {
            // Files here never shrink.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        range.sent += sent;
        if range.sent == range.len {
            book.ranges.pop_front();
        }
        book.sent += sent as u64;
        Ok(sent)
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn disagreement() -> io::Error {
    io::Error::other("what was sent from files is not what was to be sent")
}

/// Where in the region the slice begins; `None`: its bytes are real.
pub(super) fn position(slice: &[u8]) -> Option<usize> {
    let start = slice.as_ptr().addr().checked_sub(GHOST.as_ptr().addr())?;
    (start < STEP).then_some(start)
}

impl Buf for Placeholder {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        GHOST.get(self.start..self.start + self.len).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        let count = count.min(self.len);
        self.start += count;
        self.len -= count;
        self.ledger.book().passed += count as u64;
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        if self.len > 0 {
            self.ledger.book().spoilt = true;
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::File(place) => place.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::File(place) => place.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(place) => place.advance(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (Arc<Ledger>, Arc<File>) {
        (Arc::default(), Arc::new(tempfile::tempfile().unwrap()))
    }

    fn send(ledger: &Ledger, place: &Placeholder, takes: usize) -> io::Result<u64> {
        let start = position(place.chunk()).unwrap();
        let mut from = 0;
        ledger.send(start, place.remaining(), |_, offset, len| {
            from = offset;
            Ok(takes.min(len))
        })?;
        Ok(from)
    }

    #[test]
    fn placeholders_are_told_by_their_address_and_real_bytes_are_not() {
        let (ledger, file) = ledger();
        let place = ledger.promise(file, 0, 100);
        assert_eq!(position(place.chunk()), Some(0));
        assert_eq!(position(&[0; 100]), None);
        assert_eq!(position(&vec![0; STEP]), None);
    }

    #[test]
    fn ranges_are_sent_in_their_order_and_in_parts() {
        let (ledger, file) = ledger();
        let mut first = ledger.promise(Arc::clone(&file), 1000, 100);
        let second = ledger.promise(file, 5000, 10);
        assert_eq!(send(&ledger, &first, 60).unwrap(), 1000);
        first.advance(60);
        ledger.check().unwrap();
        assert_eq!(send(&ledger, &first, 60).unwrap(), 1060);
        first.advance(40);
        ledger.check().unwrap();
        assert_eq!(send(&ledger, &second, 10).unwrap(), 5000);
    }

    #[test]
    fn nothing_is_sent_once_hyper_and_kernel_disagree() {
        // Sent, and not moved past.
        let (ledger, file) = self::ledger();
        let place = ledger.promise(file, 0, 100);
        send(&ledger, &place, 60).unwrap();
        ledger.check().unwrap_err();
        // Moved past, and not sent: somebody has copied the placeholder's bytes.
        let (ledger, file) = self::ledger();
        ledger.promise(file, 0, 100).advance(1);
        ledger.check().unwrap_err();
        // Gone before it was sent: the next one would be given its bytes.
        let (ledger, file) = self::ledger();
        drop(ledger.promise(Arc::clone(&file), 0, 100));
        ledger.check().unwrap_err();
        // The second before the first, and a part instead of the rest.
        let (ledger, file) = self::ledger();
        let mut first = ledger.promise(Arc::clone(&file), 0, 100);
        let second = ledger.promise(file, 100, 50);
        send(&ledger, &second, 50).unwrap_err();
        ledger.send(0, 50, |_, _, _| Ok(50)).unwrap_err();
        first.advance(100);
        drop(second);
        // None that was promised.
        let (ledger, _) = self::ledger();
        ledger.send(0, 1, |_, _, _| Ok(1)).unwrap_err();
    }
}
