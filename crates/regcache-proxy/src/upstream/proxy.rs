//! Which proxy a request goes through: the upstream's own, else what the environment says.

use reqwest::{NoProxy, Proxy};
use url::Url;

use super::settings::SettingsError;

/// How a proxy for one scheme is made.
type Make = fn(Url) -> reqwest::Result<Proxy>;

/// The proxies of one upstream. Its own one is for everything, whatever `NO_PROXY` says.
///
/// `environment` is asked for both spellings of each variable, lower case first, as most clients do.
pub(crate) fn proxies(
    own: Option<&Url>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Proxy>, SettingsError> {
    if let Some(own) = own {
        return Ok(vec![
            Proxy::all(usable("the upstream's proxy", own.as_str())?).map_err(|_| unusable("the upstream's proxy"))?,
        ]);
    }
    let variable = |name: &str| {
        let found = environment(&name.to_ascii_lowercase()).or_else(|| environment(name));
        found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let none = variable("NO_PROXY").and_then(|list| NoProxy::from_string(&list));
    let mut proxies = Vec::new();
    for (name, make) in [
        ("HTTPS_PROXY", Proxy::https as Make),
        ("HTTP_PROXY", Proxy::http as Make),
    ] {
        if let Some(text) = variable(name) {
            let proxy = make(usable(name, &text)?).map_err(|_| unusable(name))?;
            proxies.push(proxy.no_proxy(none.clone()));
        }
    }
    Ok(proxies)
}

/// An address, also one without its scheme. What is wrong with it is not said in its own words: there may be a
/// password in it.
fn usable(name: &str, text: &str) -> Result<Url, SettingsError> {
    let spelt = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&spelt)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| unusable(name))
}

fn unusable(name: &str) -> SettingsError {
    SettingsError::Proxy(format!("{name} has to be http://host:port or https://host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &'static [(&str, &str)], own: Option<&str>) -> Result<usize, String> {
        let get = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        };
        let own = own.map(|text| text.parse().unwrap());
        proxies(own.as_ref(), get)
            .map(|found| found.len())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_upstreams_own_proxy_stands_alone() {
        assert_eq!(
            from(
                &[("HTTPS_PROXY", "http://a:1"), ("HTTP_PROXY", "http://a:1")],
                Some("http://b:2")
            ),
            Ok(1)
        );
    }

    #[test]
    fn the_environment_is_read_in_both_spellings() {
        assert_eq!(from(&[], None), Ok(0));
        assert_eq!(
            from(&[("https_proxy", "a:1"), ("HTTP_PROXY", "http://a:1")], None),
            Ok(2)
        );
        assert_eq!(from(&[("HTTPS_PROXY", " ")], None), Ok(0));
    }

    #[test]
    fn an_unusable_proxy_is_told_without_its_password() {
        let error = from(&[("HTTPS_PROXY", "socks5://u:secret@a:1")], None).unwrap_err();
        assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
    }
}
