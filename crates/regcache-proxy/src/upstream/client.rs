//! Connections to one upstream: those that are kept for the next request, and fresh ones.

use std::error::Error as _;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use reqwest::{Client, Proxy, RequestBuilder, Response, redirect};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::error::Error;
use super::metrics::{Asked, Meter};
use super::proxy::proxies;
use super::resolve::Resolver;
use super::settings::{Settings, SettingsError};
use super::tls::client_config;

/// Name lookup, TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(2);
/// An idle connection is kept so long.
const IDLE: Duration = Duration::from_secs(60);
/// Most idle connections to one host.
const MOST_IDLE: usize = 16;
/// A connection whose other end has not even taken note of our bytes for so long is dead: less than the two seconds
/// after which the one who asked may give up.
const UNHEARD: Duration = Duration::from_millis(1500);
/// HTTP/2 connections with requests on them are asked this often whether they live.
const ALIVE: Duration = Duration::from_secs(5);
/// Answers whose text nobody needs are read up to here, so that their connection can be used again.
const SMALL: usize = 16 * 1024;
/// How long that may take.
const SMALL_LIMIT: Duration = Duration::from_millis(200);
/// Longest description of an error.
const LONGEST_TEXT: usize = 512;

/// Over which kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// One that is there already, when there is.
    Kept,
    /// A new one, to the next address of the name.
    Fresh,
}

/// How connections are made.
struct Recipe {
    tls: ClientConfig,
    proxies: Vec<Proxy>,
    resolver: Resolver,
}

/// The clients of one upstream. They follow no redirect, decompress nothing and know no credentials.
pub(crate) struct Clients {
    kept: ArcSwap<Client>,
    fresh: Arc<Client>,
    recipe: Recipe,
}

impl Clients {
    pub(crate) fn new(
        settings: &Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Arc<Self>, SettingsError> {
        let recipe = Recipe {
            tls: client_config(settings.ca_pem.as_deref())?,
            proxies: proxies(settings.proxy.as_ref(), environment)?,
            resolver: Resolver::new(settings.url.host_str().unwrap_or_default()),
        };
        Ok(Arc::new(Self {
            kept: ArcSwap::from_pointee(recipe.client(Via::Kept)?),
            fresh: Arc::new(recipe.client(Via::Fresh)?),
            recipe,
        }))
    }

    /// Sends one request, made for either kind of connection. A kept one may have died meanwhile, which says nothing
    /// about the upstream: a fresh one is tried then.
    pub(crate) async fn send(
        &self,
        via: Via,
        meter: &Meter,
        asked: Asked,
        make: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let mut via = via;
        loop {
            let begun = Instant::now();
            let client = match via {
                Via::Kept => self.kept.load_full(),
                Via::Fresh => self.fresh.clone(),
            };
            match make(&client).send().await {
                Ok(response) => {
                    meter.answered(asked, response.status(), begun.elapsed());
                    return Ok(response);
                }
                Err(error) if error.is_builder() => {
                    return Err(Error::Malformed("no request can be made of it".into()));
                }
                Err(error) => {
                    meter.failed(asked, &error);
                    if via == Via::Fresh || error.is_connect() {
                        return Err(Error::Unreachable(describe(error)));
                    }
                    self.renew(&client);
                    via = Via::Fresh;
                }
            }
        }
    }

    /// The client for one question over a connection of its own.
    pub(crate) fn fresh(&self) -> &Client {
        &self.fresh
    }

    /// No further request goes over the connections that are kept at the moment. What is on them goes on.
    pub(crate) fn doubt(&self) {
        self.renew(&self.kept.load_full());
    }

    fn renew(&self, failed: &Arc<Client>) {
        if let Ok(client) = self.recipe.client(Via::Kept) {
            self.kept.compare_and_swap(failed, Arc::new(client));
        }
    }
}

impl Recipe {
    fn client(&self, via: Via) -> Result<Client, SettingsError> {
        let mut builder = Client::builder()
            .user_agent(concat!("regcache/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(match via {
                Via::Kept => MOST_IDLE,
                Via::Fresh => 0,
            })
            .tcp_user_timeout(UNHEARD)
            .http2_keep_alive_interval(ALIVE)
            .http2_keep_alive_timeout(ALIVE)
            .dns_resolver(self.resolver.clone())
            .tls_backend_preconfigured(self.tls.clone())
            // Only the proxies that we chose ourselves.
            .no_proxy();
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        builder.build().map_err(|error| SettingsError::Client(describe(error)))
    }
}

/// The whole story of an error in one line. Without the address, which may be signed.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source.filter(|_| text.len() < LONGEST_TEXT) {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text.chars().take(LONGEST_TEXT).collect()
}

/// Fails for bytes that are not what they stand for: nobody asked for compression, and digests are of what is within.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Error> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.all(|encoding| encoding == "identity") {
        return Ok(());
    }
    Err(Error::Malformed(
        "its answer is compressed, and nobody asked for that".into(),
    ))
}

/// All bytes of an answer, at most `most`.
pub(crate) async fn read_bounded(mut response: Response, most: usize) -> Result<Bytes, Error> {
    let promised = response
        .content_length()
        .and_then(|length| usize::try_from(length).ok());
    if promised.is_some_and(|promised| promised > most) {
        return Err(Error::TooLarge);
    }
    let mut bytes = BytesMut::with_capacity(promised.unwrap_or_default());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > most => {
                drop(chunk);
                return Err(Error::TooLarge);
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes.freeze()),
            Err(error) => return Err(Error::Unreachable(format!("its answer broke off: {}", describe(error)))),
        }
    }
}

/// Reads what is left of an answer that nobody needs, when it is small and there: its connection can then be used
/// again, without a new handshake.
pub(crate) async fn discard(response: Response) {
    if response.content_length().is_some_and(|length| length <= SMALL as u64) {
        // What goes wrong here has no consequence but a new connection.
        let _ = tokio::time::timeout(SMALL_LIMIT, read_bounded(response, SMALL)).await;
    }
}
