//! What a helper says of itself with a probe, as headers.
//!
//! Whoever can reach a cache can send such headers: reading them costs a bounded time and memory, and what they say is
//! shown to people, never acted on by the cache.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// The node's name.
pub const NODE: HeaderName = HeaderName::from_static("regcache-node");
/// The hash of the plan in use.
pub const PLAN: HeaderName = HeaderName::from_static("regcache-plan");
/// containerd's version, as its own requests say it; absent while it has not asked.
pub const CONTAINERD: HeaderName = HeaderName::from_static("regcache-containerd");
/// The upstreams: `docker.io Published; ghcr.io Skipped somebody else's hosts.toml is there`.
pub const UPSTREAMS: HeaderName = HeaderName::from_static("regcache-upstreams");

/// Upstreams in one report; the API allows no more in one RegistryCache.
pub const MAX_UPSTREAMS: usize = 64;
/// A name of a node or an upstream, bytes: what DNS allows, and a port.
const MAX_NAME: usize = 260;
/// A hash, a version, a state, bytes.
const MAX_WORD: usize = 64;
/// A reason, bytes: enough for a file's path and a few words.
const MAX_REASON: usize = 160;
/// [`UPSTREAMS`] in all, bytes: below what servers and proxies accept as headers by default (8 KiB for some).
const MAX_LIST: usize = 6 * 1024;

/// What a helper says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// The hash of the plan in use.
    pub plan: String,
    /// containerd's version as seen in its own requests; `None`: it has not asked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containerd: Option<String>,
    /// Each upstream of the plan by host.
    #[serde(default)]
    pub upstreams: BTreeMap<String, UpstreamReport>,
}

/// One upstream on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamReport {
    /// A constant name: `Published`, `Skipped`, ...
    pub state: String,
    /// Why, for people; empty when the state says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Report {
    /// The report as headers. What would not be read back is put right first: other than visible ASCII becomes `?`,
    /// too long texts are cut, and of too many or too long upstreams the reasons go first, then the last upstreams.
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        let mut insert = |name: HeaderName, text: &str| {
            // Only visible ASCII is left, so it is a value always.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        insert(NODE, &word(&self.node, MAX_NAME));
        insert(PLAN, &word(&self.plan, MAX_WORD));
        if let Some(version) = &self.containerd {
            insert(CONTAINERD, &word(version, MAX_WORD));
        }
        if !self.upstreams.is_empty() {
            insert(UPSTREAMS, &list(&self.upstreams));
        }
        headers
    }

    /// The report in a probe's headers. `None` when there is none, or one that [`Report::to_headers`] does not write.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name).map(HeaderValue::to_str).transpose().ok();
        Some(Self {
            node: read_word(text(NODE)??, MAX_NAME)?,
            plan: read_word(text(PLAN)??, MAX_WORD)?,
            containerd: match text(CONTAINERD)? {
                Some(version) => Some(read_word(version, MAX_WORD)?),
                None => None,
            },
            upstreams: read_list(text(UPSTREAMS)?.unwrap_or_default())?,
        })
    }
}

fn list(upstreams: &BTreeMap<String, UpstreamReport>) -> String {
    let entries: Vec<(String, String)> = upstreams
        .iter()
        .take(MAX_UPSTREAMS)
        .map(|(host, upstream)| {
            let bare = format!("{} {}", word(host, MAX_NAME), word(&upstream.state, MAX_WORD));
            (bare, reason(&upstream.reason))
        })
        .collect();
    // All names first: a reason may take only what they leave.
    let names: usize = entries.iter().map(|(bare, _)| bare.len() + 2).sum();
    let mut room = MAX_LIST.saturating_sub(names);
    let mut list = String::new();
    for (bare, reason) in entries {
        if list.len() + bare.len() + 2 > MAX_LIST {
            break;
        }
        if !list.is_empty() {
            list.push_str("; ");
        }
        list.push_str(&bare);
        if !reason.is_empty() && reason.len() < room {
            room -= reason.len() + 1;
            list.push(' ');
            list.push_str(&reason);
        }
    }
    list
}

fn read_list(list: &str) -> Option<BTreeMap<String, UpstreamReport>> {
    if list.len() > MAX_LIST {
        return None;
    }
    let mut upstreams = BTreeMap::new();
    for entry in list.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (host, rest) = entry.split_once(' ')?;
        let (state, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        if upstreams.len() == MAX_UPSTREAMS || reason.len() > MAX_REASON {
            return None;
        }
        let upstream = UpstreamReport {
            state: read_word(state, MAX_WORD)?,
            reason: reason.trim().to_owned(),
        };
        upstreams.insert(read_word(host, MAX_NAME)?, upstream);
    }
    Some(upstreams)
}

/// Never empty, without what separates fields.
fn word(text: &str, most: usize) -> String {
    let clean = |char: char| if is_word(char) { char } else { '?' };
    let text: String = text.chars().take(most).map(clean).collect();
    if text.is_empty() { "?".to_owned() } else { text }
}

fn read_word(text: &str, most: usize) -> Option<String> {
    (!text.is_empty() && text.len() <= most && text.chars().all(is_word)).then(|| text.to_owned())
}

fn is_word(char: char) -> bool {
    char.is_ascii_graphic() && char != ';'
}

