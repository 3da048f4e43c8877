//! Whose word on tokens counts: a realm outside the upstream's own site gets to see no credentials.
//!
//! An answer that somebody else has made (a page of a CDN, a proxy in between, a hostile repository) must not send our
//! password elsewhere. The site is the registrable domain of the public suffix list (`auth.docker.io` belongs to
//! `registry-1.docker.io`, one tenant of a cloud does not belong to another); under a suffix that the list does not
//! know (`.corp`, `.cluster.local`) and for addresses it is the very same host. The port does not matter: who owns a
//! host owns its ports. Anything else takes the operator's word, `realmHosts`.

use url::{Host, Url};

use super::challenge::Challenge;
use crate::names::Repository;

/// Longest service or scope that is taken from a challenge, bytes.
const LONGEST: usize = 1024;

/// What a token is for: one token serves all who ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    /// Who gives it out.
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scope: String,
}

/// The challenge cannot be answered. The text is for logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRealm {
    #[error("the challenge names no realm that is an address")]
    NoAddress,
    #[error("the token server {0} is not of the upstream's site; realmHosts can allow it")]
    Foreign(String),
    #[error("the token server {0} is to be asked without TLS")]
    Plain(String),
    #[error("the challenge is too long")]
    TooLong,
}

impl Grant {
    /// The scope that pulls from a repository, in the specification's words.
    pub(crate) fn usual_scope(repository: &Repository) -> String {
        format!("repository:{repository}:pull")
    }

    /// What a bearer challenge asks us to get, when its realm may be trusted.
    pub(crate) fn from_challenge(
        challenge: &Challenge,
        repository: &Repository,
        upstream: &Url,
        realm_hosts: &[String],
    ) -> Result<Self, BadRealm> {
        let realm = challenge.parameter("realm").and_then(|text| Url::parse(text).ok());
        let realm = realm.ok_or(BadRealm::NoAddress)?;
        check(&realm, upstream, realm_hosts)?;
        let service = challenge.parameter("service").filter(|text| !text.is_empty());
        let scope = challenge.parameter("scope").filter(|text| !text.is_empty());
        if service.is_some_and(|text| text.len() > LONGEST) || scope.is_some_and(|text| text.len() > LONGEST) {
            return Err(BadRealm::TooLong);
        }
        Ok(Self {
            realm,
            service: service.map(Into::into),
            scope: scope.map_or_else(|| Self::usual_scope(repository), Into::into),
        })
    }

    /// Where to get the token.
    pub(crate) fn address(&self) -> Url {
        let mut address = self.realm.clone();
        {
            let mut query = address.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            // Several scopes come as one text with spaces, and go as several parameters.
            for scope in self.scope.split(' ').filter(|scope| !scope.is_empty()) {
                query.append_pair("scope", scope);
            }
        }
        address
    }
}

fn check(realm: &Url, upstream: &Url, realm_hosts: &[String]) -> Result<(), BadRealm> {
    let name = realm.host_str().ok_or(BadRealm::NoAddress)?;
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(BadRealm::NoAddress);
    }
    match realm.scheme() {
        "https" => {}
        "http" if upstream.scheme() == "http" => {}
        "http" => return Err(BadRealm::Plain(name.into())),
        _ => return Err(BadRealm::NoAddress),
    }
    let allowed = same_site(realm, upstream) || realm_hosts.iter().any(|host| is_host(realm, host));
    allowed.then_some(()).ok_or_else(|| BadRealm::Foreign(name.into()))
}

/// `host`, or `host:port`.
fn is_host(url: &Url, host: &str) -> bool {
    let Some(name) = url.host_str() else { return false };
    let port = url.port_or_known_default().unwrap_or_default();
    host.eq_ignore_ascii_case(name) || host.eq_ignore_ascii_case(&format!("{name}:{port}"))
}

fn same_site(one: &Url, other: &Url) -> bool {
    match (one.host(), other.host()) {
        (Some(Host::Domain(one)), Some(Host::Domain(other))) => {
            one == other || site(one).is_some_and(|found| site(other) == Some(found))
        }
        (one, other) => one.is_some() && one == other,
    }
}

