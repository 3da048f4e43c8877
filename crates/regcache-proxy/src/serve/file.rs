//! Reading files without holding up the thread that serves everybody: from the page cache at once, else elsewhere.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

/// Read at a time when bytes have to come through memory.
pub(super) const READ: usize = 64 * 1024;

/// Whether the range is in the page cache, as far as its first and its last byte tell.
pub(super) fn is_resident(file: &File, offset: u64, len: usize) -> bool {
    let there = |offset: u64| {
        let mut byte = [0];
        let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
        // A file that ends too early is noticed where it is sent.
        read.is_ok()
    };
    there(offset + len.saturating_sub(1) as u64) && there(offset)
}

/// Brings the range into the page cache.
pub(super) fn warm(file: Arc<File>, offset: u64, len: usize) -> JoinHandle<io::Result<()>> {
    spawn_blocking(move || {
        // Advice only; the reads below wait for what it has begun.
        let _ = fadvise(&*file, offset, NonZeroU64::new(len as u64), Advice::WillNeed);
        for offset in [offset, offset + len.saturating_sub(1) as u64] {
            retry(|| pread(&*file, &mut [0; 1], offset))?;
        }
        Ok(())
    })
}

/// Reads up to `len` bytes into `buffer` if they are in the page cache; gives the buffer back if they are not.
pub(super) fn read_now(file: &File, offset: u64, len: usize, mut buffer: BytesMut) -> Result<Bytes, BytesMut> {
    buffer.resize(len, 0);
    match preadv2(
        file,
        &mut [IoSliceMut::new(&mut buffer)],
        offset,
        ReadWriteFlags::NOWAIT,
    ) {
        Ok(read @ 1..) => {
            buffer.truncate(read);
            Ok(buffer.freeze())
        }
        Ok(0) | Err(_) => Err(buffer),
    }
}

/// Reads up to `len` bytes into `buffer`, however long it takes. No bytes: the file is shorter than it should be.
pub(super) fn read_later(
    file: Arc<File>,
    offset: u64,
    len: usize,
    mut buffer: BytesMut,
) -> JoinHandle<io::Result<Bytes>> {
    spawn_blocking(move || {
        buffer.resize(len, 0);
        let read = retry(|| pread(&*file, &mut *buffer, offset))?;
        buffer.truncate(read);
        Ok(buffer.freeze())
    })
}

fn retry(mut read: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}
