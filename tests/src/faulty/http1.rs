//! As much of HTTP/1.1 as a registry's clients need, by hand: a library would not let a server misbehave.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longer heads are refused.
const MAX_HEAD: usize = 32 * 1024;
/// Longer bodies (only the debug port takes any) are refused.
const MAX_BODY: usize = 1 << 20;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Without query.
    pub path: String,
    /// Without `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What followed the head.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// All headers of that name in one line.
    pub fn joined(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: Vec::new(),
        })
    }
}

/// Reads the next request of a connection; none when the client closed it. `buffer` keeps what was read too far.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > MAX_HEAD {
            return Err(bad("head too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let rest = buffer.split_off(head_end + 4);
    let head = std::mem::replace(buffer, rest);
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut request = Request::parse(&head).ok_or_else(|| bad("not HTTP"))?;
    let length = request
        .header("content-length")
        .map_or(Ok(0), str::parse)
        .map_err(|_| bad("bad length"))?;
    if length > MAX_BODY {
        return Err(bad("body too long"));
    }
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let rest = buffer.split_off(length);
    request.body = std::mem::replace(buffer, rest);
    Ok(Some(request))
}

/// The head of an answer whose body has `length` bytes.
pub fn head(status: u16, headers: &[(String, String)], length: usize) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|it| it.canonical_reason())
        .unwrap_or("Unknown");
    let mut text = format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
    }
    text += "\r\n";
    text.into_bytes()
}

/// First and one-past-last byte of a Range header over `length` bytes; none: not a range that can be served.
pub fn range(header: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let end = if last.is_empty() {
        length
    } else {
        last.parse::<usize>().ok()?.checked_add(1)?.min(length)
    };
    (first < end).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_requests_of_one_connection_are_told_apart() {
        let bytes =
            b"POST /fault?x=1 HTTP/1.1\r\nContent-Length: 2\r\nAccept: a\r\naccept: b\r\n\r\n{}GET / HTTP/1.1\r\n\r\n";
        let (mut stream, mut buffer) = (bytes.as_slice(), Vec::new());
        let first = read(&mut stream, &mut buffer).await.unwrap().unwrap();
        assert_eq!(
            (first.path.as_str(), first.query.as_str(), first.body.as_slice()),
            ("/fault", "x=1", b"{}".as_slice())
        );
        assert_eq!(first.joined("accept").unwrap(), "a, b");
        let second = read(&mut stream, &mut buffer).await.unwrap().unwrap();
        assert_eq!((second.method.as_str(), second.path.as_str()), ("GET", "/"));
        assert_eq!(read(&mut stream, &mut buffer).await.unwrap(), None);
    }

    #[test]
    fn ranges_are_cut_to_the_body_and_impossible_ones_refused() {
        assert_eq!(range("bytes=10-", 100), Some((10, 100)));
        assert_eq!(range("bytes=10-19", 100), Some((10, 20)));
        assert_eq!(range("bytes=10-500", 100), Some((10, 100)));
        for bad in [
            "bytes=100-",
            "bytes=5-4",
            "bytes=-5",
            "items=0-",
            "bytes=0-18446744073709551615",
        ] {
            assert_eq!(range(bad, 100), None, "{bad}");
        }
    }
}
