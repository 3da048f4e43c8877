//! The `Range` header, as far as blobs need it. Pure.
//!
//! One range of bytes is honoured. Several at once, other units and what cannot be read are ignored, as RFC 9110 lets
//! a server do: the answer is then the whole blob with status 200.

use regcache_transfer::Span;

/// The one range that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `bytes=5-` or `bytes=5-9`.
    From(Span),
    /// `bytes=-5`: that many bytes at the end.
    Last(u64),
}

/// No byte of the range is in the blob: status 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsatisfiable;

impl Range {
    /// Reads the header's value. `None`: to be ignored.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, range) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim_matches([' ', '\t']).split_once('-')?;
        if first.is_empty() {
            return number(last).map(Self::Last);
        }
        let start = number(first)?;
        let end = if last.is_empty() {
            None
        } else {
            let last = number(last)?;
            if last < start {
                return None;
            }
            // Behind the last byte that any blob can have: to the end.
            last.checked_add(1)
        };
        Some(Self::From(Span { start, end }))
    }

    /// The bytes meant, in a blob of `total` bytes. The end is left as it was asked for: it may lie behind the blob's.
    pub fn within(self, total: u64) -> Result<Span, Unsatisfiable> {
        let (start, end) = match self {
            Self::From(span) => (span.start, span.end),
            Self::Last(0) => return Err(Unsatisfiable),
            Self::Last(count) => (total.saturating_sub(count), None),
        };
        if start < total {
            Ok(Span { start, end })
        } else {
            Err(Unsatisfiable)
        }
    }
}

/// Digits only; one too large to be told is larger than any blob, and means the same as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bytes=0-", 0, None)]
    #[case("bytes=5-9", 5, Some(10))]
    #[case("bytes=5-5", 5, Some(6))]
    #[case("Bytes= 5-9 ", 5, Some(10))]
    #[case("bytes=5-18446744073709551615", 5, None)]
    #[case("bytes=5-99999999999999999999999", 5, None)]
    #[case("bytes=99999999999999999999999-", u64::MAX, None)]
    fn one_plain_range_is_honoured(#[case] header: &str, #[case] start: u64, #[case] end: Option<u64>) {
        assert_eq!(Range::parse(header), Some(Range::From(Span { start, end })));
    }

    #[rstest]
    #[case("")]
    #[case("bytes")]
    #[case("bytes=")]
    #[case("bytes=-")]
    #[case("bytes=a-b")]
    #[case("bytes=+5-9")]
    #[case("bytes=5-+9")]
    #[case("bytes=9-5")]
    #[case("bytes=1-2,4-5")]
    #[case("bytes=1-2, -5")]
    #[case("bytes=--5")]
    #[case("bytes=0x5-")]
    #[case("items=1-2")]
    #[case("bytes=1-2-3")]
    fn everything_else_is_ignored(#[case] header: &str) {
        assert_eq!(Range::parse(header), None);
    }

    #[rstest]
    #[case("bytes=0-", 10, Ok((0, None)))]
    #[case("bytes=9-9", 10, Ok((9, Some(10))))]
    #[case("bytes=9-20", 10, Ok((9, Some(21))))]
    #[case("bytes=10-", 10, Err(Unsatisfiable))]
    #[case("bytes=-3", 10, Ok((7, None)))]
    #[case("bytes=-30", 10, Ok((0, None)))]
    #[case("bytes=-0", 10, Err(Unsatisfiable))]
    #[case("bytes=-5", 0, Err(Unsatisfiable))]
    #[case("bytes=0-", 0, Err(Unsatisfiable))]
    fn a_range_is_in_the_blob_or_cannot_be_satisfied(
        #[case] header: &str,
        #[case] total: u64,
        #[case] meant: Result<(u64, Option<u64>), Unsatisfiable>,
    ) {
        let range = Range::parse(header).unwrap();
        assert_eq!(range.within(total), meant.map(|(start, end)| Span { start, end }));
    }

    proptest! {
        #[test]
        fn a_range_that_is_satisfied_has_bytes(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", total: u64) {
            if let Some(range) = Range::parse(&header)
                && let Ok(span) = range.within(total)
            {
                prop_assert!(span.start < total);
                prop_assert!(span.end.is_none_or(|end| end > span.start));
            }
        }
    }
}
