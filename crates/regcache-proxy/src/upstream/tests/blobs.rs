//! Blobs as sources of a transfer.

use rstest::rstest;

use super::*;

async fn answering(make: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Server, Arc<Upstream>) {
    let server = Server::start(move |seen| {
        let reply = make(&seen);
        async move { reply }
    })
    .await;
    let upstream = upstream(settings(&server.url));
    (server, upstream)
}

#[tokio::test]
async fn a_part_is_asked_for_as_the_transfer_wants_it() {
    let (server, upstream) = answering(|seen| blob_reply(seen, &content(1000))).await;
    let span = Span {
        start: 100,
        end: Some(200),
    };
    let opened = sources(&upstream)[0].open(span).await.unwrap();
    assert_eq!((opened.start, opened.total), (100, 1000));
    assert_eq!(drain(opened).await, (content(1000).slice(100..200).to_vec(), true));
    let seen = &server.seen()[0];
    assert_eq!(seen.path, format!("/v2/library/a/blobs/{}", digest()));
    assert_eq!(seen.header("range").as_deref(), Some("bytes=100-199"));
    assert_eq!(seen.header("accept-encoding").as_deref(), Some("identity"));
    assert_eq!(open(&upstream, 1000).await.err(), Some(OpenError::PastEnd(Some(1000))));
}

#[tokio::test]
async fn an_upstream_without_ranges_begins_at_the_beginning() {
    let (_server, upstream) = answering(|_| reply(200, &[], content(1000))).await;
    let opened = open(&upstream, 400).await.unwrap();
    assert_eq!((opened.start, opened.total), (0, 1000));
}

#[tokio::test]
async fn a_blob_without_a_length_cannot_be_used() {
    let (_server, upstream) = answering(|_| chunks(200, &[], vec![Some(b"abc")])).await;
    assert!(matches!(
        open(&upstream, 0).await.err(),
        Some(OpenError::Unreachable(_))
    ));
}

#[tokio::test]
async fn a_body_that_breaks_off_says_so() {
    let broken = || chunks(200, &[("content-length", "100")], vec![Some(b"abc"), None]);
    let (_server, upstream) = answering(move |_| broken()).await;
    let opened = open(&upstream, 0).await.unwrap();
    assert_eq!(opened.total, 100);
    assert_eq!(drain(opened).await, (b"abc".to_vec(), false));
    assert_eq!(upstream.resting(), None, "this body says nothing about the next one");
}

#[rstest]
#[case(403, OpenError::Refused(403))]
#[case(404, OpenError::NotFound)]
#[case(429, OpenError::Refused(429))]
#[case(500, OpenError::Refused(500))]
#[case(503, OpenError::Refused(503))]
#[case(204, OpenError::Refused(204))]
#[tokio::test]
async fn each_refusal_is_told_apart(#[case] status: u16, #[case] expected: OpenError) {
    let (_server, upstream) = answering(move |_| reply(status, &[], "")).await;
    assert_eq!(open(&upstream, 0).await.err(), Some(expected));
}

#[tokio::test]
async fn the_second_source_has_a_connection_of_its_own() {
    let (server, upstream) = answering(|seen| blob_reply(seen, &content(10))).await;
    let [kept, fresh] = sources(&upstream);
    assert_eq!(kept.name(), fresh.name());
    for source in [&kept, &kept, &fresh, &fresh, &kept] {
        drain(source.open(Span::default()).await.unwrap()).await;
    }
    let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 1, 2, 0]);
}

#[tokio::test]
async fn the_size_is_had_without_the_bytes() {
    let (server, upstream) = answering(|seen| blob_reply(seen, &content(1000))).await;
    assert_eq!(upstream.head_blob(&repository(), &digest()).await, Ok(1000));
    assert_eq!(server.seen()[0].method, Method::HEAD);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_signed_address_that_knows_no_head_is_asked_for_one_byte() {
    let (server, upstream) = answering(|seen| match (seen.path.as_str(), &seen.method) {
        ("/signed", &Method::GET) => blob_reply(seen, &content(1000)),
        ("/signed", _) => reply(403, &[], ""),
        _ => reply(
            307,
            &[("location", &format!("http://127.0.0.1:{}/signed", port(seen)))],
            "",
        ),
    })
    .await;
    assert_eq!(
        upstream.head_blob(&repository(), &digest()).await,
        Err(Error::Denied(403)),
        "our own host means it"
    );
    let storage = Server::start_at("127.0.0.2:0".parse().unwrap(), None, |seen| async move {
        match seen.method {
            Method::GET => blob_reply(&seen, &content(1000)),
            _ => reply(403, &[], ""),
        }
    })
    .await;
    let target = storage.url.to_string();
    let (_registry, upstream) = answering(move |_| reply(307, &[("location", &target)], "")).await;
    assert_eq!(upstream.head_blob(&repository(), &digest()).await, Ok(1000));
    assert_eq!(storage.seen()[1].header("range").as_deref(), Some("bytes=0-0"));
    drop(server);
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_not_found() {
    let (server, upstream) = answering(|_| reply(404, &[], "")).await;
    assert_eq!(upstream.head_blob(&repository(), &digest()).await, Err(Error::NotFound));
    assert_eq!(server.seen().len(), 1);
}

fn port(seen: &Seen) -> String {
    seen.header("host").unwrap().rsplit(':').next().unwrap().to_owned()
}
