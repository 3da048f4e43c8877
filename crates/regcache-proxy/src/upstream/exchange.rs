//! One question and its answer: proof, one challenge, redirects, and what the breaker has to hear of it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use regcache_transfer::Span;
use reqwest::{Client, Response};
use url::Url;

use super::auth::token::Tokens;
use super::auth::{Auth, Proof};
use super::breaker::{Attempt, Breaker, Subject};
use super::client::{Clients, Via, discard};
use super::error::Error;
use super::metrics::{Asked, Meter};
use super::redirect;
use super::settings::{Settings, SettingsError};
use crate::names::Repository;

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) asked: Asked,
    pub(crate) method: Method,
    pub(crate) repository: &'a Repository,
    /// What stands behind `/v2/<repository>/`.
    pub(crate) path: String,
    pub(crate) query: Option<&'a str>,
    pub(crate) accept: Option<&'a str>,
    pub(crate) span: Span,
    pub(crate) via: Via,
}

/// The headers of an answer, whatever its status; the body is still to come.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// It comes from elsewhere, by redirect.
    pub(crate) redirected: bool,
}

impl Answer {
    /// This answer, when its status is one of success.
    pub(crate) async fn success(self) -> Result<Response, Error> {
        if self.response.status().is_success() {
            return Ok(self.response);
        }
        let error = status_error(self.response.status(), self.response.headers());
        discard(self.response).await;
        Err(error)
    }
}

/// All that it takes to ask one upstream.
pub(crate) struct Exchange {
    /// Ends in `/v2/`.
    base: Url,
    clients: Arc<Clients>,
    auth: Arc<Auth>,
    breaker: Arc<Breaker>,
    meter: Meter,
}

impl Exchange {
    pub(crate) fn new(
        settings: &Settings,
        meter: Meter,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let base = settings.base()?;
        let clients = Clients::new(settings, environment)?;
        let tokens = Tokens::new(clients.clone(), settings.credentials.clone(), meter.clone());
        let auth = Arc::new(Auth::new(settings, tokens));
        let (probed, prover, address) = (clients.clone(), auth.clone(), base.clone());
        let probe = move || probe(probed.clone(), address.clone(), prover.suspect()).boxed();
        let doubted = clients.clone();
        Ok(Self {
            base,
            clients,
            auth,
            breaker: Breaker::new(meter.clone(), Box::new(probe), Box::new(move || doubted.doubt())),
            meter,
        })
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(crate) fn doubt(&self) {
        self.clients.doubt();
    }

    /// Asks, and gives whatever answer comes from wherever upstream sends us.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let subject = match ask.asked {
            Asked::Blob => Subject::Blobs,
            Asked::Manifest | Asked::List | Asked::Token => Subject::Manifests,
        };
        // A blob's bytes are asked for over a fresh connection after a kept one, before anybody is sent to rest.
        let last_word = ask.asked != Asked::Blob || ask.via == Via::Fresh || ask.method == Method::HEAD;
        let entered = self.breaker.enter(subject, last_word);
        let mut attempt = entered.map_err(|remaining| Error::Resting { remaining })?;
        let result = self.answer(ask, &mut attempt).await;
        match &result {
            Ok(_) => attempt.over(),
            Err(error) => attempt.failed(error),
        }
        result
    }

    async fn answer(&self, ask: &Ask<'_>, attempt: &mut Attempt) -> Result<Answer, Error> {
        let mut address = self.base.join(&format!("{}/{}", ask.repository, ask.path));
        if let Ok(address) = &mut address {
            address.set_query(ask.query);
        }
        let address = address.map_err(|_| Error::Malformed("no address can be made of the name".into()))?;
        let mut challenged = false;
        loop {
            let proof = self.auth.proof(ask.repository).await?;
            let answer = self.follow(ask, address.clone(), &proof, attempt).await?;
            if challenged || answer.redirected || answer.response.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            challenged = true;
            let learnt = self.auth.challenged(ask.repository, &proof, answer.response.headers());
            discard(answer.response).await;
            learnt?;
        }
    }

    /// One request and the redirects that come of it. Only the upstream's own host sees the proof, and not when somebody
    /// else has sent us there: in our name it would give what we did not ask for.
    async fn follow(
        &self,
        ask: &Ask<'_>,
        mut address: Url,
        proof: &Proof,
        attempt: &mut Attempt,
    ) -> Result<Answer, Error> {
        let mut own = true;
        for _ in 0..=redirect::MOST {
            own = own && redirect::same_origin(&address, &self.base);
            if !own {
                attempt.over();
            }
            let response = self.send(ask, &address, own.then_some(proof)).await?;
            if own {
                attempt.heard(response.status(), retry_after(response.headers()));
                self.meter.allowance(response.headers());
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer {
                    response,
                    redirected: !own,
                });
            }
            address = redirect::target(&address, response.headers().get(LOCATION))?;
            discard(response).await;
        }
        Err(Error::Malformed(format!("more than {} redirects", redirect::MOST)))
    }

    async fn send(&self, ask: &Ask<'_>, address: &Url, proof: Option<&Proof>) -> Result<Response, Error> {
        let make = |client: &Client| {
            let mut request = client.request(ask.method.clone(), address.clone());
            // Bytes are checked against digests as they are: nobody may compress them on the way.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(accept) = ask.accept.filter(|accept| !accept.is_empty()) {
                request = request.header(ACCEPT, accept);
            }
            if let Some(range) = range(ask.span) {
                request = request.header(RANGE, range);
            }
            match proof {
                Some(proof) => proof.put_on(request),
                None => request,
            }
        };
        self.clients.send(ask.via, &self.meter, ask.asked, make).await
    }
}

