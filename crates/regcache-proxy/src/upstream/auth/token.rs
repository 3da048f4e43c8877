//! Tokens: fetched once for everybody who needs the same, kept until shortly before they end.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::HeaderValue;
use reqwest::Client;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::realm::Grant;
use crate::upstream::client::{Clients, Via, read_bounded};
use crate::upstream::error::Error;
use crate::upstream::exchange::status_error;
use crate::upstream::metrics::{Asked, Meter};
use crate::upstream::settings::Credentials;

/// All the time that a token may take.
const LIMIT: Duration = Duration::from_secs(8);
/// A fetch that has taken so long says that the token server is sick.
const SLOW: Duration = Duration::from_millis(1500);
/// A token server that failed is looked at again for so long, when upstream cannot be used.
const SUSPECT: Duration = Duration::from_secs(60);
/// Most bytes of a token server's answer.
const LARGEST: usize = 1024 * 1024;
/// What the specification says when nothing is said, seconds.
const USUAL_LIFE: f64 = 60.0;
/// No token is kept longer than this, seconds.
const LONGEST_LIFE: f64 = 86_400.0;
/// Most tokens remembered for one upstream.
const MOST: usize = 4096;

/// A token, ready to be sent.
#[derive(Clone)]
pub(crate) struct Token {
    /// `Bearer …`, marked as sensitive.
    pub(crate) header: HeaderValue,
    until: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// One fetch that many may wait for. It goes on when all of them leave.
type Fetch = Shared<BoxFuture<'static, Result<Token, Error>>>;

#[derive(Default)]
struct Slot {
    token: Option<Token>,
    fetch: Option<(Instant, Fetch)>,
}

/// The tokens of one upstream.
pub(crate) struct Tokens {
    clients: Arc<Clients>,
    credentials: Option<Credentials>,
    meter: Meter,
    slots: Mutex<HashMap<Arc<Grant>, Slot>>,
    /// The realm that failed last, and when.
    sick: Mutex<Option<(Instant, Url)>>,
}

impl Tokens {
    pub(crate) fn new(clients: Arc<Clients>, credentials: Option<Credentials>, meter: Meter) -> Arc<Self> {
        Arc::new(Self {
            clients,
            credentials,
            meter,
            slots: Mutex::default(),
            sick: Mutex::default(),
        })
    }

    /// The token for the grant: the one at hand, or the one that is being fetched for somebody else, or a new one.
    pub(crate) async fn get(self: &Arc<Self>, grant: &Arc<Grant>) -> Result<Token, Error> {
        let fetch = {
            let mut slots = self.slots();
            if slots.len() >= MOST && !slots.contains_key(grant) {
                make_room(&mut slots);
            }
            let slot = slots.entry(grant.clone()).or_default();
            let now = Instant::now();
            if let Some(token) = slot.token.as_ref().filter(|token| now < token.until) {
                return Ok(token.clone());
            }
            let (_, fetch) = slot.fetch.get_or_insert_with(|| (now, self.start(grant.clone())));
            fetch.clone()
        };
        fetch.await
    }

    /// Upstream does not take this token: the next one who needs it fetches another.
    pub(crate) fn forget(&self, grant: &Arc<Grant>, refused: &Token) {
        if let Some(slot) = self.slots().get_mut(grant) {
            slot.token = slot.token.take().filter(|token| token.header != refused.header);
        }
    }

    /// A realm that keeps us waiting, or did not answer when it was asked last.
    pub(crate) fn suspect(&self) -> Option<Url> {
        let slow = self.slots().iter().find_map(|(grant, slot)| {
            let begun = slot.fetch.as_ref().map(|(begun, _)| *begun)?;
            (begun.elapsed() > SLOW).then(|| grant.realm.clone())
        });
        slow.or_else(|| {
            let sick = self.sick();
            let (_, realm) = sick.as_ref().filter(|(failed, _)| failed.elapsed() < SUSPECT)?;
            Some(realm.clone())
        })
    }

    fn start(self: &Arc<Self>, grant: Arc<Grant>) -> Fetch {
        let tokens = self.clone();
        let task = tokio::spawn(async move {
            let result = match tokio::time::timeout(LIMIT, tokens.fetch(&grant)).await {
                Ok(result) => result,
                Err(_) => Err(Error::TimedOut),
            };
            tokens.fetched(&grant, result.as_ref());
            result
        });
        let lost = |_| Err(Error::Unreachable("the token was not fetched to the end".into()));
        task.map(move |joined| joined.unwrap_or_else(lost)).boxed().shared()
    }

