//! Where an upstream sends us, and who may be told who we are there.
//!
//! Another host is one whose scheme, name or port differs: it gets no credentials and no token. Registries redirect
//! blobs to storage that signs its addresses instead.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderValue;
use url::{Host, Url};

use super::error::Error;

/// Most redirects of one request.
pub(crate) const MOST: usize = 5;

/// Whether the two are one host, port and scheme.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// The address that a `Location` header means.
///
/// From TLS to plain text nobody is followed: signed addresses and manifests would be open to whoever listens, and a
/// hostile answer could reach the plain services of our own network. Nor to our own machine or link, where a cloud's
/// metadata service is, except from there.
pub(crate) fn target(from: &Url, location: Option<&HeaderValue>) -> Result<Url, Error> {
    let malformed = |what: &str| Error::Malformed(format!("its redirect {what}"));
    let location = location.and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| malformed("has no address"))?;
    let mut target = from.join(location).map_err(|_| malformed("leads to no address"))?;
    match (from.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(malformed("leads from TLS to plain text")),
        _ => return Err(malformed("leads to what is not HTTP")),
    }
    if is_near(&target) && !is_near(from) {
        return Err(malformed("leads to our own machine or link"));
    }
    // A name and a password in an address would be sent as credentials.
    let cleaned = target.set_username("").and_then(|()| target.set_password(None));
    cleaned.map_err(|()| malformed("leads to no host"))?;
    target.set_fragment(None);
    Ok(target)
}

fn is_near(url: &Url) -> bool {
    let near = |address: IpAddr| is_link_local(address) || address.is_loopback() || address.is_unspecified();
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => near(address.into()),
        Some(Host::Ipv6(address)) => near(plain(address)),
        None => false,
    }
}

/// Whether only this machine and its neighbours can mean anything by the address.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => match plain(address) {
            IpAddr::V6(address) => address.is_unicast_link_local(),
            IpAddr::V4(address) => address.is_link_local(),
        },
    }
}

/// `::ffff:127.0.0.1` is `127.0.0.1`.
fn plain(address: Ipv6Addr) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://cdn.io/x?sig=1#part", Some("https://cdn.io/x?sig=1"))]
    #[case("/y", Some("https://a.io/y"))]
    #[case("//b.io/z", Some("https://b.io/z"))]
    #[case("https://user:pass@cdn.io/x", Some("https://cdn.io/x"))]
    #[case("http://a.io/x", None)]
    #[case("file:///etc/passwd", None)]
    #[case("https://", None)]
    fn a_location_is_resolved_against_where_it_came_from(#[case] location: &str, #[case] expected: Option<&str>) {
        let from = "https://a.io/v2/b/blobs/c".parse().unwrap();
        let found = target(&from, Some(&HeaderValue::from_str(location).unwrap())).ok();
        assert_eq!(found.as_ref().map(Url::as_str), expected);
        assert!(target(&from, None).is_err());
    }

    #[rstest]
    #[case("http://a.io", "http://169.254.169.254/latest/meta-data", false)]
    #[case("http://a.io", "http://[fe80::1]/", false)]
    #[case("http://a.io", "http://[::ffff:169.254.169.254]/", false)]
    #[case("http://a.io", "http://2852039166/", false)]
    #[case("http://a.io", "http://127.0.0.1:5001/nodes", false)]
    #[case("http://10.0.0.1", "http://[::1]/", false)]
    #[case("http://a.io", "http://0.0.0.0/", false)]
    #[case("https://a.io", "https://localhost./", false)]
    #[case("http://a.io", "http://10.0.0.1/", true)]
    #[case("http://127.0.0.1:1", "http://127.0.0.1:2/", true)]
    #[case("http://localhost", "http://127.0.0.2/", true)]
    fn nobody_from_elsewhere_sends_us_to_our_own_machine(
        #[case] from: &str,
        #[case] location: &str,
        #[case] fits: bool,
    ) {
        let location = HeaderValue::from_str(location).unwrap();
        assert_eq!(target(&from.parse().unwrap(), Some(&location)).is_ok(), fits);
    }

    #[rstest]
    #[case("https://a.io/x", "https://A.io:443/y", true)]
    #[case("https://a.io", "https://a.io:444", false)]
    #[case("https://a.io", "http://a.io", false)]
    #[case("https://a.io", "https://b.a.io", false)]
    #[case("http://127.0.0.1:1", "http://127.0.0.2:1", false)]
    fn another_host_is_another_name_port_or_scheme(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        assert_eq!(same_origin(&one.parse().unwrap(), &other.parse().unwrap()), same);
    }
}
