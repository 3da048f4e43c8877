//! The `Link` header of a list that goes on, turned from upstream's address into ours. Pure.

use super::ask::Named;

/// The link to the next page at our own address: of upstream's link only the query is kept, path and upstream are those
/// that the client asked with (`path` is what follows `/v2/` and the upstream). `None`: no link to a next page.
pub fn here(link: &str, path: &str, named: Option<&Named>) -> Option<String> {
    let target = next(link)?;
    let (_, query) = target.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let mut ours = form_urlencoded::Serializer::new(String::new());
    ours.extend_pairs(form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key != "ns"));
    let prefix = match named {
        Some(Named::Query(host)) => {
            ours.append_pair("ns", host);
            String::new()
        }
        Some(Named::Prefix(host)) => format!("{host}/"),
        None => String::new(),
    };
    Some(format!("</v2/{prefix}{path}?{}>; rel=\"next\"", ours.finish()))
}

/// The target of the one among several links that is the next page.
fn next(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (target, after) = rest.trim_start_matches([' ', ',']).strip_prefix('<')?.split_once('>')?;
        let (parameters, others) = after.split_at(after.find('<').unwrap_or(after.len()));
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("</v2/up/a/tags/list?last=b&n=2>; rel=\"next\"", "last=b&n=2&ns=docker.io")]
    #[case(
        "<https://registry.corp/v2/a/tags/list?n=2&last=b%26c>;rel=next",
        "n=2&last=b%26c&ns=docker.io"
    )]
    #[case(
        "</v2/a/tags/list?last=a>; rel=\"prev\", </v2/a/tags/list?last=b>; rel=\"next\"",
        "last=b&ns=docker.io"
    )]
    #[case("<?last=b&ns=evil>; title=x; REL=\"Next\"", "last=b&ns=docker.io")]
    fn the_next_page_is_at_our_address(#[case] link: &str, #[case] query: &str) {
        let named = Named::Query("docker.io".into());
        let ours = format!("</v2/library/a/tags/list?{query}>; rel=\"next\"");
        assert_eq!(here(link, "library/a/tags/list", Some(&named)), Some(ours));
    }

    #[test]
    fn the_upstream_is_named_as_it_was() {
        let link = "</v2/a/tags/list?last=b>; rel=\"next\"";
        let prefix = Named::Prefix("docker.io".into());
        let ours = "</v2/docker.io/a/tags/list?last=b>; rel=\"next\"";
        assert_eq!(here(link, "a/tags/list", Some(&prefix)).as_deref(), Some(ours));
        assert_eq!(here(link, "a/tags/list", None).as_deref(), Some(link));
    }

    #[rstest]
    #[case("")]
    #[case("</v2/a/tags/list?last=b>; rel=\"prev\"")]
    #[case("</v2/a/tags/list?last=b>")]
    #[case("</v2/a/tags/list>; rel=\"next\"")]
    #[case("/v2/a/tags/list?last=b; rel=\"next\"")]
    fn everything_else_is_no_next_page(#[case] link: &str) {
        assert_eq!(here(link, "a/tags/list", None), None);
    }
}
