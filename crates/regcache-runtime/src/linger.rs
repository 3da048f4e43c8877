//! Ends a connection so that its client sees an end and no error.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How much of a client's unwanted input is read before its connection is closed, bytes.
const DRAIN: usize = 1024 * 1024;

/// Ends the layer above TCP (TLS's `close_notify`), then TCP itself as [`fin`] does; each may take `limit`.
pub async fn close<S: AsyncWrite + Unpin>(mut stream: S, tcp: impl FnOnce(S) -> TcpStream, limit: Duration) {
    // A client that does not read blocks this; what it can still take is in the kernel's hands.
    let _ = timeout(limit, stream.shutdown()).await;
    fin(tcp(stream), limit).await;
}

/// FIN, never RST: the kernel sends RST when a socket is closed with unread input, and containerd takes that for a
/// failed pull where an end makes it go on at the registry. Waits up to `limit` for the client's own end.
pub async fn fin<S: AsyncRead + AsyncWrite + Unpin>(mut tcp: S, limit: Duration) {
    let _ = tcp.shutdown().await;
    let drain = async {
        let mut sink = vec![0; 4096];
        let mut read = 0;
        while read < DRAIN
            && let Ok(size @ 1..) = tcp.read(&mut sink).await
        {
            read += size;
        }
    };
    let _ = timeout(limit, drain).await;
}