    async fn fetch(&self, grant: &Grant) -> Result<Token, Error> {
        let begun = Instant::now();
        let make = |client: &Client| {
            let request = client.get(grant.address());
            match &self.credentials {
                Some(credentials) => request.basic_auth(&credentials.username, Some(&credentials.password)),
                None => request,
            }
        };
        let sent = self.clients.send(Via::Kept, &self.meter, Asked::Token, make).await;
        let response = sent.map_err(|error| match error {
            Error::Unreachable(text) => Error::Unreachable(format!("token server: {text}")),
            error => error,
        })?;
        if !response.status().is_success() {
            return Err(status_error(response.status(), response.headers()));
        }
        read(&read_bounded(response, LARGEST).await?, begun)
    }

    fn fetched(&self, grant: &Arc<Grant>, result: Result<&Token, &Error>) {
        match result {
            Err(Error::Unreachable(_) | Error::TimedOut | Error::Status(500..)) => {
                *self.sick() = Some((Instant::now(), grant.realm.clone()));
            }
            _ => *self.sick() = None,
        }
        if let Some(slot) = self.slots().get_mut(grant) {
            slot.fetch = None;
            slot.token = result.ok().cloned();
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Arc<Grant>, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sick(&self) -> MutexGuard<'_, Option<(Instant, Url)>> {
        self.sick.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(slots: &mut HashMap<Arc<Grant>, Slot>) {
    let now = Instant::now();
    let valid = |slot: &Slot| slot.token.as_ref().is_some_and(|token| now < token.until);
    slots.retain(|_, slot| slot.fetch.is_some() || valid(slot));
    if slots.len() >= MOST {
        slots.retain(|_, slot| slot.fetch.is_some());
    }
}

/// What token servers answer: the specification's word for the token, or OAuth's.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
}

/// Reads a token server's answer; the token's life counts from when it was asked for.
fn read(bytes: &[u8], begun: Instant) -> Result<Token, Error> {
    let malformed = |what: &str| Error::Malformed(format!("token server: {what}"));
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| malformed("its answer is no token"))?;
    let given = |text: &String| !text.is_empty();
    let secret = answer.token.filter(given).or(answer.access_token.filter(given));
    let secret = secret.ok_or_else(|| malformed("its answer holds no token"))?;
    let header = HeaderValue::try_from(format!("Bearer {secret}"));
    let mut header = header.map_err(|_| malformed("its token cannot be sent"))?;
    header.set_sensitive(true);
    Ok(Token {
        header,
        until: begun + life(answer.expires_in.as_ref()),
    })
}

/// How long to use a token: a request that is on its way must not meet the end.
fn life(expires_in: Option<&serde_json::Value>) -> Duration {
    let said = expires_in.and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
    let seconds = said.unwrap_or(USUAL_LIFE).clamp(0.0, LONGEST_LIFE);
    Duration::try_from_secs_f64(seconds - (seconds / 4.0).min(10.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(r#"{"token":"a"}"#, Some("Bearer a"))]
    #[case(r#"{"access_token":"b"}"#, Some("Bearer b"))]
    #[case(r#"{"token":"","access_token":"b"}"#, Some("Bearer b"))]
    #[case(r#"{"token":"a","access_token":"b","more":[1]}"#, Some("Bearer a"))]
    #[case(r#"{"token":"a\nHost: x"}"#, None)]
    #[case(r#"{"token":null}"#, None)]
    #[case("{}", None)]
    #[case("<html>", None)]
    fn both_words_for_a_token_are_understood(#[case] answer: &str, #[case] expected: Option<&str>) {
        let token = read(answer.as_bytes(), Instant::now());
        assert_eq!(
            token
                .ok()
                .map(|token| token.header.to_str().unwrap().to_owned())
                .as_deref(),
            expected
        );
    }

    #[rstest]
    #[case(None, 50)]
    #[case(Some(json!(300)), 290)]
    #[case(Some(json!("300")), 290)]
    #[case(Some(json!(4)), 3)]
    #[case(Some(json!(0)), 0)]
    #[case(Some(json!(-5)), 0)]
    #[case(Some(json!(1e300)), 86_390)]
    #[case(Some(json!([])), 50)]
    fn a_token_is_used_until_shortly_before_its_end(
        #[case] expires_in: Option<serde_json::Value>,
        #[case] seconds: u64,
    ) {
        assert_eq!(life(expires_in.as_ref()), Duration::from_secs(seconds));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = read(br#"{"token":"secret"}"#, Instant::now()).unwrap();
        assert!(!format!("{token:?} {:?}", token.header).contains("secret"));
    }
}
