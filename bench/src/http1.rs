//! As much of HTTP/1.1 as upstream and clients need: heads, and where a body begins.
//!
//! Not a library's, so that reading and writing go by the large piece and cost as little as can be: what is measured
//! shares its processors with both.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A head longer than this is refused.
const LONGEST: usize = 64 << 10;

/// The head of a request or of an answer.
pub struct Head {
    /// The first line.
    pub line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads one, leaving in `buffer` what follows it. None: the peer closed the connection before it began.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Option<Self>> {
        loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&buffer.split_to(end)).into_owned();
                buffer.advance(4);
                return Ok(Some(Self::parse(&text)));
            }
            if buffer.len() > LONGEST {
                return Err(io::Error::other("a head that does not end"));
            }
            if stream.read_buf(buffer).await? == 0 {
                return if buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        Self {
            line: lines.next().unwrap_or_default().to_owned(),
            fields: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
        }
    }

    /// The first field of this name, which is given in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(value)
    }

    /// The nth word of the first line; empty when there is none.
    pub fn word(&self, place: usize) -> &str {
        self.line.split(' ').nth(place).unwrap_or_default()
    }

    /// Whether the connection ends with this message.
    pub fn closes(&self) -> bool {
        let field = self.field("connection").map(str::to_ascii_lowercase);
        match field.as_deref() {
            Some("close") => true,
            Some("keep-alive") => false,
            _ => self.line.contains("HTTP/1.0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_is_read_and_the_body_stays() {
        let mut stream: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length:  3\r\nConnection: close\r\n\r\nabc";
        let mut buffer = BytesMut::new();
        let head = Head::read(&mut stream, &mut buffer).await.unwrap().unwrap();
        assert_eq!(
            (head.word(1), head.field("content-length"), head.closes()),
            ("200", Some("3"), true)
        );
        assert_eq!(&*buffer, b"abc");
    }

    #[tokio::test]
    async fn a_closed_connection_is_no_head_and_a_broken_off_one_an_error() {
        let mut buffer = BytesMut::new();
        assert!(Head::read(&mut &b""[..], &mut buffer).await.unwrap().is_none());
        assert!(Head::read(&mut &b"GET / HT"[..], &mut buffer).await.is_err());
    }
}
