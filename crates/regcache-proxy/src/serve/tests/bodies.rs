//! Every byte in its place, whichever way it takes.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::serve::tests::tls::{Certificates, connect_tls};

/// What an answer is made of: from the file or from memory, at an offset, so many bytes.
type Plan = Vec<(bool, usize, usize)>;

const FILE: usize = 5 * 1024 * 1024;

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let len = prop_oneof![0..10_usize, 0..70_000_usize, 0..3 * 1024 * 1024_usize];
    let piece = (any::<bool>(), 0..2 * 1024 * 1024_usize, len);
    prop::collection::vec(prop::collection::vec(piece, 0..6), 1..5)
}

fn expected(content: &Bytes, plan: &Plan) -> Vec<u8> {
    plan.iter()
        .flat_map(|&(_, at, len)| content[at..at + len].to_vec())
        .collect()
}

fn answer(file: &Arc<File>, content: &Bytes, plan: &Plan) -> Response<Body> {
    let len = plan.iter().map(|&(_, _, len)| len as u64).sum();
    let piece = |&(is_file, at, len): &(bool, usize, usize)| {
        Ok(if is_file {
            let (file, offset, len) = (Arc::clone(file), at as u64, len as u64);
            Piece::File { file, offset, len }
        } else {
            Piece::Bytes(content.slice(at..at + len))
        })
    };
    pieces(len, plan.iter().map(piece).collect())
}

/// All requests of a connection are sent at once, and the answers read one after the other.
async fn pipelined(stream: &mut (impl AsyncRead + tokio::io::AsyncWrite + Unpin), content: &Bytes, plans: &[Plan]) {
    for index in 0..plans.len() {
        let request = format!("GET /{index} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    stream.flush().await.unwrap();
    for plan in plans {
        let expected = expected(content, plan);
        let head = head(stream).await;
        assert_eq!(length(&head), expected.len());
        let mut body = vec![0; expected.len()];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body == expected, "wrong bytes for {plan:?}");
    }
}

#[test]
fn pieces_of_any_size_arrive_byte_for_byte_by_sendfile_and_by_tls() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (file, content) = file(FILE);
    let certificates = Certificates::new();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(16));
    runner
        .run(&plans(), |plans| {
            runtime.block_on(async {
                for tls in [false, true] {
                    let config = tls.then(|| certificates.server(false));
                    let (shared, file, all) = (plans.clone(), Arc::clone(&file), content.clone());
                    let server = Server::start(Limits::default(), config, move |request| {
                        let index: usize = request.uri().path().trim_start_matches('/').parse().unwrap();
                        answer(&file, &all, &shared[index])
                    })
                    .await;
                    if tls {
                        let mut stream = connect_tls(&server, &certificates, false, &[]).await.unwrap();
                        pipelined(&mut stream, &content, &plans).await;
                    } else {
                        pipelined(&mut server.connect().await, &content, &plans).await;
                    }
                    server.task.abort();
                }
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn file_that_is_not_in_memory_is_read_first() {
    let directory = tempfile::tempdir().unwrap();
    let (_, content) = file(3 * 1024 * 1024);
    let path = directory.path().join("blob");
    std::fs::write(&path, &content).unwrap();
    let stored = Arc::new(File::open(&path).unwrap());
    stored.sync_all().unwrap();
    rustix::fs::fadvise(&*stored, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let server = Server::start(Limits::default(), None, move |_| {
        let (file, len) = (Arc::clone(&stored), 3 * 1024 * 1024);
        pieces(len, vec![Ok(Piece::File { file, offset: 0, len })])
    })
    .await;
    assert!(get(&mut server.connect().await, "/").await.1 == content);
}

#[tokio::test]
async fn slow_reader_gets_everything_and_holds_up_nobody() {
    let (stored, content) = file(40 * 1024 * 1024);
    let all = content.clone();
    let server = Server::start(Limits::default(), None, move |_| {
        let (file, len) = (Arc::clone(&stored), all.len() as u64);
        pieces(len, vec![Ok(Piece::File { file, offset: 0, len })])
    })
    .await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let head = head(&mut slow).await;
    for _ in 0..8 {
        assert!(get(&mut server.connect().await, "/").await.1 == content);
    }
    let mut body = vec![0; length(&head)];
    slow.read_exact(&mut body).await.unwrap();
    assert!(body == content);
}

#[tokio::test]
async fn client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let (stored, _) = file(40 * 1024 * 1024);
    let weak = Arc::downgrade(&stored);
    let stored = std::sync::Mutex::new(Some(stored));
    let server = Server::start(Limits::default(), None, move |_| {
        let file = stored.lock().unwrap().take().unwrap();
        let len = 40 * 1024 * 1024;
        pieces(len, vec![Ok(Piece::File { file, offset: 0, len })])
    })
    .await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head(&mut client).await;
    drop(client);
    server.quiet().await;
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let (stored, _) = file(1000);
    let server = Server::start(Limits::default(), None, move |_| {
        let file = Arc::clone(&stored);
        pieces(
            1000,
            vec![Ok(Piece::File {
                file,
                offset: 0,
                len: 1000,
            })],
        )
    })
    .await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(length(&head(&mut client).await), 1000);
    }
    assert_eq!(get(&mut client, "/").await.1.len(), 1000);
}

#[tokio::test]
async fn more_bytes_than_promised_never_reach_the_client() {
    let server = Server::start(Limits::default(), None, |_| {
        pieces(
            3,
            vec![
                Ok(Piece::Bytes(Bytes::from_static(b"ab"))),
                Ok(Piece::Bytes(Bytes::from_static(b"cdef"))),
            ],
        )
    })
    .await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    assert!(all.ends_with("\r\n\r\nab"), "{all}");
}