fn site(host: &str) -> Option<&str> {
    let domain = psl::domain(host.trim_end_matches('.').as_bytes())?;
    let known = domain.suffix().is_known();
    std::str::from_utf8(domain.trim().as_bytes()).ok().filter(|_| known)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::challenge;
    use super::*;

    fn grant(upstream: &str, realm: &str, hosts: &[&str]) -> Result<Grant, BadRealm> {
        let header = format!(r#"Bearer realm="{realm}",service="s""#);
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let repository = "library/a".parse().unwrap();
        Grant::from_challenge(
            &challenge::parse(&header)[0],
            &repository,
            &upstream.parse().unwrap(),
            &hosts,
        )
    }

    #[rstest]
    #[case("https://registry-1.docker.io", "https://auth.docker.io/token", true)]
    #[case("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true)]
    #[case("https://ghcr.io", "https://ghcr.io/token", true)]
    #[case("https://ghcr.io:8443", "https://GHCR.io/token", true)]
    #[case("https://registry.a.co.uk", "https://auth.a.co.uk/t", true)]
    #[case("https://registry.a.co.uk", "https://b.co.uk/t", false)]
    #[case("https://ghcr.io", "https://evil.io/token", false)]
    #[case("https://ghcr.io", "https://ghcr.io.evil.com/token", false)]
    #[case("https://ghcr.io", "https://evilghcr.io/token", false)]
    #[case("https://ghcr.io", "https://ghcr.io@evil.com/token", false)]
    #[case("https://ghcr.io", "https://user:pass@ghcr.io/token", false)]
    #[case("https://a.github.io", "https://b.github.io/token", false)]
    #[case("https://github.io", "https://b.github.io/token", false)]
    #[case("https://registry.corp", "https://registry.corp/token", true)]
    #[case("https://registry.corp", "https://auth.registry.corp/token", false)]
    #[case("https://a.b.svc.cluster.local", "https://c.d.svc.cluster.local/t", false)]
    #[case("https://127.0.0.1:5000", "https://127.0.0.1:5001/t", true)]
    #[case("https://127.0.0.1", "https://127.0.0.2/t", false)]
    #[case("https://[::1]", "https://[::1]:1/t", true)]
    #[case("https://10.0.0.1", "https://10.0.0.1.nip.io/t", false)]
    #[case("https://localhost", "https://localhost/t", true)]
    #[case("https://ghcr.io", "http://ghcr.io/token", false)]
    #[case("http://ghcr.io", "http://ghcr.io/token", true)]
    #[case("http://ghcr.io", "https://ghcr.io/token", true)]
    #[case("https://ghcr.io", "file:///etc/passwd", false)]
    #[case("https://ghcr.io", "/token", false)]
    fn only_the_upstreams_own_site_gives_out_tokens(#[case] upstream: &str, #[case] realm: &str, #[case] fits: bool) {
        assert_eq!(grant(upstream, realm, &[]).is_ok(), fits);
    }

    #[test]
    fn named_hosts_may_give_out_tokens_too_but_not_without_tls() {
        let realm = "https://auth.other.com/t";
        assert!(grant("https://a.io", realm, &["auth.other.com"]).is_ok());
        assert!(grant("https://a.io", realm, &["AUTH.other.com:443"]).is_ok());
        assert!(grant("https://a.io", realm, &["auth.other.com:444"]).is_err());
        assert!(grant("https://a.io", realm, &["other.com"]).is_err());
        let plain = grant("https://a.io", "http://auth.other.com/t", &["auth.other.com"]);
        assert_eq!(plain, Err(BadRealm::Plain("auth.other.com".into())));
    }

    #[test]
    fn a_realm_keeps_its_own_query_and_scopes_are_escaped() {
        let header = r#"Bearer realm="https://a.io/t?x=1",service="a b",scope="repository:c:pull repository:d/e:pull""#;
        let upstream = "https://a.io".parse().unwrap();
        let grant = Grant::from_challenge(&challenge::parse(header)[0], &"c".parse().unwrap(), &upstream, &[]).unwrap();
        let expected = "https://a.io/t?x=1&service=a+b&scope=repository%3Ac%3Apull&scope=repository%3Ad%2Fe%3Apull";
        assert_eq!(grant.address().as_str(), expected);
        let usual = self::grant("https://a.io", "https://a.io/t", &[]).unwrap();
        assert_eq!(usual.scope, "repository:library/a:pull");
    }

    #[test]
    fn an_endless_scope_is_refused() {
        let header = format!(r#"Bearer realm="https://a.io/t",scope="{}""#, "x".repeat(2000));
        let upstream = "https://a.io".parse().unwrap();
        let grant = Grant::from_challenge(&challenge::parse(&header)[0], &"c".parse().unwrap(), &upstream, &[]);
        assert_eq!(grant, Err(BadRealm::TooLong));
    }
}
