//! Which repositories of an upstream are served.

use std::str::FromStr;

/// A pattern for repository names. It has to match the whole name; `*` stands for any characters, none included and
/// `/` too, and everything else for itself: `library/*` is all that lies below `library/`, at any depth, and not
/// `library` itself; `*/debug` is every repository whose last part is `debug`; `*` is everything. So a deny list cannot
/// be passed by one more `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// The pattern can match no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pattern for repositories: only the characters of their names, and `*` for any of them")]
pub struct BadGlob;

/// The lists of one upstream. What is denied is never served; what is left is served when it is allowed, and an empty
/// list allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryLists {
    /// Empty: all.
    pub allow: Vec<Glob>,
    /// Stronger than `allow`.
    pub deny: Vec<Glob>,
}

impl RepositoryLists {
    /// Whether the repository is served.
    pub fn permit(&self, repository: &str) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(repository));
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }
}

impl FromStr for Glob {
    type Err = BadGlob;

    fn from_str(text: &str) -> Result<Self, BadGlob> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"*/._-".contains(&byte);
        let usable = !text.is_empty() && text.len() <= 255 && text.bytes().all(fits);
        usable.then(|| Self(text.into())).ok_or(BadGlob)
    }
}

impl Glob {
    /// Whether the whole name matches. Takes at most the product of both lengths in steps.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            // No `*` at all.
            return rest.is_empty();
        };
        // Each part as early as it can be had leaves the most for those after it.
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("library/*", "library/nginx", true)]
    #[case("library/*", "library/a/b", true)]
    #[case("library/*", "library", false)]
    #[case("library/*", "mylibrary/nginx", false)]
    #[case("library/nginx", "library/nginx", true)]
    #[case("library/nginx", "library/nginx2", false)]
    #[case("library/nginx", "a/library/nginx", false)]
    #[case("*", "anything/at/all", true)]
    #[case("*/debug", "a/b/debug", true)]
    #[case("*/debug", "debug", false)]
    #[case("a*b*c", "abc", true)]
    #[case("a*b*c", "axbxbxc", true)]
    #[case("a*b*c", "acb", false)]
    #[case("a*a", "a", false)]
    #[case("ab*ba", "aba", false)]
    #[case("**", "x", true)]
    fn a_pattern_matches_whole_names(#[case] glob: &str, #[case] name: &str, #[case] matches: bool) {
        assert_eq!(glob.parse::<Glob>().unwrap().matches(name), matches);
    }

    #[test]
    fn what_can_be_no_pattern_is_refused() {
        for bad in ["", "Library/*", "a b", "docker.io:443/*", "a?", "[ab]"] {
            assert_eq!(bad.parse::<Glob>(), Err(BadGlob), "{bad}");
        }
    }

    #[test]
    fn denied_is_stronger_than_allowed_and_no_list_allows_all() {
        let globs = |list: &[&str]| list.iter().map(|glob| glob.parse().unwrap()).collect();
        let lists = RepositoryLists {
            allow: globs(&["library/*", "team/*"]),
            deny: globs(&["team/secret*"]),
        };
        assert!(lists.permit("library/nginx") && lists.permit("team/app"));
        assert!(!lists.permit("team/secret") && !lists.permit("team/secret/x") && !lists.permit("other"));
        assert!(RepositoryLists::default().permit("other"));
    }
}