/// Whether upstream answers, and the token server that may be at fault.
async fn probe(clients: Arc<Clients>, base: Url, suspect: Option<Url>) -> Result<(), Option<Duration>> {
    for address in [Some(base), suspect].into_iter().flatten() {
        let response = clients.fresh().get(address).send().await.map_err(|_| None)?;
        if matches!(response.status().as_u16(), 429 | 500..) {
            return Err(retry_after(response.headers()));
        }
    }
    // The connections from before the failure may be dead without knowing it.
    clients.doubt();
    Ok(())
}

/// The error that a status without success stands for.
pub(crate) fn status_error(status: StatusCode, headers: &HeaderMap) -> Error {
    match status.as_u16() {
        404 => Error::NotFound,
        status @ (401 | 403) => Error::Denied(status),
        429 => Error::Limited {
            retry_after: retry_after(headers),
        },
        status => Error::Status(status),
    }
}

fn range(span: Span) -> Option<String> {
    match span {
        Span { start: 0, end: None } => None,
        Span { start, end: None } => Some(format!("bytes={start}-")),
        Span { start, end: Some(end) } => Some(format!("bytes={start}-{}", end.saturating_sub(1).max(start))),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, None, None)]
    #[case(5, None, Some("bytes=5-"))]
    #[case(0, Some(10), Some("bytes=0-9"))]
    #[case(5, Some(6), Some("bytes=5-5"))]
    fn a_range_ends_with_its_last_byte(#[case] start: u64, #[case] end: Option<u64>, #[case] expected: Option<&str>) {
        assert_eq!(range(Span { start, end }).as_deref(), expected);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = Timestamp::now() + Duration::from_secs(100);
        let later = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&later)
            .unwrap();
        let found = after(&later).unwrap().as_secs();
        assert!((90..=100).contains(&found), "{found}");
    }

    #[rstest]
    #[case(404, Error::NotFound)]
    #[case(401, Error::Denied(401))]
    #[case(403, Error::Denied(403))]
    #[case(429, Error::Limited { retry_after: None })]
    #[case(500, Error::Status(500))]
    #[case(304, Error::Status(304))]
    fn each_status_has_its_meaning(#[case] status: u16, #[case] expected: Error) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(status_error(status, &HeaderMap::new()), expected);
    }
}
