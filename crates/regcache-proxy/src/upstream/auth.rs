//! Who we are to one upstream, learnt from its challenges and remembered: the next request carries its proof at once.
//!
//! The pipeline: `challenge` (what upstream wants) -> `realm` (whose tokens count) -> `token` (one fetch for all).

pub mod challenge;
pub(crate) mod realm;
pub(crate) mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use reqwest::RequestBuilder;
use tracing::warn;
use url::Url;

use self::realm::{BadRealm, Grant};
use self::token::{Token, Tokens};
use super::error::Error;
use super::settings::{Credentials, Settings};
use crate::names::Repository;

/// Most repositories whose own grant is remembered.
const MOST: usize = 4096;

/// What a request says who we are.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Nothing,
    Basic(Credentials),
    Bearer(Arc<Grant>, Token),
}

impl Proof {
    /// The request with its proof. Only for the upstream itself.
    pub(crate) fn put_on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Basic(credentials) => request.basic_auth(&credentials.username, Some(&credentials.password)),
            Self::Bearer(_, token) => request.header(http::header::AUTHORIZATION, token.header.clone()),
        }
    }
}

/// What the upstream's challenges were so far.
#[derive(Default)]
struct Memory {
    /// It takes our credentials directly.
    basic: bool,
    /// Who gives out tokens for repositories that were never asked for, in the usual words.
    usual: Option<(Url, Option<String>)>,
    grants: HashMap<Repository, Arc<Grant>>,
    /// Why a challenge was not answered, as it was last logged.
    refused: Option<BadRealm>,
}

/// Proofs for one upstream.
pub(crate) struct Auth {
    upstream: Url,
    realm_hosts: Vec<String>,
    credentials: Option<Credentials>,
    memory: Mutex<Memory>,
    tokens: Arc<Tokens>,
}

impl Auth {
    pub(crate) fn new(settings: &Settings, tokens: Arc<Tokens>) -> Self {
        Self {
            upstream: settings.url.clone(),
            realm_hosts: settings.realm_hosts.clone(),
            credentials: settings.credentials.clone(),
            memory: Mutex::default(),
            tokens,
        }
    }

    /// What to send for the repository, as far as is known: the first request to an upstream goes out bare.
    pub(crate) async fn proof(&self, repository: &Repository) -> Result<Proof, Error> {
        let Some(grant) = self.grant(repository) else {
            let basic = self.credentials.clone().filter(|_| self.memory().basic);
            return Ok(basic.map_or(Proof::Nothing, Proof::Basic));
        };
        match self.tokens.get(&grant).await {
            Ok(token) => Ok(Proof::Bearer(grant, token)),
            Err(error) => {
                // What was learnt may be out of date: the next request hears anew what upstream wants.
                let mut memory = self.memory();
                memory.grants.remove(repository);
                memory.usual = None;
                Err(error)
            }
        }
    }

    /// Learns from a 401. An error when no other proof can be had than the one that upstream did not take.
    pub(crate) fn challenged(&self, repository: &Repository, used: &Proof, headers: &HeaderMap) -> Result<(), Error> {
        if let Proof::Bearer(grant, token) = used {
            self.tokens.forget(grant, token);
        }
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let challenges = values.flat_map(|value| challenge::parse(&String::from_utf8_lossy(value.as_bytes())));
        let (mut bearer, mut basic) = (None, false);
        for challenge in challenges {
            match challenge.scheme.as_str() {
                "bearer" if bearer.is_none() => bearer = Some(challenge),
                "basic" => basic = true,
                _ => {}
            }
        }
        if let Some(challenge) = bearer {
            match Grant::from_challenge(&challenge, repository, &self.upstream, &self.realm_hosts) {
                Ok(grant) => {
                    self.learn(repository, grant);
                    return Ok(());
                }
                Err(error) => {
                    self.refuse(error);
                }
            }
        }
        if basic && self.credentials.is_some() && !matches!(used, Proof::Basic(_)) {
            let mut memory = self.memory();
            memory.basic = true;
            memory.grants.remove(repository);
            memory.usual = None;
            return Ok(());
        }
        Err(Error::Denied(401))
    }

    /// A token server that may be why upstream cannot be used.
    pub(crate) fn suspect(&self) -> Option<Url> {
        self.tokens.suspect()
    }

    fn grant(&self, repository: &Repository) -> Option<Arc<Grant>> {
        let memory = self.memory();
        let own = memory.grants.get(repository).cloned();
        own.or_else(|| {
            let (realm, service) = memory.usual.clone()?;
            let scope = Grant::usual_scope(repository);
            Some(Arc::new(Grant { realm, service, scope }))
        })
    }

    fn learn(&self, repository: &Repository, grant: Grant) {
        let mut memory = self.memory();
        if grant.scope == Grant::usual_scope(repository) {
            memory.usual = Some((grant.realm.clone(), grant.service.clone()));
        }
        if memory.grants.len() >= MOST {
            memory.grants.clear();
        }
        memory.grants.insert(repository.clone(), Arc::new(grant));
    }

    /// Said once, not at each request.
    fn refuse(&self, error: BadRealm) {
        let mut memory = self.memory();
        if memory.refused.as_ref() != Some(&error) {
            let upstream = self.upstream.host_str().unwrap_or_default();
            warn!(upstream, %error, "the challenge of an upstream is not answered");
            memory.refused = Some(error);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
