//! `WWW-Authenticate`, read leniently and within bounds: it is the first thing that an upstream tells us.

/// Longest header that is looked at, bytes.
const LONGEST: usize = 8 * 1024;
/// Most challenges taken from one header.
const MOST_CHALLENGES: usize = 8;
/// Most parameters taken of one challenge.
const MOST_PARAMETERS: usize = 16;

/// One way to prove who we are, as upstream offers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Lower-case: `bearer`, `basic`.
    pub scheme: String,
    /// Names in lower case, values without their quotes, in their order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All challenges of one header, as far as they can be made out. Never fails: what makes no sense ends the reading.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut cursor = Cursor {
        rest: header.as_bytes().get(..LONGEST).unwrap_or(header.as_bytes()),
    };
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        cursor.skip(|byte| byte.is_ascii_whitespace() || byte == b',');
        let name = cursor.token();
        if name.is_empty() {
            return found;
        }
        let challenge = found.last_mut().filter(|_| cursor.at_equals());
        if let Some(challenge) = challenge {
            let Some(value) = cursor.value() else { return found };
            if challenge.parameters.len() < MOST_PARAMETERS {
                challenge.parameters.push((name, value));
            }
        } else if found.len() < MOST_CHALLENGES {
            cursor.skip_token68();
            found.push(Challenge {
                scheme: name,
                parameters: Vec::new(),
            });
        } else {
            return found;
        }
    }
}

/// What is left to be read.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, unwanted: impl Fn(u8) -> bool) {
        self.take(unwanted);
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A name, in lower case.
    fn token(&mut self) -> String {
        String::from_utf8_lossy(self.take(is_token)).to_ascii_lowercase()
    }

    /// Whether the word that was just read is a parameter's name.
    fn at_equals(&mut self) -> bool {
        self.skip(|byte| byte.is_ascii_whitespace());
        self.rest.first() == Some(&b'=')
    }

    /// From the `=` to the end of the value; `None` when its quotes never end.
    fn value(&mut self) -> Option<String> {
        self.skip(|byte| byte == b'=' || byte.is_ascii_whitespace());
        if self.rest.first() != Some(&b'"') {
            let value = self.take(|byte| !byte.is_ascii_whitespace() && byte != b',');
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        let mut value = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Some(String::from_utf8_lossy(&value).into_owned());
                }
                b'\\' => value.extend(bytes.next().map(|(_, byte)| *byte)),
                _ => value.push(*byte),
            }
        }
        None
    }

    /// `Negotiate oRQwEq==, Basic …`: the word after a scheme that is neither a parameter nor the next scheme.
    fn skip_token68(&mut self) {
        let before = self.rest;
        self.skip(|byte| byte == b' ');
        let word = self.take(|byte| is_token(byte) || byte == b'/');
        self.skip(|byte| byte == b'=');
        self.skip(|byte| byte == b' ');
        if word.is_empty() || !matches!(self.rest.first(), None | Some(b',')) {
            self.rest = before;
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn shown(header: &str) -> String {
        let one = |challenge: &Challenge| {
            let pairs = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!(" {name}={value};"));
            format!("{}{}", challenge.scheme, pairs.collect::<String>())
        };
        parse(header).iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    #[rstest]
    #[case(
        r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        "bearer realm=https://auth.docker.io/token; service=registry.docker.io; scope=repository:a/b:pull,push;"
    )]
    #[case("Basic realm=plain", "basic realm=plain;")]
    #[case(
        r#"Basic realm="a", Bearer realm="b" , x=y"#,
        "basic realm=a; | bearer realm=b; x=y;"
    )]
    #[case("Negotiate, Basic realm=x", "negotiate | basic realm=x;")]
    #[case("Negotiate oRQwEq/+==, Basic realm=x", "negotiate | basic realm=x;")]
    #[case("NTLM", "ntlm")]
    #[case(r#"Bearer realm = "a b" ,scope= c"#, "bearer realm=a b; scope=c;")]
    #[case(r#"Bearer realm="a\"b\\c""#, r#"bearer realm=a"b\c;"#)]
    #[case(r#"Bearer REALM="X",,, Service="Y""#, "bearer realm=X; service=Y;")]
    #[case(r#"Bearer realm="never ends"#, "bearer")]
    #[case(r#"Bearer realm="ends in a backslash\"#, "bearer")]
    #[case("", "")]
    #[case("=====", "")]
    #[case("\"Bearer\"", "")]
    #[case(", ,\t,", "")]
    fn challenges_are_read_as_registries_write_them(#[case] header: &str, #[case] expected: &str) {
        assert_eq!(shown(header), expected);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(parse(&"a b=c, ".repeat(100)).len(), MOST_CHALLENGES);
        let many = format!("a {}", "b=c, ".repeat(100));
        assert_eq!(
            parse(&many).iter().map(|one| one.parameters.len()).sum::<usize>(),
            MOST_PARAMETERS
        );
        let long = format!("Bearer realm=\"{}\"", "x".repeat(LONGEST));
        assert_eq!(shown(&long), "bearer");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(header in "(?s).{0,200}") {
            parse(&header);
        }

        #[test]
        fn nothing_like_a_challenge_makes_it_fail(header in r#"[aB=,"\\ /é]{0,60}"#) {
            parse(&header);
        }
    }
}
