//! A small registry over HTTP that does what the test wants, and remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use regcache_transfer::Digest;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How the registry feels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    /// Answers later.
    Slow(Duration),
    /// Takes requests and never answers; also those to see whether it is well.
    Hangs,
    /// This status for everything.
    Refuses(u16),
    /// Does not say digests of manifests to HEAD.
    Coy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub accept: String,
}

#[derive(Default)]
struct State {
    mood: Mood,
    /// By path below `/v2/`: what it is and its bytes.
    contents: HashMap<String, (String, Bytes)>,
    /// The same, for those whose `Accept` has the word.
    by_accept: HashMap<(String, String), (String, Bytes)>,
    link: Option<String>,
    seen: Vec<Seen>,
}

pub struct FakeUpstream {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _task: AbortOnDropHandle<()>,
}

impl FakeUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let state = shared.clone();
                let service = service_fn(move |request| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(answer(&state, &request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
            }
        });
        let task = AbortOnDropHandle::new(task);
        Self {
            address,
            state,
            _task: task,
        }
    }

    pub fn feels(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Has a blob.
    pub fn blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        self.has(
            &format!("{repository}/blobs/{digest}"),
            "application/octet-stream",
            bytes,
        );
        digest
    }

    /// Has a manifest, by digest.
    pub fn manifest(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        self.has(&format!("{repository}/manifests/{digest}"), media_type, bytes);
        digest
    }

    /// Has a manifest, by tag and by digest.
    pub fn tag(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        self.has(&format!("{repository}/manifests/{tag}"), media_type, bytes);
        self.manifest(repository, media_type, bytes)
    }

    /// The tag is this to those who take `word`.
    pub fn tag_for(&self, word: &str, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let key = (format!("{repository}/manifests/{tag}"), word.to_owned());
        let value = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
        self.state.lock().unwrap().by_accept.insert(key, value);
        self.manifest(repository, media_type, bytes)
    }

    /// Has an image of these blobs under a tag.
    pub fn image(&self, repository: &str, tag: &str, blobs: &[&[u8]]) -> Digest {
        let layers: Vec<_> = blobs
            .iter()
            .map(|blob| json!({"digest": self.blob(repository, blob).to_string()}))
            .collect();
        let config = self.blob(repository, b"{}");
        let document = json!({"mediaType": IMAGE, "config": {"digest": config.to_string()}, "layers": layers});
        self.tag(repository, tag, IMAGE, document.to_string().as_bytes())
    }

    pub fn has(&self, path: &str, media_type: &str, bytes: &[u8]) {
        let value = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
        self.state.lock().unwrap().contents.insert(path.to_owned(), value);
    }

    pub fn forget(&self, path: &str) {
        self.state.lock().unwrap().contents.remove(path);
    }

    /// Lists go on there.
    pub fn link(&self, link: &str) {
        self.state.lock().unwrap().link = Some(link.to_owned());
    }

    /// Everything asked so far that is about a repository, looks at its health left out.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.state.lock().unwrap().seen.clone();
        seen.into_iter().filter(|seen| seen.path != "/v2/").collect()
    }

    /// How often a path with this in it was asked for.
    pub fn count(&self, method: &Method, part: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.method == *method && seen.path.contains(part))
            .count()
    }
}

async fn answer(state: &Arc<Mutex<State>>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let accept = header(http::header::ACCEPT).unwrap_or_default().to_owned();
    let mood = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            accept: accept.clone(),
        });
        state.mood.clone()
    };
    let mut response = Response::new(Full::default());
    match mood {
        Mood::Hangs => pending().await,
        Mood::Slow(time) => tokio::time::sleep(time).await,
        Mood::Refuses(status) => {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            return response;
        }
        Mood::Well | Mood::Coy => {}
    }
    let path = request.uri().path().strip_prefix("/v2/").unwrap_or_default();
    if path.is_empty() {
        return response;
    }
    let state = state.lock().unwrap();
    let special = state
        .by_accept
        .iter()
        .find(|((at, word), _)| at == path && accept.contains(word.as_str()));
    let Some((media_type, bytes)) = special.map(|(_, content)| content).or_else(|| state.contents.get(path)) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let headers = response.headers_mut();
    headers.insert("content-type", media_type.parse().unwrap());
    if path.contains("/manifests/") && !(mood == Mood::Coy && request.method() == Method::HEAD) {
        let digest = Digest::sha256(bytes).to_string();
        headers.insert("docker-content-digest", digest.parse().unwrap());
    }
    if let Some(link) = state.link.as_ref().filter(|_| path.ends_with("/list")) {
        headers.insert("link", link.parse().unwrap());
    }
    // hyper sends the length of the body that it has to keep back for HEAD.
    headers.insert("content-length", bytes.len().into());
    if request.method() == Method::GET {
        *response.body_mut() = Full::new(bytes.clone());
    }
    response
}
