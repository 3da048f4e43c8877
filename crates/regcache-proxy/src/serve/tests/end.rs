//! Ends: short ones by FIN, the shutdown's, never a reset.

use super::*;

fn short(file: &Arc<File>) -> Response<Body> {
    let (file, len) = (Arc::clone(file), 600 * 1024);
    pieces(
        1_000_000,
        vec![
            Ok(Piece::Bytes(Bytes::from_static(b"begin"))),
            Ok(Piece::File { file, offset: 0, len }),
            Err(ShortEnd),
        ],
    )
}

#[tokio::test]
async fn short_end_is_a_fin_after_all_bytes_there_were_even_with_unread_input() {
    let (stored, content) = file(600 * 1024);
    let server = Server::start(Limits::default(), None, move |_| short(&stored)).await;
    let mut client = server.connect().await;
    // More than a request that is never read: an unread byte makes a careless close an RST.
    let mut requests = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3);
    requests.extend(b"x".repeat(40_000));
    client.write_all(&requests).await.unwrap();
    assert_eq!(length(&head(&mut client).await), 1_000_000);
    let mut body = Vec::new();
    client.read_to_end(&mut body).await.expect("an end, not a reset");
    assert_eq!(&body[..5], b"begin");
    assert!(body[5..] == content);
}

#[tokio::test]
async fn short_end_before_the_first_byte_still_sends_the_head() {
    let server = Server::start(Limits::default(), None, |_| pieces(10, vec![Err(ShortEnd)])).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(length(&head(&mut client).await), 10);
    assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn body_with_fewer_bytes_than_promised_ends_by_fin() {
    let server = Server::start(Limits::default(), None, |_| {
        pieces(10, vec![Ok(Piece::Bytes(Bytes::from_static(b"abc")))])
    })
    .await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head(&mut client).await;
    let mut body = Vec::new();
    client.read_to_end(&mut body).await.unwrap();
    assert_eq!(body, b"abc");
}

#[tokio::test]
async fn file_that_is_shorter_than_it_should_be_ends_by_fin() {
    let (stored, content) = file(100_000);
    let server = Server::start(Limits::default(), None, move |_| {
        let (file, len) = (Arc::clone(&stored), 200_000);
        pieces(len, vec![Ok(Piece::File { file, offset: 0, len })])
    })
    .await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head(&mut client).await;
    let mut body = Vec::new();
    client.read_to_end(&mut body).await.unwrap();
    assert!(body == content);
}

#[tokio::test]
async fn shutdown_lets_a_body_finish_and_refuses_new_clients() {
    let (stored, content) = file(20 * 1024 * 1024);
    let len = content.len() as u64;
    let server = Server::start(Limits::default(), None, move |_| {
        let file = Arc::clone(&stored);
        pieces(len, vec![Ok(Piece::File { file, offset: 0, len })])
    })
    .await;
    let mut idle = server.connect().await;
    let mut running = server.connect().await;
    get(&mut idle, "/").await;
    running.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head(&mut running).await;
    server.shutdown.cancel();
    // An idle connection is ended at once.
    assert_eq!(idle.read(&mut [0; 10]).await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
    let mut body = Vec::new();
    running.read_to_end(&mut body).await.unwrap();
    assert!(body == content);
    server.task.await.unwrap();
}

#[tokio::test]
async fn body_that_outlasts_the_grace_period_ends_by_fin() {
    let limits = Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start(limits, None, |_| {
        let first = stream::iter([Ok(Piece::Bytes(Bytes::from_static(b"abc")))]);
        Response::builder()
            .header("content-length", 10)
            .body(Body::Pieces(first.chain(stream::pending()).boxed()))
            .unwrap()
    })
    .await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head(&mut client).await;
    server.shutdown.cancel();
    let mut body = Vec::new();
    client.read_to_end(&mut body).await.unwrap();
    assert_eq!(body, b"abc");
    drop(client);
    server.task.await.unwrap();
}
