//! Single values: a text in, its type out, or what to write instead.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::registry::Glob;

/// The longest DNS name, bytes.
const LONGEST_NAME: usize = 253;
/// Longer than this is a slip of the pen, and clocks overflow.
const LONGEST_TIME: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A duration as people write it: `0s`, `1m`, `168h`.
///
/// # Errors
/// Says how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = regcache_runtime::args::duration(text)?;
    if duration > LONGEST_TIME {
        return Err(format!("{text:?} is more than ten years: write for example 168h"));
    }
    Ok(duration)
}

/// A number of bytes as people write it: `20GiB`, `500MB`, `1048576`. Kubernetes' `20Gi` is understood too.
///
/// # Errors
/// Says how to write it.
pub fn size(text: &str) -> Result<u64, String> {
    let hint = || format!("{text:?} is not a size: write for example 20GiB");
    let digits = text.find(|found: char| !found.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "TB" => 1000_u64.pow(4),
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        _ => return Err(hint()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes.ok_or_else(hint)? {
        0 => Err(format!("{text:?} keeps nothing: write for example 20GiB")),
        bytes => Ok(bytes),
    }
}

/// `docker.io=https://registry-1.docker.io`, or a host alone for its usual address.
///
/// # Errors
/// Says how to write it.
pub fn upstream_flag(text: &str) -> Result<(String, Url), String> {
    if let Some((name, address)) = text.split_once('=') {
        return Ok((host(name)?, url(address)?));
    }
    let host = host(text)?;
    let url = url_of(&host)?;
    Ok((host, url))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address with port: write for example \"[::]:5000\" or 127.0.0.1:5000"))
}

pub(super) fn path(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() {
        return Err("empty: write a path".to_owned());
    }
    Ok(path)
}

/// A registry as image names spell it: `docker.io`, `registry.corp:5000`.
pub(super) fn host(text: &str) -> Result<String, String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_label = |label: &str| {
        alphanumeric(label.bytes().next())
            && alphanumeric(label.bytes().next_back())
            && label.bytes().all(|byte| alphanumeric(Some(byte)) || byte == b'-')
    };
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let name_fits = match literal {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.len() <= LONGEST_NAME && name.split('.').all(is_label),
    };
    if name_fits && port_fits {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{:?} is not a registry's host: write for example docker.io or registry.corp:5000",
        without_userinfo(text)
    ))
}

/// Where a registry is that is named by its host alone.
pub(super) fn url_of(host: &str) -> Result<Url, String> {
    // Docker Hub's registry is not where its name points.
    match host {
        "docker.io" => url("https://registry-1.docker.io"),
        host => url(&format!("https://{host}")),
    }
}

pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = any_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "contains a user name or a password: write them into files and name these under credentials".into(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{text:?} has a query or a fragment: write for example https://registry-1.docker.io"
        ));
    }
    Ok(url)
}

/// A proxy's URL; it may carry a password, so it is never repeated in a message.
pub(super) fn proxy(text: &str) -> Result<Url, String> {
    any_url(text).map_err(|_| "not a URL: write for example http://proxy.corp:3128".to_owned())
}

fn any_url(text: &str) -> Result<Url, String> {
    let hint = || {
        format!(
            "{:?} is not a URL: write for example https://registry-1.docker.io",
            without_userinfo(text)
        )
    };
    let url = Url::parse(text).map_err(|_| hint())?;
    (matches!(url.scheme(), "http" | "https") && url.has_host())
        .then_some(url)
        .ok_or_else(hint)
}

/// What comes after the last `@`: a text that is no URL may contain a password all the same.
fn without_userinfo(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

/// Repositories.
pub(super) fn pattern(text: &str) -> Result<Glob, String> {
    text.parse()
        .map_err(|error| format!("{text:?} is {error}: write for example library/* or team/app"))
}
