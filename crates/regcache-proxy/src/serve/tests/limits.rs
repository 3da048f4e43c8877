//! What a client may cost.

use super::*;

#[tokio::test]
async fn header_bombs_are_answered_431() {
    let server = Server::start(Limits::default(), None, |_| ok("never")).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(100_000));
    for bomb in [long, many, target] {
        let mut client = server.connect().await;
        client.write_all(bomb.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn request_that_trickles_in_is_ended() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start(limits, None, |_| ok("ok")).await;
    let mut client = server.connect().await;
    // A whole request first: the clock begins anew with each.
    get(&mut client, "/").await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    server.quiet().await;
}

#[tokio::test]
async fn idle_connection_is_ended_and_a_busy_one_is_not() {
    let limits = Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start(limits, None, |_| {
        let late = stream::once(async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(Piece::Bytes(Bytes::from_static(b"late")))
        });
        Response::builder()
            .header("content-length", 4)
            .body(Body::Pieces(late.boxed()))
            .unwrap()
    })
    .await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    assert_eq!(get(&mut busy, "/").await.1, b"late");
    assert_eq!(idle.read(&mut [0; 10]).await.unwrap(), 0);
    server.quiet().await;
}

#[tokio::test]
async fn client_that_takes_nothing_any_more_is_ended() {
    let (stored, _) = file(64 * 1024 * 1024);
    let limits = Limits {
        stalled: Duration::from_millis(100),
        linger: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start(limits, None, move |_| {
        let (file, len) = (Arc::clone(&stored), 64 * 1024 * 1024);
        pieces(len, vec![Ok(Piece::File { file, offset: 0, len })])
    })
    .await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head(&mut client).await;
    server.quiet().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Server::start(limits, None, |_| ok("ok")).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    get(&mut first, "/").await;
    get(&mut second, "/").await;
    assert!(matches!(server.connect().await.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    drop(first);
    while server.metrics.open.get() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    get(&mut second, "/").await;
    get(&mut server.connect().await, "/").await;
}

#[tokio::test]
async fn request_with_a_body_is_answered_and_costs_nothing() {
    let server = Server::start(Limits::default(), None, |_| ok("ok")).await;
    let mut client = server.connect().await;
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(length(&head(&mut client).await), 2);
}