fn reason(text: &str) -> String {
    let clean = |char: char| match char {
        ';' => ',',
        ' '..='~' => char,
        char if char.is_whitespace() => ' ',
        _ => '?',
    };
    let text: String = text.trim().chars().take(MAX_REASON).map(clean).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(hosts: &[(&str, &str, &str)]) -> Report {
        let upstream = |(host, state, reason): &(&str, &str, &str)| {
            let (state, reason) = ((*state).to_owned(), (*reason).to_owned());
            ((*host).to_owned(), UpstreamReport { state, reason })
        };
        Report {
            node: "ip-10-0-0-7.eu-west-1.compute.internal".into(),
            plan: "0123456789abcdef".into(),
            containerd: Some("2.4.1".into()),
            upstreams: hosts.iter().map(upstream).collect(),
        }
    }

    #[test]
    fn report_reads_back_and_can_be_read_by_people() {
        let report = report(&[
            ("docker.io", "Published", ""),
            ("registry.corp:5000", "Skipped", "somebody else's hosts.toml is there"),
        ]);
        let headers = report.to_headers();
        assert_eq!(
            headers[UPSTREAMS],
            "docker.io Published; registry.corp:5000 Skipped somebody else's hosts.toml is there"
        );
        assert_eq!(Report::from_headers(&headers), Some(report.clone()));
        let document = serde_json::to_string(&report).unwrap();
        assert!(document.contains(r#""docker.io":{"state":"Published"}"#), "{document}");
        assert_eq!(serde_json::from_str::<Report>(&document).unwrap(), report);
    }

    #[test]
    fn sixty_four_upstreams_with_long_reasons_keep_their_states() {
        let mut long = report(&[]);
        for number in 0..70 {
            let (state, reason) = ("Skipped".to_owned(), "x".repeat(500));
            long.upstreams.insert(
                format!("registry-{number:02}.corp.example.com:5000"),
                UpstreamReport { state, reason },
            );
        }
        let read = Report::from_headers(&long.to_headers()).unwrap();
        assert_eq!(read.upstreams.len(), MAX_UPSTREAMS);
        assert!(read.upstreams.values().all(|upstream| upstream.state == "Skipped"));
        assert!(
            read.upstreams
                .values()
                .any(|upstream| upstream.reason.len() == MAX_REASON)
        );
    }

    #[test]
    fn what_is_no_report_gives_none() {
        let good = report(&[("a", "Published", "")]).to_headers();
        let with = |name: HeaderName, value: &[u8]| {
            let mut headers = good.clone();
            headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            Report::from_headers(&headers)
        };
        for (name, value) in [
            (NODE, &b""[..]),
            (NODE, b"a b"),
            (NODE, b"n\xc3\xb6de"),
            (NODE, &[b'a'; 300]),
            (PLAN, b"a;b"),
            (CONTAINERD, b""),
            (UPSTREAMS, b"docker.io"),
            (UPSTREAMS, b"docker.io Published; ; ghcr.io"),
            (UPSTREAMS, &[b'a'; 10_000]),
            (UPSTREAMS, format!("a S {}", "x".repeat(1000)).as_bytes()),
        ] {
            assert_eq!(
                with(name.clone(), value),
                None,
                "{name}: {}",
                String::from_utf8_lossy(value)
            );
        }
        let many = (0..65)
            .map(|number| format!("h{number} S"))
            .collect::<Vec<_>>()
            .join(";");
        assert_eq!(with(UPSTREAMS, many.as_bytes()), None);
        for missing in [NODE, PLAN] {
            let mut headers = good.clone();
            headers.remove(missing);
            assert_eq!(Report::from_headers(&headers), None);
        }
    }

    fn clean() -> impl Strategy<Value = Report> {
        let upstream = ("[!-:<-~]{1,64}", "([!-:<-~]([ -:<-~]{0,158}[!-:<-~])?)?");
        let upstream = upstream.prop_map(|(state, reason)| UpstreamReport { state, reason });
        let upstreams = prop::collection::btree_map("[a-z0-9.:-]{1,60}", upstream, 0..20);
        let node = "[!-:<-~]{1,260}";
        (node, "[0-9a-f]{16}", prop::option::of("[!-:<-~]{1,64}"), upstreams).prop_map(
            |(node, plan, containerd, upstreams)| Report {
                node,
                plan,
                containerd,
                upstreams,
            },
        )
    }

    fn any_report() -> impl Strategy<Value = Report> {
        let upstream = (".{0,80}", ".{0,200}").prop_map(|(state, reason)| UpstreamReport { state, reason });
        let upstreams = prop::collection::btree_map(".{0,300}", upstream, 0..70);
        (".{0,300}", ".{0,80}", prop::option::of(".{0,80}"), upstreams).prop_map(
            |(node, plan, containerd, upstreams)| Report {
                node,
                plan,
                containerd,
                upstreams,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(report in clean()) {
            prop_assert_eq!(Report::from_headers(&report.to_headers()), Some(report));
        }

        /// Whatever a helper has to say, its report arrives, and as one that can be passed on as it is.
        #[test]
        fn any_report_is_written_so_that_it_is_read(report in any_report()) {
            let read = Report::from_headers(&report.to_headers());
            prop_assert!(read.is_some());
            prop_assert_eq!(read.as_ref().and_then(|read| Report::from_headers(&read.to_headers())), read);
        }

        #[test]
        fn garbage_is_no_panic(
            values in prop::collection::vec((0..4_usize, prop::collection::vec(32..=255_u8, 0..400)), 0..6),
        ) {
            let names = [NODE, PLAN, CONTAINERD, UPSTREAMS];
            let mut headers = report(&[("a", "Published", "")]).to_headers();
            for (which, value) in values {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.insert(names[which].clone(), value);
                }
            }
            drop(Report::from_headers(&headers));
        }
    }
}
