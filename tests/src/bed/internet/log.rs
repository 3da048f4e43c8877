//! distribution's access log: one line per request, in Apache's combined format.

use serde::Serialize;

/// A request as the registry logged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query without `?`; empty when there is none.
    pub query: String,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// The User-Agent header: `containerd/v2.4.2` is a node, anything of Go a cache.
    pub agent: String,
}

impl Request {
    /// Whether it is about that repository.
    pub fn is_of(&self, repository: &str) -> bool {
        let rest = self
            .path
            .strip_prefix("/v2/")
            .and_then(|rest| rest.strip_prefix(repository));
        rest.is_some_and(|rest| {
            ["/blobs/", "/manifests/", "/tags/", "/referrers/"]
                .iter()
                .any(|it| rest.starts_with(it))
        })
    }

    /// Whether it fetched a blob of that repository.
    pub fn is_blob_get(&self, repository: &str) -> bool {
        self.method == "GET" && self.is_of(repository) && self.path.contains("/blobs/sha256:")
    }

    /// Whether a node's containerd asked, not a cache.
    pub fn is_from_containerd(&self) -> bool {
        self.agent.starts_with("containerd/")
    }
}

/// The requests in a log; other lines (of the registry's own log) are passed over.
pub fn parse(text: &str) -> Vec<Request> {
    text.lines().filter_map(parse_line).collect()
}

/// `10.77.0.11 - - [21/Nov/2026:15:28:01 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "containerd/v2.4.2"`
fn parse_line(line: &str) -> Option<Request> {
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    words.next().filter(|protocol| protocol.starts_with("HTTP/"))?;
    let mut quoted = rest.split('"');
    let mut numbers = quoted.next()?.split_whitespace();
    let (status, bytes) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        status,
        bytes,
        agent: quoted.nth(2).unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"time="2026-11-21T15:28:01Z" level=warning msg="No HTTP secret provided"
10.77.0.200 - - [21/Nov/2026:15:28:01 +0000] "HEAD /v2/team/app/manifests/1?ns=images.test HTTP/1.1" 200 402 "" "containerd/v2.4.2"
10.77.0.200 - - [21/Nov/2026:15:28:02 +0000] "GET /v2/team/app/blobs/sha256:ab HTTP/2.0" 206 1048576 "" "Go-http-client/2.0"
10.77.0.200 - - [21/Nov/2026:15:28:02 +0000] "PUT /v2/team/app/blobs/uploads/x?digest=sha256:ab HTTP/1.1" 201 0 "" ""
"#;

    #[test]
    fn requests_are_read_and_other_lines_passed_over() {
        let requests = parse(LOG);
        assert_eq!(requests.len(), 3);
        assert_eq!(
            requests[0],
            Request {
                method: "HEAD".to_owned(),
                path: "/v2/team/app/manifests/1".to_owned(),
                query: "ns=images.test".to_owned(),
                status: 200,
                bytes: 402,
                agent: "containerd/v2.4.2".to_owned(),
            }
        );
        assert!(requests[0].is_from_containerd() && !requests[1].is_from_containerd());
    }

    #[test]
    fn only_fetches_of_the_repositorys_own_blobs_count() {
        let requests = parse(LOG);
        let counted = |repository: &str| requests.iter().filter(|it| it.is_blob_get(repository)).count();
        assert_eq!(counted("team/app"), 1);
        assert_eq!(counted("team"), 0);
        assert_eq!(counted("team/app/blobs"), 0);
    }

    #[test]
    fn half_a_line_is_no_request() {
        assert!(parse("10.77.0.200 - - [21/Nov/2026:15:28:01 +0000] \"GET /v2/te").is_empty());
    }
}
