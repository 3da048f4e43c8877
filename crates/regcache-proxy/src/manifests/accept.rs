//! The `Accept` header, in one spelling for each set of media types. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// How many media types count. Clients of registries send about ten.
const MOST: usize = 24;
/// The longest media type that counts, bytes.
const LONGEST: usize = 128;

/// The media types that a client takes: sorted, in lower case, without parameters, and bounded, since tags are
/// remembered by it. Preferences (`q`) are left out: no registry looks at them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Accept(Arc<str>);

impl Accept {
    /// Reads all `Accept` headers of a request. None, or none that says anything, is the same as `*/*`.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let types: BTreeSet<String> = headers
            .into_iter()
            .flat_map(|header| header.split(','))
            .filter_map(media_type)
            .take(MOST)
            .collect();
        if types.is_empty() {
            return Self::any();
        }
        Self(types.into_iter().collect::<Vec<_>>().join(", ").into())
    }

    /// `*/*`
    pub fn any() -> Self {
        Self("*/*".into())
    }

    /// As it is sent to upstream.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the client takes this.
    pub fn takes(&self, media_type: &str) -> bool {
        let media_type = media_type.to_ascii_lowercase();
        let all_of_kind = media_type.split_once('/').map(|(kind, _)| format!("{kind}/*"));
        self.0
            .split(", ")
            .any(|taken| taken == "*/*" || taken == media_type || Some(taken) == all_of_kind.as_deref())
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One element of the header, unless it is malformed or refused with `q=0`.
fn media_type(text: &str) -> Option<String> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next()?;
    let (kind, subtype) = media_type.split_once('/')?;
    let token = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    let refused = parts.any(|part| {
        let weight = part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("q"));
        weight.is_some_and(|(_, weight)| weight.parse() == Ok(0.0))
    });
    (token(kind) && token(subtype) && media_type.len() <= LONGEST && !refused).then(|| media_type.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], "*/*")]
    #[case(&["", " , "], "*/*")]
    #[case(&["*/*"], "*/*")]
    #[case(&["b/c, a/b;q=0.5", "*/*"], "*/*, a/b, b/c")]
    #[case(&["A/B", "a/b ; charset=utf-8"], "a/b")]
    #[case(&["a/b;q=0, c/d; q=0.0", "e/f;q=0.1"], "e/f")]
    #[case(&["nonsense, a/b, c d/e, /, a/"], "a/b")]
    fn one_spelling_for_each_set(#[case] headers: &[&str], #[case] spelling: &str) {
        assert_eq!(Accept::parse(headers.iter().copied()).as_str(), spelling);
    }

    #[test]
    fn however_much_is_sent_little_counts() {
        let many: Vec<String> = (0..1000).map(|number| format!("a/{number}")).collect();
        let accept = Accept::parse(many.iter().map(String::as_str));
        assert_eq!(accept.as_str().split(", ").count(), MOST);
        let long = format!("a/{}", "b".repeat(LONGEST));
        assert_eq!(Accept::parse([long.as_str()]), Accept::any());
    }

    #[rstest]
    #[case("*/*", "a/b", true)]
    #[case("a/b, c/d", "C/D", true)]
    #[case("a/b", "c/d", false)]
    #[case("application/*", "application/json", true)]
    #[case("application/*", "text/plain", false)]
    #[case("a/b", "", false)]
    fn a_client_takes_what_it_names(#[case] accept: &str, #[case] media_type: &str, #[case] takes: bool) {
        assert_eq!(Accept::parse([accept]).takes(media_type), takes);
    }
}
