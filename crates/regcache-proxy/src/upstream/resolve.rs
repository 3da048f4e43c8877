//! Names to addresses without the C library (the program is linked statically), another address first at each lookup.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;

use super::redirect::is_link_local;

/// One question to a name server.
const QUESTION: Duration = Duration::from_secs(1);
/// "No such name" is believed for this long only: an upstream that comes back is to be found at once.
const NEGATIVE: Duration = Duration::from_secs(1);
/// An address is believed for this long at most.
const POSITIVE: Duration = Duration::from_secs(60);
/// After a failure the system's configuration is read anew, no more often than this.
const REREAD: Duration = Duration::from_secs(5);
/// Most addresses of each family that one connection tries: they share its time.
const MOST_ADDRESSES: usize = 2;
/// Most names whose rotation is remembered.
const MOST_NAMES: usize = 1024;

/// Resolves as `/etc/resolv.conf` and `/etc/hosts` say.
#[derive(Clone, Default)]
pub(crate) struct Resolver(Arc<Inner>);

impl Resolver {
    /// For an upstream at this host. Other names, to which a redirect may lead, have no addresses on our own link.
    pub(crate) fn new(own: &str) -> Self {
        let own = own.to_ascii_lowercase();
        Self(Arc::new(Inner {
            own,
            ..Inner::default()
        }))
    }
}

#[derive(Default)]
struct Inner {
    own: String,
    system: Mutex<Option<(Instant, TokioResolver)>>,
    rotation: Mutex<Rotation>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let inner = self.0.clone();
        Box::pin(async move {
            let resolver = inner.system()?;
            let found = match resolver.lookup_ip(name.as_str()).await {
                Ok(found) => found,
                Err(error) => {
                    inner.doubt();
                    return Err(error.into());
                }
            };
            let found = inner.reachable(name.as_str(), found.iter());
            let mut rotation = inner.rotation.lock().unwrap_or_else(PoisonError::into_inner);
            let addresses = rotation.order(name.as_str(), found);
            // Port 0 stands for the one that the address or the scheme says.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

impl Inner {
    fn system(&self) -> Result<TokioResolver, hickory_resolver::net::NetError> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, resolver)) = &*system {
            return Ok(resolver.clone());
        }
        let mut builder = TokioResolver::builder_tokio()?;
        let options = builder.options_mut();
        options.timeout = QUESTION;
        options.negative_max_ttl = Some(NEGATIVE);
        options.positive_max_ttl = Some(POSITIVE);
        let resolver = builder.build()?;
        *system = Some((Instant::now(), resolver.clone()));
        Ok(resolver)
    }

    fn reachable(&self, name: &str, found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        let own = name.eq_ignore_ascii_case(&self.own);
        found.filter(|address| own || !is_link_local(*address)).collect()
    }

    /// The name servers may have changed.
    fn doubt(&self) {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        *system = system.take().filter(|(read, _)| read.elapsed() < REREAD);
    }
}

/// Which address of a name comes first.
#[derive(Default)]
struct Rotation {
    turns: HashMap<String, usize>,
}

impl Rotation {
    /// Sorted first, so that name servers that shuffle do not give the same address twice in a row.
    fn order(&mut self, name: &str, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        addresses.sort_unstable();
        addresses.dedup();
        if self.turns.len() >= MOST_NAMES {
            self.turns.clear();
        }
        let turn = self.turns.entry(name.to_owned()).or_default();
        let now = *turn;
        *turn = turn.wrapping_add(1);
        let (mut four, mut six): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for family in [&mut four, &mut six] {
            let start = now.checked_rem(family.len()).unwrap_or_default();
            family.rotate_left(start);
            family.truncate(MOST_ADDRESSES);
        }
        six.extend(four);
        six
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn each_lookup_begins_with_another_address() {
        let mut rotation = Rotation::default();
        let all = ips(&["10.0.0.3", "10.0.0.1", "10.0.0.2"]);
        let shuffled = ips(&["10.0.0.2", "10.0.0.1", "10.0.0.3"]);
        assert_eq!(rotation.order("a", all.clone()), ips(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(rotation.order("a", shuffled), ips(&["10.0.0.2", "10.0.0.3"]));
        assert_eq!(rotation.order("b", all.clone()), ips(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(rotation.order("a", all.clone()), ips(&["10.0.0.3", "10.0.0.1"]));
        assert_eq!(rotation.order("a", all), ips(&["10.0.0.1", "10.0.0.2"]));
    }

    #[test]
    fn both_families_are_tried() {
        let mut rotation = Rotation::default();
        let found = rotation.order("a", ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"]));
        assert_eq!(found, ips(&["::1", "10.0.0.1", "10.0.0.2"]));
        assert!(rotation.order("a", Vec::new()).is_empty());
    }

    #[test]
    fn only_the_upstream_itself_may_be_on_our_link() {
        let resolver = Resolver::new("Registry.test");
        let found = ips(&["10.0.0.1", "169.254.169.254", "fe80::1"]);
        let reachable = |name| resolver.0.reachable(name, found.iter().copied());
        assert_eq!(reachable("registry.test"), found);
        assert_eq!(reachable("cdn.test"), ips(&["10.0.0.1"]));
    }

    #[tokio::test]
    async fn the_machines_own_name_needs_no_name_server() {
        let resolver = Resolver::default();
        let found = resolver.resolve("localhost".parse().unwrap()).await.unwrap();
        let found: Vec<_> = found.collect();
        assert!(
            !found.is_empty() && found.iter().all(|address| address.ip().is_loopback()),
            "{found:?}"
        );
    }
}
