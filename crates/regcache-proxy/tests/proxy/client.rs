//! A client over a plain socket that tells an early end from a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How an answer's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the last byte promised.
    Complete,
    /// Early, in an orderly way (FIN).
    Short,
    /// By a reset.
    Reset,
    /// Neither bytes nor an end came within the client's patience.
    Silent,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
    /// Until the headers were there.
    pub first: Duration,
    /// Until the end.
    pub all: Duration,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A whole 200.
    pub fn is_whole(&self) -> bool {
        self.status == 200 && self.end == End::Complete
    }
}

/// An answer whose headers are there.
pub struct Open {
    socket: TcpStream,
    started: Instant,
    buffer: Vec<u8>,
    pub answer: Answer,
    length: Option<usize>,
}

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(40);

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[])
}

/// `None` when nobody listens, or the connection ends before the headers.
pub fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    let answer = attempt(address, "GET", head(address, "GET", path, &[]).as_bytes())
        .ok()?
        .finish();
    (answer.status != 0).then_some(answer)
}

pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    open(address, method, path, headers).finish()
}

/// Sends a request and reads the headers of its answer.
pub fn open(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Open {
    raw(address, method, head(address, method, path, headers).as_bytes())
}

/// Sends these bytes as they are.
pub fn raw(address: SocketAddr, method: &str, request: &[u8]) -> Open {
    attempt(address, method, request).unwrap()
}

fn head(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers = headers.iter().fold(String::new(), |mut text, (name, value)| {
        text.extend([*name, ": ", *value, "\r\n"]);
        text
    });
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n")
}

fn attempt(address: SocketAddr, method: &str, request: &[u8]) -> std::io::Result<Open> {
    let started = Instant::now();
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // A server that refuses early may have closed already: its answer counts.
    let _ = socket.write_all(request);
    let mut buffer = Vec::new();
    let mut end = None;
    let head = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = buffer.split_off(at + 4);
            break String::from_utf8(std::mem::replace(&mut buffer, rest)).unwrap();
        }
        let mut chunk = [0; 4096];
        match socket.read(&mut chunk) {
            Ok(0) => end = Some(End::Short),
            Ok(size) => buffer.extend_from_slice(&chunk[..size]),
            Err(error) => end = Some(ended(&error)),
        }
        if end.is_some() {
            break String::new();
        }
    };
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .unwrap_or(0);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let bodiless = method == "HEAD" || matches!(status, 204 | 304);
    let answer = Answer {
        status,
        headers,
        body: Vec::new(),
        end: end.unwrap_or(End::Complete),
        first: started.elapsed(),
        all: started.elapsed(),
    };
    let length = if bodiless || end.is_some() {
        Some(0)
    } else {
        answer.header("content-length").map(|text| text.parse().unwrap())
    };
    Ok(Open {
        socket,
        started,
        buffer,
        answer,
        length,
    })
}

impl Open {
    /// Reads until `size` bytes of the body are there, or its end.
    pub fn read(&mut self, size: usize) -> usize {
        let limit = size.min(self.length.unwrap_or(usize::MAX));
        self.answer.body.append(&mut self.buffer);
        let mut chunk = vec![0; 64 * 1024];
        while self.answer.body.len() < limit && self.answer.end == End::Complete {
            match self.socket.read(&mut chunk) {
                Ok(0) => {
                    self.answer.end = if self.length.is_none() {
                        End::Complete
                    } else {
                        End::Short
                    };
                    break;
                }
                Ok(read) => self.answer.body.extend_from_slice(&chunk[..read]),
                Err(error) => self.answer.end = ended(&error),
            }
        }
        self.answer.body.len()
    }

    /// Reads to the end.
    pub fn finish(mut self) -> Answer {
        self.read(usize::MAX);
        self.answer.all = self.started.elapsed();
        self.answer
    }
}

fn ended(error: &std::io::Error) -> End {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silent,
        _ => End::Reset,
    }
}

/// The same request by so many clients at the same time.
pub fn herd(count: usize, address: SocketAddr, path: &str) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..count).map(|_| scope.spawn(|| get(address, path))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}
