//! A registry on loopback that does what it is told: each request may meet a fault at a chosen byte.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::content::{Image, MANIFEST, digest};

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No answer, for as long as the client waits.
    Silent,
    /// Headers after that long.
    Late(Duration),
    /// The body stops at that byte (of this answer) and stays silent.
    StallAt(usize),
    /// A reset at that byte.
    ResetAt(usize),
    /// An orderly end at that byte.
    EndAt(usize),
    /// The right length, wrong bytes.
    WrongBytes,
    /// A `Content-Length` so many bytes too large or small, and the body with it.
    WrongLength(i64),
    /// A status, with these headers.
    Status(u16, Vec<(String, String)>),
    /// Range is ignored.
    NoRange,
    /// No `Docker-Content-Digest`.
    NoDigest,
    /// Bytes at most so many a second.
    Slow(usize),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

struct Rule {
    method: Option<&'static str>,
    part: String,
    left: usize,
    fault: Fault,
}

/// What paths answer with: media type and bytes.
type Contents = HashMap<String, (String, Vec<u8>)>;

#[derive(Default)]
struct State {
    contents: Contents,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    sent: u64,
    /// When set, requests without exactly this `Authorization` get 401 and this challenge.
    guard: Option<(String, String)>,
}

/// A registry. Its threads end with the process.
#[derive(Clone)]
pub struct Registry {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    pub fn start_on(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let served = registry.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let registry = served.clone();
                thread::spawn(move || registry.serve(socket));
            }
        });
        registry
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an image into a repository, under a tag.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) {
        for blob in &image.blobs {
            self.put_blob(repository, blob);
        }
        self.put_manifest(repository, tag, MANIFEST, &image.manifest);
    }

    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        for reference in [tag, &digest(bytes)] {
            self.put(&format!("/v2/{repository}/manifests/{reference}"), media_type, bytes);
        }
    }

    pub fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/blobs/{}", digest(bytes));
        self.put(&path, "application/octet-stream", bytes);
    }

    pub fn put(&self, path: &str, media_type: &str, bytes: &[u8]) {
        let content = (media_type.to_owned(), bytes.to_vec());
        self.state.lock().unwrap().contents.insert(path.to_owned(), content);
    }

    /// The next `times` requests of that method (any: `None`) whose path contains `part` meet the fault.
    pub fn fault(&self, method: Option<&'static str>, part: &str, times: usize, fault: Fault) {
        self.state.lock().unwrap().rules.push(Rule {
            method,
            part: part.to_owned(),
            left: times,
            fault,
        });
    }

    /// All is well again.
    pub fn heal(&self) {
        self.state.lock().unwrap().rules.clear();
    }

    /// From now on only requests with that `Authorization` are answered; others get 401 with the challenge.
    pub fn guard(&self, authorization: &str, challenge: &str) {
        self.state.lock().unwrap().guard = Some((authorization.to_owned(), challenge.to_owned()));
    }

    /// The requests so far whose path contains `part`.
    pub fn seen(&self, method: &str, part: &str) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        let fits = |seen: &&Seen| seen.method == method && seen.path.contains(part);
        state.seen.iter().filter(fits).cloned().collect()
    }

    /// Body bytes of all answers so far.
    pub fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent
    }

    fn serve(&self, socket: TcpStream) {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut socket = socket;
        while let Some(seen) = read_request(&mut reader) {
            if !self.answer(&mut socket, &seen) {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&self, socket: &mut TcpStream, seen: &Seen) -> bool {
        let (fault, content, guard) = {
            let mut state = self.state.lock().unwrap();
            state.seen.push(seen.clone());
            let rule = state.rules.iter_mut().find(|rule| {
                rule.left > 0
                    && rule.method.is_none_or(|method| method == seen.method)
                    && seen.path.contains(&rule.part)
            });
            let fault = rule.map(|rule| {
                rule.left -= 1;
                rule.fault.clone()
            });
            let path = seen.path.split('?').next().unwrap_or_default();
            (fault, state.contents.get(path).cloned(), state.guard.clone())
        };
        match &fault {
            Some(Fault::Silent) => {
                // Until the client is gone.
                let _ = socket.read(&mut [0; 1]);
                return false;
            }
            Some(Fault::Late(time)) => thread::sleep(*time),
            Some(Fault::Status(status, headers)) => return send_status(socket, *status, headers),
            _ => {}
        }
        if let Some((authorization, challenge)) = guard
            && seen.headers.get("authorization") != Some(&authorization)
        {
            return send_status(socket, 401, &[("WWW-Authenticate".to_owned(), challenge)]);
        }
        if seen.path == "/v2/" {
            return send_status(socket, 200, &[]);
        }
        match content {
            Some((media_type, bytes)) => self.send(socket, seen, &media_type, &bytes, fault.as_ref()),
            None => send_status(socket, 404, &[]),
        }
    }

    fn send(&self, socket: &mut TcpStream, seen: &Seen, media_type: &str, bytes: &[u8], fault: Option<&Fault>) -> bool {
        let total = bytes.len();
        let range = seen
            .headers
            .get("range")
            .filter(|_| !matches!(fault, Some(Fault::NoRange)));
        let (start, end) = range.map_or((0, total), |range| span(range, total));
        if start >= total && total > 0 {
            return send_status(socket, 416, &[("Content-Range".to_owned(), format!("bytes */{total}"))]);
        }
        let digest = digest(bytes);
        let mut body = bytes[start..end].to_vec();
        match fault {
            Some(Fault::WrongBytes) => {
                let middle = body.len() / 2;
                body[middle] ^= 0x55;
            }
            Some(Fault::WrongLength(by)) => {
                let length = usize::try_from(i64::try_from(body.len()).unwrap() + by).unwrap();
                body.resize(length, b'x');
            }
            _ => {}
        }
        let mut head = if range.is_some() {
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}\r\n",
                end - 1
            )
        } else {
            "HTTP/1.1 200 OK\r\n".to_owned()
        };
        head.extend([format!(
            "Content-Type: {media_type}\r\nContent-Length: {}\r\n",
            body.len()
        )]);
        if !matches!(fault, Some(Fault::NoDigest)) {
            head.extend([format!("Docker-Content-Digest: {digest}\r\n")]);
        }
        head.push_str("\r\n");
        if socket.write_all(head.as_bytes()).is_err() {
            return false;
        }
        if seen.method == "HEAD" {
            return true;
        }
        let cut = match fault {
            Some(Fault::StallAt(at) | Fault::ResetAt(at) | Fault::EndAt(at)) => (*at).min(body.len()),
            _ => body.len(),
        };
        let step = match fault {
            Some(Fault::Slow(rate)) => (rate / 20).max(1),
            _ => 256 * 1024,
        };
        for chunk in body[..cut].chunks(step) {
            if socket.write_all(chunk).is_err() {
                return false;
            }
            self.state.lock().unwrap().sent += chunk.len() as u64;
            if matches!(fault, Some(Fault::Slow(_))) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        match fault {
            Some(Fault::StallAt(_)) => {
                let _ = socket.read(&mut [0; 1]);
                false
            }
            Some(Fault::ResetAt(_)) => {
                let _ = rustix::net::sockopt::set_socket_linger(&*socket, Some(Duration::ZERO));
                false
            }
            Some(Fault::EndAt(_)) => false,
            _ => true,
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(Seen { method, path, headers })
}

fn send_status(socket: &mut TcpStream, status: u16, headers: &[(String, String)]) -> bool {
    let mut head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        head.extend([format!("{name}: {value}\r\n")]);
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).is_ok()
}

fn span(range: &str, total: usize) -> (usize, usize) {
    let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse::<usize>().map_or(total, |last| (last + 1).min(total));
    (start, end.max(start.min(total)))
}
